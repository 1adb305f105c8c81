"""FaceService: photos and embeddings in, templates and decisions out."""

from typing import Any

import grpc

from sameface.api import translate
from sameface.api.names import parse_name
from sameface.pipeline.operations import FaceOperations
from sameface.v1 import face_service_pb2, face_service_pb2_grpc
from sameface_qdrant.errors import InvalidArgument

Context = grpc.aio.ServicerContext[Any, Any]

MAX_CANDIDATES = 100


class FaceServicer(face_service_pb2_grpc.FaceServiceServicer):  # type: ignore[misc]  # generated, untyped
    """See protos/sameface/v1/face_service.proto; every rpc there names its errors."""

    def __init__(self, operations: FaceOperations) -> None:
        self._operations = operations

    async def EnrollTemplate(
        self, request: face_service_pb2.EnrollTemplateRequest, context: Context
    ) -> face_service_pb2.EnrollTemplateResponse:
        """Add one template to an identity."""
        gallery, identity = parse_name(request.parent, "parent", 2)
        expires = request.HasField("expire_time")
        enrolment = await self._operations.enroll(
            gallery,
            identity,
            translate.sample_from(request.sample),
            allow_missing=request.allow_missing,
            display_name=translate.text_from(request.display_name, "display_name"),
            selection=translate.selection_from(request.face_selection),
            expire_time=translate.time_from(request.expire_time, "expire_time") if expires else None,
            request_id=translate.request_id_from(request.request_id),
            validate_only=request.validate_only,
        )
        return face_service_pb2.EnrollTemplateResponse(
            template=translate.template_to(enrolment.template), face=translate.face_to(enrolment.face)
        )

    async def VerifyFace(
        self, request: face_service_pb2.VerifyFaceRequest, context: Context
    ) -> face_service_pb2.VerifyFaceResponse:
        """1:1."""
        gallery, identity = parse_name(request.name, "name", 2)
        decision, face = await self._operations.verify(
            gallery,
            identity,
            translate.sample_from(request.sample),
            scope=translate.scope_from(request.scope),
            threshold=translate.number_from(request, "verify_threshold", -1, 1),
            margin=translate.number_from(request, "runner_up_margin", 0, 2),
            selection=translate.selection_from(request.face_selection),
        )
        return face_service_pb2.VerifyFaceResponse(
            decision=translate.decision_to(decision, gallery), face=translate.face_to(face)
        )

    async def IdentifyFaces(
        self, request: face_service_pb2.IdentifyFacesRequest, context: Context
    ) -> face_service_pb2.IdentifyFacesResponse:
        """1:N."""
        (gallery,) = parse_name(request.gallery, "gallery", 1)
        if not 0 <= request.max_candidates <= MAX_CANDIDATES:
            raise InvalidArgument(
                f"max_candidates is {request.max_candidates}; expected 0 to {MAX_CANDIDATES}",
                metadata={"field": "max_candidates"},
            )
        identified = await self._operations.identify(
            gallery,
            translate.sample_from(request.sample),
            threshold=translate.number_from(request, "identify_threshold", -1, 1),
            margin=translate.number_from(request, "runner_up_margin", 0, 2),
            selection=translate.selection_from(request.face_selection),
            all_faces=request.all_faces,
            limit=request.max_candidates or 5,
        )
        return face_service_pb2.IdentifyFacesResponse(
            faces=[
                face_service_pb2.IdentifyFacesResponse.IdentifiedFace(
                    decision=None if decision is None else translate.decision_to(decision, gallery),
                    face=translate.face_to(face),
                )
                for decision, face in identified
            ]
        )

    async def CompareFaces(
        self, request: face_service_pb2.CompareFacesRequest, context: Context
    ) -> face_service_pb2.CompareFacesResponse:
        """Compare two samples, store nothing."""
        if request.target_fmr and not 0 < request.target_fmr < 1:
            raise InvalidArgument(
                f"target_fmr is {request.target_fmr:g}; expected a number in (0, 1)", metadata={"field": "target_fmr"}
            )
        decision, first, second = await self._operations.compare(
            translate.sample_from(request.first, "first"),
            translate.sample_from(request.second, "second"),
            threshold=translate.number_from(request, "verify_threshold", -1, 1),
            target_fmr=request.target_fmr or None,
            selection=translate.selection_from(request.face_selection),
            embedder_version=request.embedder_version or None,
        )
        return face_service_pb2.CompareFacesResponse(
            decision=translate.decision_to(decision, ""),
            first_face=translate.face_to(first),
            second_face=translate.face_to(second),
        )

    async def DetectFaces(
        self, request: face_service_pb2.DetectFacesRequest, context: Context
    ) -> face_service_pb2.DetectFacesResponse:
        """Find every face of a photo."""
        found = await self._operations.detect(request.photo)
        return face_service_pb2.DetectFacesResponse(
            faces=translate.faces_to(found.faces), width=found.width, height=found.height
        )

    async def EmbedFaces(
        self, request: face_service_pb2.EmbedFacesRequest, context: Context
    ) -> face_service_pb2.EmbedFacesResponse:
        """Return the embedding of every face of a photo."""
        found, contract, vectors = await self._operations.embed(request.photo, request.embedder_version or None)
        return face_service_pb2.EmbedFacesResponse(
            faces=[
                face_service_pb2.EmbedFacesResponse.EmbeddedFace(
                    face=translate.face_to(face), embedding=translate.embedding_to(vector, contract)
                )
                for face, vector in zip(found.faces, vectors, strict=True)
            ],
            width=found.width,
            height=found.height,
        )
