"""Measures a running service on labelled photos, as a client of it. Metrics come from the plugin's one module."""
