"""Qdrant Edge, embedded."""
