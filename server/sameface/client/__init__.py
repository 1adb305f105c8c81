"""Call a sameface service from Python.

Most programs use `Client` or `AsyncClient`. `connect` gives the generated stubs of protos/sameface/v1.
"""

from sameface.client.aio import AsyncClient
from sameface.client.connection import connect, tls_credentials
from sameface.client.errors import NotAnAddress, NotAPhoto, ServiceError
from sameface.client.samples import Photo, SampleLike
from sameface.client.sync import Client

__all__ = [
    "AsyncClient",
    "Client",
    "NotAPhoto",
    "NotAnAddress",
    "Photo",
    "SampleLike",
    "ServiceError",
    "connect",
    "tls_credentials",
]
