"""The methods of the clients that compare faces."""

from typing import Any, Unpack

from sameface.client.answers.decisions import Comparison, Identification, Verification
from sameface.client.answers.faces import DetectedFaces, EmbeddedFaces
from sameface.client.answers.templates import Enrollment, SearchResult
from sameface.client.connection import MAX_PHOTO_BYTES
from sameface.client.fields import check_known, filled, gallery_name, identity_name
from sameface.client.options import (
    CompareOptions,
    EnrollOptions,
    IdentifyOptions,
    SearchOptions,
    VerifyOptions,
)
from sameface.client.rpc import Call, Rpc
from sameface.client.samples import Photo, SampleLike, as_sample, fitting, photo_bytes
from sameface.v1 import face_service_pb2 as protos


class FaceCalls:
    """Enrolment, verification, identification, and calls that need no gallery."""

    max_photo_bytes: int = MAX_PHOTO_BYTES

    @Rpc
    def enroll(
        self, gallery: str, identity: str, sample: SampleLike, **options: Unpack[EnrollOptions]
    ) -> Call[Enrollment]:
        """Add a template to an identity; make the identity if it does not exist.

        A photo that was enrolled without a request id adds and changes nothing: the answer has the template that is
        there, with its own expiry.
        """
        check_known(options, EnrollOptions.__annotations__)
        values = dict(options)
        request = filled(
            protos.EnrollTemplateRequest,
            parent=identity_name(gallery, identity),
            sample=as_sample(sample, self.max_photo_bytes),
            allow_missing=values.pop("create_identity", True),
            request_id=values.pop("request_id", None) or "",
            **values,
        )
        return Call(fitting(request), Enrollment, repeat_lost_races=True)

    @Rpc
    def verify(
        self, gallery: str, identity: str, sample: SampleLike, **options: Unpack[VerifyOptions]
    ) -> Call[Verification]:
        """Verify (1:1): is the sample of the claimed identity?"""
        check_known(options, VerifyOptions.__annotations__)
        name = identity_name(gallery, identity)
        sent = as_sample(sample, self.max_photo_bytes)
        return Call(fitting(filled(protos.VerifyFaceRequest, name=name, sample=sent, **options)), Verification)

    @Rpc
    def identify(self, gallery: str, sample: SampleLike, **options: Unpack[IdentifyOptions]) -> Call[Identification]:
        """Identify (1:N): which identity of the gallery is the sample of, if any?"""
        check_known(options, IdentifyOptions.__annotations__)
        name = gallery_name(gallery)
        sent = as_sample(sample, self.max_photo_bytes)
        return Call(fitting(filled(protos.IdentifyFacesRequest, gallery=name, sample=sent, **options)), Identification)

    @Rpc
    def compare(self, first: SampleLike, second: SampleLike, **options: Unpack[CompareOptions]) -> Call[Comparison]:
        """Compare two samples. Nothing is stored."""
        check_known(options, CompareOptions.__annotations__)
        request = filled(
            protos.CompareFacesRequest,
            first=as_sample(first, self.max_photo_bytes),
            second=as_sample(second, self.max_photo_bytes),
            **options,
        )
        return Call(fitting(request), Comparison)

    @Rpc
    def detect(self, photo: Photo) -> Call[DetectedFaces]:
        """Find every face of a photo, largest first; ``faces_found`` says how many there are."""
        request = protos.DetectFacesRequest(photo=photo_bytes(photo, self.max_photo_bytes))
        return Call(fitting(request), DetectedFaces)

    @Rpc
    def embed(self, photo: Photo, *, embedder_version: int = 0, embedder_model: str = "") -> Call[EmbeddedFaces]:
        """Return the embeddings of the faces of a photo, largest first; ``faces_found`` says how many there are.

        An ``embedder_model`` of whole images gives one embedding, of all of the image.
        """
        request = protos.EmbedFacesRequest(
            photo=photo_bytes(photo, self.max_photo_bytes),
            embedder_version=embedder_version,
            embedder_model=embedder_model,
        )
        return Call(fitting(request), EmbeddedFaces)

    @Rpc
    def search(self, gallery: str, sample: SampleLike, **options: Unpack[SearchOptions]) -> Call[SearchResult]:
        """Find the nearest templates under a filter. Nothing is decided."""
        check_known(options, SearchOptions.__annotations__)
        values: dict[str, Any] = dict(options)
        where = filled(
            protos.TemplateFilter,
            identities=[identity_name(gallery, one) for one in values.pop("identities", ())],
            exclude_identities=[identity_name(gallery, one) for one in values.pop("exclude_identities", ())],
            labels=values.pop("labels", None),
            origin=values.pop("origin", None),
        )
        request = filled(
            protos.SearchTemplatesRequest,
            gallery=gallery_name(gallery),
            sample=as_sample(sample, self.max_photo_bytes),
            filter=where,
            **values,
        )
        return Call(fitting(request), SearchResult)


def stream_settings(gallery: str, options: IdentifyOptions) -> protos.StreamIdentifyFacesRequest:
    """Return the first message of StreamIdentifyFaces."""
    check_known(options, IdentifyOptions.__annotations__)
    settings = filled(protos.StreamIdentifyFacesRequest.Settings, gallery=gallery_name(gallery), **options)
    return protos.StreamIdentifyFacesRequest(settings=settings)
