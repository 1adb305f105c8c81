"""The synchronous client."""

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Unpack

import grpc

from sameface.client.answer import read
from sameface.client.answers.decisions import StreamAnswer
from sameface.client.calls import Calls
from sameface.client.connection import MAX_PHOTO_BYTES, Metadata, Target, checked_metadata, checked_photo_bytes
from sameface.client.errors import ServiceError
from sameface.client.faces import stream_settings
from sameface.client.frames import Frames
from sameface.client.options import IdentifyOptions
from sameface.client.retries import Attempts
from sameface.client.rpc import Call, Item, Pages, Result
from sameface.client.samples import SampleLike, as_sample, check_many, fitting, holds_photo
from sameface.client.tracing import Pairs, calling, with_context
from sameface.v1 import face_service_pb2


class Client(Calls):
    """Calls a sameface service; safe to share between threads.

    >>> with Client("127.0.0.1:50051") as sameface:  # doctest: +SKIP
    ...     sameface.create_gallery("staff", exist_ok=True)
    ...     sameface.enroll("staff", "ada", "ada.jpg")
    ...     print(sameface.verify("staff", "ada", "ada_again.jpg").matched)

    A photo is a path, the bytes of a file, a numpy array of pixels or an open file. Answers are frozen dataclasses with
    the fields of protos/sameface/v1; each has ``as_dict()`` and its message as ``proto``. `Calls` declares the methods.

    Every call has a deadline. Within it, a call is sent again after a failure that may pass: the service is not
    reachable, or it says when to come back. A photo that is enrolled again adds no second template.

    Every method raises `ServiceError` where the service refuses or does not answer in time.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout_s: float = 30.0,
        unreachable_s: float = 5.0,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Metadata = (),
        server_name: str = "",
        max_photo_bytes: int = MAX_PHOTO_BYTES,
    ) -> None:
        """Connect to ``host:port``.

        Args:
            address: ``host:port``, ``[v6]:port``, ``unix:path``, or another target of gRPC; ``dns:///service:50051``
                spreads calls over every address behind a name.
            timeout_s: deadline of a call in seconds, all its attempts together.
            unreachable_s: how many seconds to try again while nothing answers at the address.
            credentials: for TLS; None connects without encryption.
            metadata: sent with every call, for instance ``{"authorization": "Bearer …"}``; a mapping, or pairs.
            server_name: the name in the service's certificate, if it is not the one in the address.
            max_photo_bytes: photos of more bytes are refused before they are sent, with `NotAPhoto`. The service has a
                limit of its own, by default the same.

        Raises:
            NotAnAddress: ``address`` has another form; nothing is sent.
            ValueError: ``metadata`` cannot be sent, or ``max_photo_bytes`` is not 1 to the size of a message.
        """
        self.max_photo_bytes = checked_photo_bytes(max_photo_bytes)
        self._target = Target(address, credentials, server_name)
        self._timeout_s = timeout_s
        self._unreachable_s = unreachable_s
        self._metadata = checked_metadata(metadata)
        self._opened = self._target.open()
        self._process = os.getpid()
        self._inherited: list[grpc.Channel] = []

    @property
    def _channel(self) -> grpc.Channel:
        if self._process != os.getpid():
            # Kept: its end would end the parent's connection.
            self._inherited.append(self._opened)
            # A channel with the same options would share that connection.
            self._opened = self._target.open(("grpc.use_local_subchannel_pool", 1))
            self._process = os.getpid()
        return self._opened

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        if self._process == os.getpid():
            self._opened.close()

    def identify_stream(
        self,
        gallery: str,
        samples: Iterable[SampleLike],
        *,
        drop_late: bool = False,
        **options: Unpack[IdentifyOptions],
    ) -> Iterator[StreamAnswer]:
        """Identify one sample after another; the answers come in the order of the samples.

        A sample that cannot be identified has an ``error`` in its answer, a `ServiceError` that is not raised. Where
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
        answers = stream(requests(), metadata=with_context(self._metadata))
        try:
            for answer in answers:
                if frames is not None:
                    frames.answered()
                yield read(StreamAnswer, answer)
            if failed:
                raise failed[0]
        except grpc.RpcError as error:
            raise self._target.explained(ServiceError.of(error, with_photo=True)) from None
        finally:
            if frames is not None:
                frames.close()
            answers.cancel()

    def _list(self, build: Callable[[], Pages[Item]]) -> Iterator[Item]:
        pages, token = build(), ""
        while True:
            answer = self._answer(pages.page(token))
            yield from pages.of_page(answer)
            token = answer.next_page_token
            if not token:
                return

    def _send(self, build: Callable[[], Call[Result]]) -> Result:
        return self._answer(build())

    def _answer(self, call: Call[Result], deadline: float | None = None) -> Result:
        with calling(call.path, self._metadata) as metadata:
            return self._answer_with(metadata, call, deadline)

    def _answer_with(self, metadata: Pairs, call: Call[Result], deadline: float | None) -> Result:
        rpc: Any = self._channel.unary_unary(
            call.path,
            request_serializer=type(call.request).SerializeToString,
            response_deserializer=call.answer.FromString,
        )
        attempts = Attempts(call, deadline or time.monotonic() + self._timeout_s, self._unreachable_s)
        while True:
            try:
                left_s = max(0.0, attempts.deadline - time.monotonic())
                return call.result(rpc(call.request, timeout=left_s, metadata=metadata))
            except grpc.RpcError as failed:
                error = ServiceError.of(failed, with_photo=holds_photo(call.request))
            if attempts.already_done(error):
                return call.result(call.answer())
            if call.instead is not None and error.reason == call.exists:
                return self._answer(call.instead, attempts.deadline)
            pause = attempts.pause(error, time.monotonic(), random.random())  # noqa: S311  # spreads, guards nothing
            if pause is None:
                raise self._target.explained(error)
            time.sleep(pause)
