"""Galleries, identities and templates in an engine, and the decisions about them."""
