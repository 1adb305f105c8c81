"""Measures what the service makes of photos: faces found, turned faces."""
