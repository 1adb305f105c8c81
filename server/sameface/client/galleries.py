"""The methods of the clients for galleries and their policies."""

import uuid
from typing import Unpack

from google.protobuf import field_mask_pb2

from sameface.client.answers.calibrations import CalibrationResult
from sameface.client.answers.erasures import ErasureReceipt
from sameface.client.answers.galleries import Gallery, Policy, Rekeyed
from sameface.client.answers.what_if import WhatIf
from sameface.client.fields import check_known, filled, gallery_name, writable
from sameface.client.options import CalibrateOptions, OperationName, PolicyOptions, WhatIfOptions
from sameface.client.rpc import Call, Listing, Pages, Rpc
from sameface.v1 import gallery_pb2
from sameface.v1 import gallery_service_pb2 as protos


class GalleryCalls:
    """Galleries, their policies and their calibration."""

    @Rpc
    def create_gallery(
        self,
        gallery: str,
        *,
        display_name: str = "",
        embedder_version: int = 0,
        embedder_model: str = "",
        protected: bool | None = None,
        exist_ok: bool = False,
        **policy: Unpack[PolicyOptions],
    ) -> Call[Gallery]:
        """Make a gallery. ``protected`` overrides the server's setting, see docs/template-protection.md.

        Without ``embedder_model``, its photos show faces. See docs/other-things.md for other things.

        With ``exist_ok``, a gallery that exists is returned as it is: the other options change nothing in it.
        """
        request = protos.CreateGalleryRequest(
            gallery_id=gallery,
            gallery=gallery_pb2.Gallery(display_name=display_name, policy=_policy(policy)),
            embedder_version=embedder_version,
            embedder_model=embedder_model,
            request_id=str(uuid.uuid4()),
            protected=protected,
        )
        existing = protos.GetGalleryRequest(name=gallery_name(gallery))
        instead = Call(existing, Gallery) if exist_ok else None
        return Call(request, Gallery, exists="GALLERY_ALREADY_EXISTS", instead=instead)

    @Rpc
    def rekey_gallery(self, gallery: str) -> Call[Rekeyed]:
        """Write the templates of a protected gallery again under the server's current key. Give it a long timeout."""
        return Call(protos.RekeyGalleryRequest(name=gallery_name(gallery)), Rekeyed)

    @Rpc
    def get_gallery(self, gallery: str) -> Call[Gallery]:
        """Return a gallery."""
        return Call(protos.GetGalleryRequest(name=gallery_name(gallery)), Gallery)

    @Listing
    def galleries(self) -> Pages[Gallery]:
        """Return every gallery, page by page."""
        return Pages(protos.ListGalleriesRequest(), "galleries", Gallery)

    @Rpc
    def update_gallery(
        self, gallery: str, *, display_name: str | None = None, etag: str = "", **policy: Unpack[PolicyOptions]
    ) -> Call[Gallery]:
        """Change the given fields of a gallery. A changed policy is a new revision."""
        paths = [f"policy.{field}" for field in policy] + ([] if display_name is None else ["display_name"])
        changed = gallery_pb2.Gallery(
            name=gallery_name(gallery), display_name=display_name, policy=_policy(policy), etag=etag
        )
        request = protos.UpdateGalleryRequest(gallery=changed, update_mask=field_mask_pb2.FieldMask(paths=paths))
        return Call(request, Gallery, repeat_lost_races=not etag)

    @Listing
    def policy_revisions(self, gallery: str) -> Pages[Policy]:
        """Return every revision of a gallery's policy, newest first."""
        return Pages(protos.ListPolicyRevisionsRequest(parent=gallery_name(gallery)), "policies", Policy)

    @Rpc
    def calibrate_gallery(self, gallery: str, **options: Unpack[CalibrateOptions]) -> Call[CalibrationResult]:
        """Measure thresholds on the gallery, and write them into its policy unless ``validate_only`` is set."""
        check_known(options, CalibrateOptions.__annotations__)
        request = filled(protos.CalibrateGalleryRequest, name=gallery_name(gallery), **options)
        return Call(request, CalibrationResult, repeat_lost_races=not request.etag)

    @Rpc
    def what_if_gallery(self, gallery: str, operation: OperationName, **options: Unpack[WhatIfOptions]) -> Call[WhatIf]:
        """Return what another threshold or margin would change. Nothing is changed."""
        check_known(options, WhatIfOptions.__annotations__)
        request = filled(protos.WhatIfGalleryRequest, name=gallery_name(gallery), operation=operation, **options)
        return Call(request, WhatIf)

    @Rpc
    def delete_gallery(self, gallery: str, *, force: bool = False, etag: str = "") -> Call[ErasureReceipt]:
        """Erase a gallery. If it has identities, ``force`` is needed. The receipt says what was checked."""
        request = protos.DeleteGalleryRequest(name=gallery_name(gallery), force=force, etag=etag)
        return Call(request, ErasureReceipt, part="receipt", gone="GALLERY_NOT_FOUND")


def _policy(options: PolicyOptions) -> gallery_pb2.Policy:
    check_known(options, writable(gallery_pb2.Policy))
    return filled(gallery_pb2.Policy, **options)
