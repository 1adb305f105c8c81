"""Moves galleries between stores: an encrypted file of an export, and what was erased since."""
