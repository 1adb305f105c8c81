"""Call a sameface service from Python."""

from sameface.client.connection import ServiceError, connect

__all__ = ["ServiceError", "connect"]
