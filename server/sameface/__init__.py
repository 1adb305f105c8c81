"""sameface: one-shot identity verification as a service."""

__version__ = "0.1.0"
