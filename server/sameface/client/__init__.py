"""Call a sameface service from Python.

`Client` and `AsyncClient` are what most programs want; `connect` gives the bare stubs of protos/sameface/v1.
"""

from sameface.client.aio import AsyncClient
from sameface.client.connection import connect
from sameface.client.errors import ServiceError
from sameface.client.samples import Photo, SampleLike
from sameface.client.sync import Client

__all__ = ["AsyncClient", "Client", "Photo", "SampleLike", "ServiceError", "connect"]
