"""Trains embedders by the recipes of the field's papers and exports them. The only place with torch."""
