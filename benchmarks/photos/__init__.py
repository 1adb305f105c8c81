"""Measures how photos are read: faces at any turn."""
