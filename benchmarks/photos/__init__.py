"""Measures how photos are read: every face that is there, at any turn."""
