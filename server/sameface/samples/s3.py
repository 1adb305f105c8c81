"""An S3-compatible store as a source of photos: ``s3://bucket/prefix/<name>/<photo>``.

boto3 finds credentials, region and endpoint as for any other program: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL_S3, profiles,
the role of a machine. Nothing is written to the store.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from sameface.photo_folders import SUFFIXES
from sameface.samples.source import Sample
from sameface_qdrant.errors import InvalidArgument


def open_s3(address: str) -> "S3Source":
    """Return the source of an address.

    Raises:
        InvalidArgument: it names no bucket, boto3 is not installed, or its configuration is malformed.
    """
    parts = urlsplit(address)
    if not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidArgument(
            f"{address[:80]!r} names no bucket; expected s3://BUCKET or s3://BUCKET/PREFIX, without a key",
            metadata={"field": "photo"},
        )
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise InvalidArgument(
            "photos in S3 need boto3, which is not installed; run: pip install 'sameface[s3]'",
            metadata={"field": "photo"},
        ) from None
    try:
        return S3Source(boto3.client("s3"), parts.netloc, parts.path.strip("/"))
    except (BotoCoreError, ValueError) as error:
        raise InvalidArgument(
            f"the S3 client cannot be made: {error}; set AWS_DEFAULT_REGION, AWS_ENDPOINT_URL_S3 and the credentials",
            metadata={"field": "photo"},
        ) from None


class S3Source:
    """Objects below a prefix whose names end like those of photos. Other objects and hidden ones are left out."""

    def __init__(self, client: Any, bucket: str, prefix: str, *, page_size: int = 1000) -> None:
        """``client`` is one of boto3 for S3; several threads may use it. A list is read in pages of ``page_size``."""
        self._client, self._bucket, self._page_size = client, bucket, page_size
        self._prefix = f"{prefix}/" if prefix else ""

    def samples(self) -> Iterable[Sample]:
        """See `sameface.samples.source.SampleSource`. The store lists keys in their order."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix, PaginationConfig={"PageSize": self._page_size}
        )
        with _as_os_error(f"s3://{self._bucket}/{self._prefix}"):
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = str(entry["Key"])
                    person, *below = key.removeprefix(self._prefix).split("/")
                    hidden = any(part.startswith(".") for part in (person, *below))
                    if below and person and not hidden and os.path.splitext(key)[1].lower() in SUFFIXES:
                        yield Sample(person, f"s3://{self._bucket}/{key}")

    def read(self, sample: Sample, most: int) -> bytes:
        """See `sameface.samples.source.SampleSource`."""
        key = sample.name.removeprefix(f"s3://{self._bucket}/")
        with _as_os_error(sample.name):
            body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"]
            try:
                content = bytes(body.read(most + 1))
            finally:
                body.close()
        if len(content) > most:
            raise InvalidArgument(
                f"{sample.name} has more than {most} bytes; a photo has at most that many", metadata={"field": "photo"}
            )
        return content


@contextmanager
def _as_os_error(what: str) -> Iterator[None]:
    """Raise what boto3 raises as an OSError that names what was read."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise OSError(f"{what} cannot be read: {error}") from None
