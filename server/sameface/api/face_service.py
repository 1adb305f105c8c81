"""FaceService: enrolment, verification, identification and search of photos and embeddings."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc

from sameface.access.caller import present_caller
from sameface.access.rates import Rates
from sameface.api import requests, responses
from sameface.api.admission import Admission
from sameface.api.failures import as_typed
from sameface.api.interceptor import share_of
from sameface.api.names import parse_name
from sameface.api.ordered import ordered
from sameface.api.status import status_of
from sameface.pipeline.answers import IdentificationSettings
from sameface.pipeline.operations import FaceOperations
from sameface.v1 import face_pb2, face_service_pb2, face_service_pb2_grpc
from sameface_qdrant.errors import InvalidArgument, SamefaceError
from sameface_qdrant.values.decision import Outcome

Context = grpc.aio.ServicerContext[Any, Any]

MAX_RESULTS = 1000
SAMPLES_AT_A_TIME = 8


class FaceServicer(face_service_pb2_grpc.FaceServiceServicer):  # type: ignore[misc]  # generated, untyped
    """Implements FaceService; protos/sameface/v1/face_service.proto describes every rpc and its errors."""

    def __init__(self, operations: FaceOperations, admission: Admission, rates: Rates) -> None:
        self._operations = operations
        self._admission = admission
        self._rates = rates

    async def EnrollTemplate(
        self, request: face_service_pb2.EnrollTemplateRequest, context: Context
    ) -> face_service_pb2.EnrollTemplateResponse:
        """Add one template to an identity."""
        gallery, identity = parse_name(request.parent, "parent", 2)
        enrolment = await self._operations.enroll(
            gallery,
            identity,
            requests.sample_from(request.sample),
            allow_missing=request.allow_missing,
            display_name=requests.text_from(request.display_name, "display_name"),
            selection=requests.selection_from(request.face_selection),
            expire_time=requests.optional_time_from(request, "expire_time"),
            request_id=requests.request_id_from(request.request_id),
            validate_only=request.validate_only,
            labels=dict(request.labels),
            consent_reference=requests.text_from(request.consent_reference, "consent_reference"),
            purpose=requests.text_from(request.purpose, "purpose"),
            renew=request.renew,
        )
        reveal = present_caller().may_know(gallery)
        return face_service_pb2.EnrollTemplateResponse(
            template=responses.template_to(enrolment.template),
            face=responses.face_to(enrolment.face, reveal=reveal),
            findings=responses.findings_to(enrolment.template, reveal=reveal),
        )

    async def VerifyFace(
        self, request: face_service_pb2.VerifyFaceRequest, context: Context
    ) -> face_service_pb2.VerifyFaceResponse:
        """Verification, 1:1."""
        gallery, identity = parse_name(request.name, "name", 2)
        # Counted before the outcome is known, so that many at once are no way around the limit.
        uncount = self._rates.claim(gallery, identity)
        try:
            decision, face = await self._operations.verify(
                gallery,
                identity,
                requests.sample_from(request.sample),
                scope=requests.scope_from(request.scope),
                threshold=requests.number_from(request, "verify_threshold", -1, 1),
                margin=requests.number_from(request, "runner_up_margin", 0, 2),
                selection=requests.selection_from(request.face_selection),
            )
        except SamefaceError:
            uncount()
            raise
        if decision.outcome is Outcome.MATCH:
            uncount()
        reveal = present_caller().may_know(gallery)
        return face_service_pb2.VerifyFaceResponse(
            decision=responses.decision_to(decision, gallery, reveal=reveal),
            face=responses.face_to(face, reveal=reveal),
        )

    async def IdentifyFaces(
        self, request: face_service_pb2.IdentifyFacesRequest, context: Context
    ) -> face_service_pb2.IdentifyFacesResponse:
        """Identification, 1:N."""
        settings = requests.identification_from(request)
        return await self._identify(settings, request.sample)

    async def StreamIdentifyFaces(
        self, stream: AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest], context: Context
    ) -> AsyncIterator[face_service_pb2.StreamIdentifyFacesResponse]:
        """Identification of a stream of samples. The response to a sample that fails holds its error."""
        first = await anext(stream, None)
        if first is None:
            return
        if not first.HasField("settings"):
            raise InvalidArgument("the first message has no settings", metadata={"field": "settings"})
        settings = requests.identification_from(first.settings)
        await self._operations.store.galleries.get(settings.gallery)
        share = share_of(present_caller(), context)
        # Tells the client that the stream is accepted, before it sends photos.
        await context.send_initial_metadata(())

        async def answer(
            numbered: tuple[int, face_service_pb2.StreamIdentifyFacesRequest],
        ) -> face_service_pb2.StreamIdentifyFacesResponse:
            index, request = numbered
            found = face_service_pb2.StreamIdentifyFacesResponse(tag=request.tag[: requests.MAX_TEXT], index=index)
            try:
                requests.text_from(request.tag, "tag")
                if request is not first and request.HasField("settings"):
                    raise InvalidArgument("only the first message may have settings", metadata={"field": "settings"})
                async with self._admission.sample(share, "StreamIdentifyFaces", request):
                    identified = await self._identify(settings, request.sample)
                found.faces.extend(identified.faces)
                found.faces_found = identified.faces_found
            except Exception as error:
                found.error.CopyFrom(status_of(as_typed("StreamIdentifyFaces", error)))
            finally:
                held.leave(request.ByteSize())
            return found

        async def numbered() -> AsyncIterator[tuple[int, face_service_pb2.StreamIdentifyFacesRequest]]:
            index = 0
            async for request in _samples(first, stream):
                await held.enter(request.ByteSize())
                yield index, request
                index += 1

        with self._admission.bytes_of_samples(share) as held:
            async with aclosing(ordered(numbered(), answer, SAMPLES_AT_A_TIME)) as answers:
                async for response in answers:
                    yield response

    async def SearchTemplates(
        self, request: face_service_pb2.SearchTemplatesRequest, context: Context
    ) -> face_service_pb2.SearchTemplatesResponse:
        """Find the nearest templates, without a decision."""
        (gallery,) = parse_name(request.gallery, "gallery", 1)
        if not 0 <= request.max_results <= MAX_RESULTS:
            raise InvalidArgument(
                f"max_results is {request.max_results}; expected 0 to {MAX_RESULTS}", metadata={"field": "max_results"}
            )
        found, face = await self._operations.search(
            gallery,
            requests.sample_from(request.sample),
            selection=requests.selection_from(request.face_selection),
            where=requests.filter_from(request.filter, gallery),
            limit=request.max_results or 10,
            min_score=requests.number_from(request, "min_score", -1, 1),
        )
        return face_service_pb2.SearchTemplatesResponse(
            templates=[
                face_service_pb2.SearchTemplatesResponse.FoundTemplate(
                    template=responses.template_to(one.template), score=one.score, display_name=one.display_name
                )
                for one in found
            ],
            face=responses.face_to(face, reveal=True),
        )

    async def CompareFaces(
        self, request: face_service_pb2.CompareFacesRequest, context: Context
    ) -> face_service_pb2.CompareFacesResponse:
        """Compare two samples and store nothing."""
        decision, first, second = await self._operations.compare(
            requests.sample_from(request.first, "first"),
            requests.sample_from(request.second, "second"),
            threshold=requests.number_from(request, "verify_threshold", -1, 1),
            target_fmr=requests.number_from(request, "target_fmr", 0, 1, strict=True),
            selection=requests.selection_from(request.face_selection),
            embedder_version=request.embedder_version or None,
            embedder_model=request.embedder_model,
        )
        reveal = present_caller().may_know(None)
        return face_service_pb2.CompareFacesResponse(
            decision=responses.decision_to(decision, "", reveal=reveal),
            first_face=responses.face_to(first, reveal=reveal),
            second_face=responses.face_to(second, reveal=reveal),
        )

    async def DetectFaces(
        self, request: face_service_pb2.DetectFacesRequest, context: Context
    ) -> face_service_pb2.DetectFacesResponse:
        """Find every face of a photo."""
        found = await self._operations.detect(request.photo)
        return face_service_pb2.DetectFacesResponse(
            faces=responses.faces_to(found.faces, reveal=present_caller().may_know(None)),
            width=found.width,
            height=found.height,
            faces_found=found.found,
        )

    async def EmbedFaces(
        self, request: face_service_pb2.EmbedFacesRequest, context: Context
    ) -> face_service_pb2.EmbedFacesResponse:
        """Return the embedding of every face of a photo, or of the whole image."""
        card = self._operations.embedder_card(request.embedder_version or None, request.embedder_model)
        if card.whole_image is not None:
            vector, size = await self._operations.embed_image(request.photo, card)
            return responses.embedded_image_to(vector, card.contract, size)
        found, contract, vectors = await self._operations.embed(request.photo, request.embedder_version or None)
        return face_service_pb2.EmbedFacesResponse(
            faces=[
                face_service_pb2.EmbedFacesResponse.EmbeddedFace(
                    face=responses.face_to(face, reveal=True), embedding=responses.embedding_to(vector, contract)
                )
                for face, vector in zip(found.faces, vectors, strict=True)
            ],
            width=found.width,
            height=found.height,
            faces_found=found.found,
        )

    async def _identify(
        self, settings: IdentificationSettings, sample: face_pb2.Sample
    ) -> face_service_pb2.IdentifyFacesResponse:
        identified = await self._operations.identify(requests.sample_from(sample), settings)
        return face_service_pb2.IdentifyFacesResponse(
            faces=[
                face_service_pb2.IdentifyFacesResponse.IdentifiedFace(
                    decision=None
                    if decision is None
                    else responses.decision_to(decision, settings.gallery, reveal=True),
                    face=responses.face_to(face, reveal=True),
                )
                for decision, face in identified.faces
            ],
            faces_found=identified.found,
        )


async def _samples(
    first: face_service_pb2.StreamIdentifyFacesRequest,
    others: AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest],
) -> AsyncIterator[face_service_pb2.StreamIdentifyFacesRequest]:
    if first.HasField("sample"):
        yield first
    async for request in others:
        yield request
