"""Runs the pages of the first hours as a reader would: every block, in order, in an empty folder."""
