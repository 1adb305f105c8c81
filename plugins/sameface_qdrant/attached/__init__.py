"""Decisions on a Qdrant collection that somebody else made."""
