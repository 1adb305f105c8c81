"""Compares recipes: the same backbone and budget, several seeds, and published protocols."""
