"""Decisions on a Qdrant collection that another program made."""
