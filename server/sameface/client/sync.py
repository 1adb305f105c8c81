"""The synchronous client."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Unpack

import grpc

from sameface.client.calls import Calls
from sameface.client.connection import MAX_PHOTO_BYTES, channel_options, checked_photo_bytes
from sameface.client.errors import ServiceError
from sameface.client.faces import stream_settings
from sameface.client.frames import Frames
from sameface.client.options import IdentifyOptions
from sameface.client.retries import Attempts
from sameface.client.rpc import Call, Item, Pages, Result
from sameface.client.samples import SampleLike, as_sample, check_many, fitting, holds_photo
from sameface.v1 import face_service_pb2


class Client(Calls):
    """Calls a sameface service; safe to share between threads.

    >>> with Client("127.0.0.1:50051") as sameface:  # doctest: +SKIP
    ...     sameface.create_gallery("staff")
    ...     sameface.enroll("staff", "ada", "ada.jpg")
    ...     print(sameface.verify("staff", "ada", "ada_again.jpg").decision)

    A photo is a path, the bytes of a file, a numpy array of pixels or an open file. Answers are the messages of
    protos/sameface/v1. `Calls` declares the methods.

    Every call has a deadline. Within it, a call is sent again after a failure that may pass: the service is not
    reachable, or it says when to come back. A repeated enrolment adds one template, not two.

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
        server_name: str = "",
        max_photo_bytes: int = MAX_PHOTO_BYTES,
    ) -> None:
        """Connect to ``host:port``.

        Args:
            address: any gRPC target; ``dns:///service:50051`` spreads calls over every address behind a name.
            timeout_s: deadline of a call in seconds, all its attempts together.
            unreachable_s: how many seconds to try again while nothing answers at the address.
            credentials: for TLS; None connects without encryption.
            metadata: sent with every call, for instance an authorisation header.
            server_name: the name in the service's certificate, if it is not the one in the address.
            max_photo_bytes: photos of more bytes are refused before they are sent, with `NotAPhoto`. The service has a
                limit of its own, by default the same.
        """
        self.max_photo_bytes = checked_photo_bytes(max_photo_bytes)
        self._channel = (
            grpc.secure_channel(address, credentials, options=channel_options(server_name))
            if credentials
            else grpc.insecure_channel(address, options=channel_options(server_name))
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

    def identify_stream(
        self,
        gallery: str,
        samples: Iterable[SampleLike],
        *,
        drop_late: bool = False,
        **options: Unpack[IdentifyOptions],
    ) -> Iterator[face_service_pb2.StreamIdentifyFacesResponse]:
        """Identify one sample after another; the answers come in the order of the samples.

        A sample that cannot be identified has an ``error`` in its answer; `ServiceError.of_status` reads it. Where
        ``samples`` raises an exception (a file is missing), the answers to the samples before it come first. A stream
        is not repeated after a failure. It has no deadline; a server that disappears is noticed within 40 s.

        With ``drop_late``, a sample that cannot be sent when the next one comes is dropped: frames of a camera are
        answered soon, or not at all. The ``tag`` of each answer is then the number of its sample, from "0".
        """
        settings = stream_settings(gallery, options)
        check_many(samples, asynchronous=False)
        failed: list[Exception] = []
        frames = Frames(samples) if drop_late else None

        def requests() -> Iterator[face_service_pb2.StreamIdentifyFacesRequest]:
            yield settings
            numbered = enumerate(samples) if frames is None else frames
            try:
                for number, sample in numbered:
                    request = face_service_pb2.StreamIdentifyFacesRequest(
                        sample=as_sample(sample, self.max_photo_bytes), tag="" if frames is None else str(number)
                    )
                    yield fitting(request)
            except Exception as error:
                failed.append(error)

        stream: Any = self._channel.stream_stream(
            "/sameface.v1.FaceService/StreamIdentifyFaces",
            request_serializer=face_service_pb2.StreamIdentifyFacesRequest.SerializeToString,
            response_deserializer=face_service_pb2.StreamIdentifyFacesResponse.FromString,
        )
        answers = stream(requests(), metadata=self._metadata)
        try:
            for answer in answers:
                if frames is not None:
                    frames.answered()
                yield answer
            if failed:
                raise failed[0]
        except grpc.RpcError as error:
            raise ServiceError.of(error, with_photo=True) from None
        finally:
            if frames is not None:
                frames.close()
            answers.cancel()

    def _list(self, build: Callable[[], Pages[Item]]) -> Iterator[Item]:
        pages, token = build(), ""
        while True:
            answer = self._answer(pages.page(token))
            yield from getattr(answer, pages.items)
            token = answer.next_page_token
            if not token:
                return

    def _send(self, build: Callable[[], Call[Result]]) -> Result:
        return self._answer(build())

    def _answer(self, call: Call[Result]) -> Result:
        rpc: Any = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        attempts = Attempts(call, time.monotonic() + self._timeout_s, self._unreachable_s)
        while True:
            try:
                left_s = max(0.0, attempts.deadline - time.monotonic())
                return call.result(rpc(call.request, timeout=left_s, metadata=self._metadata))
            except grpc.RpcError as failed:
                error = ServiceError.of(failed, with_photo=holds_photo(call.request))
            if attempts.already_done(error):
                return call.result(call.answer())
            pause = attempts.pause(error, time.monotonic(), random.random())  # noqa: S311  # spreads, guards nothing
            if pause is None:
                raise error
            time.sleep(pause)
