"""The recipes compared: one backbone, one budget and several seeds each, on the field's own protocols."""
