"""The synchronous client."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from sameface.client import calls
from sameface.client.calls import Call
from sameface.client.connection import CHANNEL_OPTIONS
from sameface.client.errors import ServiceError
from sameface.client.options import (
    CalibrateOptions,
    CompareOptions,
    EnrollOptions,
    IdentifyOptions,
    IdentityOptions,
    OperationName,
    PolicyOptions,
    SearchOptions,
    VerifyOptions,
    WhatIfOptions,
)
from sameface.client.retries import Attempts
from sameface.client.samples import Photo, SampleLike, as_sample
from sameface.v1 import face_service_pb2, gallery_pb2, gallery_service_pb2, system_service_pb2

Answer = TypeVar("Answer", bound=Message)


class Client:
    """Calls a sameface service; safe to share between threads.

    >>> with Client("127.0.0.1:50051") as sameface:  # doctest: +SKIP
    ...     sameface.create_gallery("staff")
    ...     sameface.enroll("staff", "ada", "ada.jpg")
    ...     print(sameface.verify("staff", "ada", "ada_again.jpg").decision)

    A photo is a path, the bytes of a file, a numpy array of pixels or an open file. Answers are the messages of
    protos/sameface/v1. Every call has a deadline, and is sent again within it where that is safe and of use: a service
    that says when to come back is taken at its word, and a retried enrolment is one enrolment.

    Every method raises `ServiceError` where the service refuses or does not answer in time.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 30.0,
        unreachable_s: float = 5.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Talk to ``host:port``.

        Args:
            address: any gRPC target; ``dns:///service:50051`` spreads calls over every address behind a name.
            timeout_s: deadline of a call in seconds, all its attempts together.
            unreachable_s: how long an address that nobody answers at is tried again.
            credentials: for TLS; None talks in the clear.
            metadata: sent with every call, for instance an authorisation header.
        """
        self._channel = (
            grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS)
            if credentials
            else grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        )
        self._timeout_s = timeout_s
        self._unreachable_s = unreachable_s
        self._metadata = tuple(metadata)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    # Faces

    def enroll(
        self, gallery: str, identity: str, sample: SampleLike, **options: Unpack[EnrollOptions]
    ) -> face_service_pb2.EnrollTemplateResponse:
        """Add a template to an identity; the identity is made where there is none yet."""
        return self._call(calls.enroll(gallery, identity, sample, **options))

    def verify(
        self, gallery: str, identity: str, sample: SampleLike, **options: Unpack[VerifyOptions]
    ) -> face_service_pb2.VerifyFaceResponse:
        """1:1 - is the sample of the identity that it claims?"""
        return self._call(calls.verify(gallery, identity, sample, **options))

    def identify(
        self, gallery: str, sample: SampleLike, **options: Unpack[IdentifyOptions]
    ) -> face_service_pb2.IdentifyFacesResponse:
        """1:N - which identity of the gallery is the sample of, or nobody?"""
        return self._call(calls.identify(gallery, sample, **options))

    def identify_stream(
        self, gallery: str, samples: Iterable[SampleLike], **options: Unpack[IdentifyOptions]
    ) -> Iterator[face_service_pb2.StreamIdentifyFacesResponse]:
        """Identify one sample after another; answers come in their order, and are not sent again.

        A sample that cannot be identified has its ``error`` in the answer (`ServiceError.of_status` reads it). Where
        ``samples`` itself fails (a file that is not there), its exception is raised after the answers to all before.
        A stream has no deadline of its own; a server that vanishes is noticed within 40 s.
        """
        settings = calls.stream_settings(gallery, **options)
        failed: list[Exception] = []

        def requests() -> Iterator[face_service_pb2.StreamIdentifyFacesRequest]:
            yield settings
            try:
                for sample in samples:
                    yield face_service_pb2.StreamIdentifyFacesRequest(sample=as_sample(sample))
            except Exception as error:
                failed.append(error)

        stream: Any = self._channel.stream_stream(
            f"/sameface.v1.{calls.FACES}/StreamIdentifyFaces",
            request_serializer=face_service_pb2.StreamIdentifyFacesRequest.SerializeToString,
            response_deserializer=face_service_pb2.StreamIdentifyFacesResponse.FromString,
        )
        answers = stream(requests(), metadata=self._metadata)
        try:
            yield from answers
            if failed:
                raise failed[0]
        except grpc.RpcError as error:
            raise ServiceError.of(error) from None
        finally:
            answers.cancel()

    def compare(
        self, first: SampleLike, second: SampleLike, **options: Unpack[CompareOptions]
    ) -> face_service_pb2.CompareFacesResponse:
        """Compare two samples and store nothing."""
        return self._call(calls.compare(first, second, **options))

    def detect(self, photo: Photo) -> face_service_pb2.DetectFacesResponse:
        """Find every face of a photo, largest first."""
        return self._call(calls.detect(photo))

    def embed(self, photo: Photo, *, embedder_version: int = 0) -> face_service_pb2.EmbedFacesResponse:
        """Return the embedding of every face of a photo, largest first."""
        return self._call(calls.embed(photo, embedder_version))

    def search(
        self, gallery: str, sample: SampleLike, **options: Unpack[SearchOptions]
    ) -> face_service_pb2.SearchTemplatesResponse:
        """Find the nearest templates under a filter, without any decision."""
        return self._call(calls.search(gallery, sample, **options))

    # Galleries

    def create_gallery(
        self,
        gallery: str,
        *,
        display_name: str = "",
        embedder_version: int = 0,
        **policy: Unpack[PolicyOptions],
    ) -> gallery_pb2.Gallery:
        """Make a gallery."""
        return self._call(calls.create_gallery(gallery, display_name, embedder_version, **policy))

    def get_gallery(self, gallery: str) -> gallery_pb2.Gallery:
        """Return a gallery."""
        return self._call(calls.get_gallery(gallery))

    def galleries(self) -> Iterator[gallery_pb2.Gallery]:
        """Return every gallery, page by page."""
        return self._pages(calls.list_galleries, "galleries")

    def update_gallery(
        self,
        gallery: str,
        *,
        display_name: str | None = None,
        etag: str = "",
        **policy: Unpack[PolicyOptions],
    ) -> gallery_pb2.Gallery:
        """Change what is given; a changed policy is a new revision."""
        return self._call(calls.update_gallery(gallery, display_name, etag, **policy))

    def policy_revisions(self, gallery: str) -> Iterator[gallery_pb2.Policy]:
        """Return every revision of a gallery's policy, newest first."""
        return self._pages(lambda token: calls.list_policy_revisions(gallery, token), "policies")

    def calibrate_gallery(
        self, gallery: str, **options: Unpack[CalibrateOptions]
    ) -> gallery_service_pb2.CalibrateGalleryResponse:
        """Measure thresholds on the gallery, and make them its policy unless ``validate_only``."""
        return self._call(calls.calibrate_gallery(gallery, **options))

    def what_if_gallery(
        self, gallery: str, operation: OperationName, **options: Unpack[WhatIfOptions]
    ) -> gallery_service_pb2.WhatIfGalleryResponse:
        """Tell what another threshold or margin would change; changes nothing."""
        return self._call(calls.what_if_gallery(gallery, operation, **options))

    def delete_gallery(self, gallery: str, *, force: bool = False, etag: str = "") -> gallery_pb2.ErasureReceipt:
        """Erase a gallery; one with identities only with ``force``. The receipt says what was checked."""
        answer = self._call(calls.delete_gallery(gallery, force, etag))
        return answer.receipt

    # Identities

    def create_identity(self, gallery: str, identity: str, **fields: Unpack[IdentityOptions]) -> gallery_pb2.Identity:
        """Make an identity without templates."""
        return self._call(calls.create_identity(gallery, identity, **fields))

    def get_identity(self, gallery: str, identity: str) -> gallery_pb2.Identity:
        """Return an identity."""
        return self._call(calls.get_identity(gallery, identity))

    def identities(self, gallery: str, *, labels: Mapping[str, str] | None = None) -> Iterator[gallery_pb2.Identity]:
        """Return every identity of a gallery, or those with all of ``labels``, page by page."""
        return self._pages(lambda token: calls.list_identities(gallery, labels or {}, token), "identities")

    def update_identity(
        self, gallery: str, identity: str, *, etag: str = "", **fields: Unpack[IdentityOptions]
    ) -> gallery_pb2.Identity:
        """Change what is given of an identity."""
        return self._call(calls.update_identity(gallery, identity, etag, **fields))

    def move_identity(self, gallery: str, identity: str, new_id: str, *, merge: bool = False) -> gallery_pb2.Identity:
        """Give an identity another id, or merge it into the identity that has it."""
        return self._call(calls.move_identity(gallery, identity, new_id, merge))

    def delete_identity(
        self, gallery: str, identity: str, *, force: bool = False, etag: str = ""
    ) -> gallery_pb2.ErasureReceipt:
        """Erase an identity; one with templates only with ``force``."""
        answer = self._call(calls.delete_identity(gallery, identity, force, etag))
        return answer.receipt

    # Templates

    def get_template(self, gallery: str, identity: str, template: str) -> gallery_pb2.Template:
        """Return a template, without its embedding."""
        return self._call(calls.get_template(gallery, identity, template))

    def templates(self, gallery: str, identity: str) -> Iterator[gallery_pb2.Template]:
        """Return every template of an identity, page by page."""
        return self._pages(lambda token: calls.list_templates(gallery, identity, token), "templates")

    def update_template(
        self, gallery: str, identity: str, template: str, *, expire_time: datetime | None
    ) -> gallery_pb2.Template:
        """Change when a template expires; None is never."""
        return self._call(calls.update_template(gallery, identity, template, expire_time))

    def delete_template(self, gallery: str, identity: str, template: str) -> gallery_pb2.ErasureReceipt:
        """Erase a template."""
        answer = self._call(calls.delete_template(gallery, identity, template))
        return answer.receipt

    def erasure_receipt(self, receipt: str) -> gallery_pb2.ErasureReceipt:
        """Return the receipt of an erasure as it is now, by id or name."""
        return self._call(calls.get_erasure_receipt(receipt))

    def erasure_receipts(self, gallery: str = "") -> Iterator[gallery_pb2.ErasureReceipt]:
        """Return every receipt of erasures in a gallery, or of all, page by page."""
        return self._pages(lambda token: calls.list_erasure_receipts(gallery, token), "erasure_receipts")

    def server_info(self) -> system_service_pb2.GetServerInfoResponse:
        """Return versions, models and where they run."""
        return self._call(calls.server_info())

    def _pages(self, page: Callable[[str], Call[Any]], items: str) -> Iterator[Any]:
        token = ""
        while True:
            answer = self._call(page(token))
            yield from getattr(answer, items)
            token = answer.next_page_token
            if not token:
                return

    def _call(self, call: Call[Answer]) -> Answer:
        rpc: Any = self._channel.unary_unary(
            f"/sameface.v1.{call.service}/{call.rpc}",
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        attempts = Attempts(call, time.monotonic() + self._timeout_s, self._unreachable_s)
        while True:
            try:
                left_s = max(0.0, attempts.deadline - time.monotonic())
                answer: Answer = rpc(call.request, timeout=left_s, metadata=self._metadata)
                return answer
            except grpc.RpcError as failed:
                error = ServiceError.of(failed)
            if attempts.already_done(error):
                return call.answer()
            pause = attempts.pause(error, time.monotonic(), random.random())  # noqa: S311  # spreads, guards nothing
            if pause is None:
                raise error
            time.sleep(pause)
