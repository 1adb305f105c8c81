"""The methods of the clients for identities, templates and receipts of erasures."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Unpack

from google.protobuf import field_mask_pb2

from sameface.client.answers.erasures import ErasureReceipt
from sameface.client.answers.templates import Identity, Template
from sameface.client.fields import check_known, filled, gallery_name, identity_id, identity_name, template_name
from sameface.client.options import IdentityOptions
from sameface.client.rpc import Call, Listing, Pages, Rpc
from sameface.v1 import gallery_pb2
from sameface.v1 import gallery_service_pb2 as protos


class IdentityCalls:
    """Identities."""

    @Rpc
    def create_identity(
        self, gallery: str, identity: str, *, exist_ok: bool = False, **fields: Unpack[IdentityOptions]
    ) -> Call[Identity]:
        """Make an identity without templates.

        With ``exist_ok``, an identity that exists is returned as it is: the other options change nothing in it.
        """
        check_known(fields, IdentityOptions.__annotations__)
        request = protos.CreateIdentityRequest(
            parent=gallery_name(gallery),
            identity_id=identity_id(identity),
            identity=filled(gallery_pb2.Identity, **fields),
            request_id=str(uuid.uuid4()),
        )
        existing = protos.GetIdentityRequest(name=identity_name(gallery, identity))
        instead = Call(existing, Identity) if exist_ok else None
        return Call(request, Identity, exists="IDENTITY_ALREADY_EXISTS", instead=instead)

    @Rpc
    def get_identity(self, gallery: str, identity: str) -> Call[Identity]:
        """Return an identity."""
        return Call(protos.GetIdentityRequest(name=identity_name(gallery, identity)), Identity)

    @Listing
    def identities(self, gallery: str, *, labels: Mapping[str, str] | None = None) -> Pages[Identity]:
        """Return every identity of a gallery, or those with all of ``labels``, page by page."""
        return Pages(protos.ListIdentitiesRequest(parent=gallery_name(gallery), labels=labels), "identities", Identity)

    @Rpc
    def update_identity(
        self, gallery: str, identity: str, *, etag: str = "", **fields: Unpack[IdentityOptions]
    ) -> Call[Identity]:
        """Change the given fields of an identity."""
        check_known(fields, IdentityOptions.__annotations__)
        request = protos.UpdateIdentityRequest(
            identity=filled(gallery_pb2.Identity, name=identity_name(gallery, identity), etag=etag, **fields),
            update_mask=field_mask_pb2.FieldMask(paths=list(fields)),
        )
        return Call(request, Identity, repeat_lost_races=not etag)

    @Rpc
    def move_identity(self, gallery: str, identity: str, new_id: str, *, merge: bool = False) -> Call[Identity]:
        """Give an identity another id, or with ``merge`` add its templates to the identity that has this id."""
        name = identity_name(gallery, identity)
        request = protos.MoveIdentityRequest(name=name, identity_id=identity_id(new_id), merge=merge)
        return Call(request, Identity, repeat_lost_races=True)

    @Rpc
    def delete_identity(
        self, gallery: str, identity: str, *, force: bool = False, etag: str = ""
    ) -> Call[ErasureReceipt]:
        """Erase an identity. If it has templates, ``force`` is needed."""
        request = protos.DeleteIdentityRequest(name=identity_name(gallery, identity), force=force, etag=etag)
        return Call(request, ErasureReceipt, part="receipt", gone="IDENTITY_NOT_FOUND")


class TemplateCalls:
    """Templates."""

    @Rpc
    def get_template(self, gallery: str, identity: str, template: str) -> Call[Template]:
        """Return a template, without its embedding."""
        return Call(protos.GetTemplateRequest(name=template_name(gallery, identity, template)), Template)

    @Listing
    def templates(self, gallery: str, identity: str) -> Pages[Template]:
        """Return every template of an identity, page by page."""
        return Pages(protos.ListTemplatesRequest(parent=identity_name(gallery, identity)), "templates", Template)

    @Rpc
    def update_template(
        self, gallery: str, identity: str, template: str, *, expire_time: datetime | None
    ) -> Call[Template]:
        """Change when a template expires; None is never."""
        name = template_name(gallery, identity, template)
        changed = filled(gallery_pb2.Template, name=name, expire_time=expire_time)
        return Call(protos.UpdateTemplateRequest(template=changed), Template)

    @Rpc
    def delete_template(self, gallery: str, identity: str, template: str) -> Call[ErasureReceipt]:
        """Erase a template."""
        request = protos.DeleteTemplateRequest(name=template_name(gallery, identity, template))
        return Call(request, ErasureReceipt, part="receipt", gone="TEMPLATE_NOT_FOUND")


class ErasureCalls:
    """Receipts of erasures."""

    @Rpc
    def erasure_receipt(self, receipt: str) -> Call[ErasureReceipt]:
        """Return the receipt of an erasure, by id or name, with its current state."""
        name = f"erasureReceipts/{receipt.removeprefix('erasureReceipts/')}"
        return Call(protos.GetErasureReceiptRequest(name=name), ErasureReceipt)

    @Listing
    def erasure_receipts(self, gallery: str = "") -> Pages[ErasureReceipt]:
        """Return every receipt of erasures in a gallery, or of all, page by page."""
        name = gallery_name(gallery) if gallery else ""
        return Pages(protos.ListErasureReceiptsRequest(gallery=name), "erasure_receipts", ErasureReceipt)
