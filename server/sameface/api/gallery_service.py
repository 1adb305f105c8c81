"""GalleryService: manages galleries, identities, templates and erasure receipts."""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any, cast

import grpc

from sameface.access.caller import present_caller
from sameface.access.roles import RULES
from sameface.api import requests, responses
from sameface.api.calibrations import Calibrations
from sameface.api.names import parse_name, parse_receipt_name
from sameface.api.pages import as_many_as_fit, page_of
from sameface.api.policies import default_on_collision, new_policy_from, policy_changes, policy_from, policy_to
from sameface.pipeline.operations import FaceOperations
from sameface.v1 import gallery_pb2, gallery_service_pb2, gallery_service_pb2_grpc
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.gallery import Gallery
from sameface_qdrant.values.ids import check_identity_id

Context = grpc.aio.ServicerContext[Any, Any]


class GalleryServicer(gallery_service_pb2_grpc.GalleryServiceServicer):  # type: ignore[misc]  # generated, untyped
    """Implements GalleryService; protos/sameface/v1/gallery_service.proto describes every rpc and its errors."""

    def __init__(self, store: Store, operations: FaceOperations) -> None:
        self._store = store
        self._operations = operations
        self._calibrations = Calibrations(store, self._answer)

    def _answer(self, gallery: Gallery) -> gallery_pb2.Gallery:
        return responses.gallery_to(gallery, self._operations.embedders.licence_restriction(gallery.contract))

    async def CreateGallery(
        self, request: gallery_service_pb2.CreateGalleryRequest, context: Context
    ) -> gallery_pb2.Gallery:
        """Create a gallery under the contract of the requested embedder version, or of the default one."""
        card = self._operations.embedder_card(request.embedder_version or None, request.embedder_model)
        gallery = await self._operations.create_gallery(
            request.gallery_id,
            embedder_version=card.version,
            embedder_model=card.model,
            display_name=requests.text_from(request.gallery.display_name, "gallery.display_name"),
            policy=new_policy_from(request.gallery.policy, card.points),
            request_id=requests.request_id_from(request.request_id),
            protected=request.protected if request.HasField("protected") else None,
        )
        return self._answer(gallery)

    async def RekeyGallery(
        self, request: gallery_service_pb2.RekeyGalleryRequest, context: Context
    ) -> gallery_service_pb2.RekeyGalleryResponse:
        """Write a protected gallery again under the current key."""
        (gallery,) = parse_name(request.name, "name", 1)
        done = await self._store.rekey(gallery)
        return gallery_service_pb2.RekeyGalleryResponse(
            gallery=self._answer(done.gallery), moved=done.moved, resumed=done.resumed
        )

    async def GetGallery(self, request: gallery_service_pb2.GetGalleryRequest, context: Context) -> gallery_pb2.Gallery:
        """Return one gallery."""
        (gallery,) = parse_name(request.name, "name", 1)
        return self._answer(await self._store.galleries.get(gallery))

    async def ListGalleries(
        self, request: gallery_service_pb2.ListGalleriesRequest, context: Context
    ) -> gallery_service_pb2.ListGalleriesResponse:
        """Return one page of the galleries that the caller may get."""
        size = requests.page_size_from(request.page_size)
        caller, needed = present_caller(), RULES["GetGallery"].roles
        if caller.roles_in("") & needed:
            galleries, token = await page_of(
                lambda size: self._store.galleries.list(page_size=size, page_token=request.page_token),
                self._answer,
                size,
            )
            return gallery_service_pb2.ListGalleriesResponse(galleries=galleries, next_page_token=token)
        # The store's page tokens tell which gallery is next, also one that this caller may not know.
        first = requests.position_from(request.page_token)
        visible = [one async for one in self._every_gallery() if caller.roles_in(one.id) & needed]
        galleries = as_many_as_fit(map(self._answer, visible[first : first + size]))
        following = first + len(galleries)
        return gallery_service_pb2.ListGalleriesResponse(
            galleries=galleries, next_page_token=str(following) if len(visible) > following else ""
        )

    async def _every_gallery(self) -> AsyncIterator[Gallery]:
        token = ""
        while True:
            page = await self._store.galleries.list(page_size=1000, page_token=token)
            for one in page.items:
                yield one
            token = page.next_token
            if not token:
                return

    async def UpdateGallery(
        self, request: gallery_service_pb2.UpdateGalleryRequest, context: Context
    ) -> gallery_pb2.Gallery:
        """Change the display name and the policy. A changed policy is a new revision."""
        (gallery_id,) = parse_name(request.gallery.name, "gallery.name", 1)
        fields = requests.gallery_fields(request.gallery, request.update_mask.paths)
        display_name = requests.text_from(request.gallery.display_name, "gallery.display_name")
        changes = policy_changes(request.gallery.policy, fields - {"display_name"})
        if "presentation_attack" in fields:
            found = await self._store.galleries.get(gallery_id)
            self._operations.check_policy(policy_from(request.gallery.policy), found.contract)
        if "on_collision" in fields and not request.gallery.policy.on_collision:
            there = await self._store.galleries.get(gallery_id)
            policy = dataclasses.replace(there.policy, **cast(Any, changes))
            changes["on_collision"] = default_on_collision(policy, there.operating_points)
        updated = await self._store.galleries.update(
            gallery_id,
            policy=changes,
            display_name=display_name if "display_name" in fields else None,
            etag=request.gallery.etag,
        )
        return self._answer(updated)

    async def ListPolicyRevisions(
        self, request: gallery_service_pb2.ListPolicyRevisionsRequest, context: Context
    ) -> gallery_service_pb2.ListPolicyRevisionsResponse:
        """Return one page of a policy's revisions, newest first. The token of a page is its first revision."""
        (gallery,) = parse_name(request.parent, "parent", 1)
        size = requests.page_size_from(request.page_size)
        if request.page_token and not request.page_token.isdecimal():
            raise InvalidArgument(
                f"page_token is {request.page_token[:64]!r}; expected the next_page_token of the previous page",
                metadata={"field": "page_token"},
            )
        newest_first = reversed(await self._store.galleries.revisions(gallery))
        start = int(request.page_token[:10] or 2**31)
        left = [policy for policy in newest_first if policy.revision <= start]
        policies = as_many_as_fit(map(policy_to, left[:size]))
        return gallery_service_pb2.ListPolicyRevisionsResponse(
            policies=policies,
            next_page_token=str(left[len(policies)].revision) if len(left) > len(policies) else "",
        )

    async def CalibrateGallery(
        self, request: gallery_service_pb2.CalibrateGalleryRequest, context: Context
    ) -> gallery_service_pb2.CalibrateGalleryResponse:
        """Measure thresholds, and write them into the policy unless ``validate_only`` is set."""
        return await self._calibrations.calibrate(request)

    async def WhatIfGallery(
        self, request: gallery_service_pb2.WhatIfGalleryRequest, context: Context
    ) -> gallery_service_pb2.WhatIfGalleryResponse:
        """Report what another threshold or margin would change."""
        return await self._calibrations.what_if(request)

    async def DeleteGallery(
        self, request: gallery_service_pb2.DeleteGalleryRequest, context: Context
    ) -> gallery_service_pb2.DeleteGalleryResponse:
        """Delete a gallery; with ``force`` also everything in it."""
        (gallery,) = parse_name(request.name, "name", 1)
        receipt = await self._store.galleries.delete(gallery, force=request.force, etag=request.etag)
        return gallery_service_pb2.DeleteGalleryResponse(receipt=responses.receipt_to(receipt))

    async def CreateIdentity(
        self, request: gallery_service_pb2.CreateIdentityRequest, context: Context
    ) -> gallery_pb2.Identity:
        """Create an identity without templates."""
        (gallery,) = parse_name(request.parent, "parent", 1)
        identity = await self._store.identities.create(
            gallery,
            request.identity_id,
            display_name=requests.text_from(request.identity.display_name, "identity.display_name"),
            labels=dict(request.identity.labels),
            verify_threshold=requests.number_from(request.identity, "verify_threshold", -1, 1),
            consent_reference=requests.text_from(request.identity.consent_reference, "identity.consent_reference"),
            purpose=requests.text_from(request.identity.purpose, "identity.purpose"),
            expire_time=requests.optional_time_from(request.identity, "expire_time"),
            request_id=requests.request_id_from(request.request_id),
        )
        return responses.identity_to(identity)

    async def GetIdentity(
        self, request: gallery_service_pb2.GetIdentityRequest, context: Context
    ) -> gallery_pb2.Identity:
        """Return one identity."""
        gallery, identity = parse_name(request.name, "name", 2)
        return responses.identity_to(await self._store.identities.get(gallery, identity))

    async def ListIdentities(
        self, request: gallery_service_pb2.ListIdentitiesRequest, context: Context
    ) -> gallery_service_pb2.ListIdentitiesResponse:
        """Return one page of identities."""
        (gallery,) = parse_name(request.parent, "parent", 1)
        identities, token = await page_of(
            lambda size: self._store.identities.list(
                gallery, labels=dict(request.labels), page_size=size, page_token=request.page_token
            ),
            responses.identity_to,
            requests.page_size_from(request.page_size),
        )
        return gallery_service_pb2.ListIdentitiesResponse(identities=identities, next_page_token=token)

    async def UpdateIdentity(
        self, request: gallery_service_pb2.UpdateIdentityRequest, context: Context
    ) -> gallery_pb2.Identity:
        """Change fields of an identity."""
        gallery, identity = parse_name(request.identity.name, "identity.name", 2)
        changes = requests.identity_changes(request.identity, request.update_mask.paths)
        updated = await self._store.identities.update(gallery, identity, changes, etag=request.identity.etag)
        return responses.identity_to(updated)

    async def MoveIdentity(
        self, request: gallery_service_pb2.MoveIdentityRequest, context: Context
    ) -> gallery_pb2.Identity:
        """Give an identity another id, or merge it into another one."""
        gallery, identity = parse_name(request.name, "name", 2)
        target = check_identity_id(request.identity_id, "identity_id")
        return responses.identity_to(await self._store.identities.move(gallery, identity, target, merge=request.merge))

    async def DeleteIdentity(
        self, request: gallery_service_pb2.DeleteIdentityRequest, context: Context
    ) -> gallery_service_pb2.DeleteIdentityResponse:
        """Delete an identity; with ``force`` also its templates."""
        gallery, identity = parse_name(request.name, "name", 2)
        receipt = await self._store.identities.delete(gallery, identity, force=request.force, etag=request.etag)
        return gallery_service_pb2.DeleteIdentityResponse(receipt=responses.receipt_to(receipt))

    async def GetTemplate(
        self, request: gallery_service_pb2.GetTemplateRequest, context: Context
    ) -> gallery_pb2.Template:
        """Return one template, without its vector."""
        return responses.template_to(await self._store.templates.get(*parse_name(request.name, "name", 3)))

    async def ListTemplates(
        self, request: gallery_service_pb2.ListTemplatesRequest, context: Context
    ) -> gallery_service_pb2.ListTemplatesResponse:
        """Return one page of templates."""
        gallery, identity = parse_name(request.parent, "parent", 2)
        templates, token = await page_of(
            lambda size: self._store.templates.list(gallery, identity, page_size=size, page_token=request.page_token),
            responses.template_to,
            requests.page_size_from(request.page_size),
        )
        return gallery_service_pb2.ListTemplatesResponse(templates=templates, next_page_token=token)

    async def DeleteTemplate(
        self, request: gallery_service_pb2.DeleteTemplateRequest, context: Context
    ) -> gallery_service_pb2.DeleteTemplateResponse:
        """Erase one template."""
        receipt = await self._store.templates.delete(*parse_name(request.name, "name", 3))
        return gallery_service_pb2.DeleteTemplateResponse(receipt=responses.receipt_to(receipt))

    async def UpdateTemplate(
        self, request: gallery_service_pb2.UpdateTemplateRequest, context: Context
    ) -> gallery_pb2.Template:
        """Change when a template expires."""
        gallery, identity, template = parse_name(request.template.name, "template.name", 3)
        requests.changed_fields(request.update_mask.paths, {"expire_time"}, {"expire_time": {"expire_time"}})
        expires = requests.optional_time_from(request.template, "expire_time")
        return responses.template_to(
            await self._store.templates.update(gallery, identity, template, expire_time=expires)
        )

    async def GetErasureReceipt(
        self, request: gallery_service_pb2.GetErasureReceiptRequest, context: Context
    ) -> gallery_pb2.ErasureReceipt:
        """Return the present state of one receipt."""
        return responses.receipt_to(await self._store.erasures.get(parse_receipt_name(request.name)))

    async def ListErasureReceipts(
        self, request: gallery_service_pb2.ListErasureReceiptsRequest, context: Context
    ) -> gallery_service_pb2.ListErasureReceiptsResponse:
        """Return one page of receipts."""
        (gallery,) = parse_name(request.gallery, "gallery", 1) if request.gallery else ("",)
        receipts, token = await page_of(
            lambda size: self._store.erasures.list(gallery=gallery, page_size=size, page_token=request.page_token),
            responses.receipt_to,
            requests.page_size_from(request.page_size),
        )
        return gallery_service_pb2.ListErasureReceiptsResponse(erasure_receipts=receipts, next_page_token=token)
