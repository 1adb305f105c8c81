"""Renewal: a probe's own embedding replaces a mapped one, as people come by.

A mapped template was made from a photo that nobody has any more. A later photo of the same person is a better one under
the new contract. But a probe that merely matches must not become a template: whoever comes near step by step would at
last be enrolled. So:

- Only mapped templates are replaced, and each once.
- The probe must exceed the mapped threshold by ``renewal_margin``, in comparison with the very template that it
  replaces. What other templates say does not count, and neither does a threshold of the request.

A native template is never replaced, and a mapped one is that of an enrolment. A template that was renewed, and mapped
again by a later migration, is not renewed again but by the photo of its enrolment. So no sequence of renewals leads
further from an enrolment than one step.

The guards of the policy decide as they do for an enrolment. Who decides about photos (quality, presentation attacks)
does so before. Identity, expiry and consent stay as they are.
"""

from dataclasses import replace

import numpy as np

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import (
    ConcurrentUpdate,
    GuardRefusal,
    IdentityExpired,
    SamefaceError,
    TemplateNotFound,
    ThresholdNotCalibrated,
)
from sameface_qdrant.policy.origins import Thresholds, identification_thresholds, renewal_bound, verification_thresholds
from sameface_qdrant.store import payloads
from sameface_qdrant.store.clock import time_now
from sameface_qdrant.store.conditional_write import is_pending, new_writer, overtaken
from sameface_qdrant.store.enrolment_item import Item, identity_refusal
from sameface_qdrant.store.enrolment_request import Entry, check_request, entries_of
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.guard_findings import Subject, rejects, verdicts
from sameface_qdrant.store.guards import Guards
from sameface_qdrant.store.identity_records import find_record, not_found
from sameface_qdrant.store.template_origin import RENEWAL, native_payload, of_origin, origin_of, renewal_note
from sameface_qdrant.store.write_lock import WriteLock, runs_to_completion
from sameface_qdrant.values.decision import Operation, Renewal, RenewalState
from sameface_qdrant.values.enrolment import Enrolment
from sameface_qdrant.values.ids import check_identity_id
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.template import NewTemplate

TOO_LOW, NOT_MAPPED, ONCE = "SCORE_TOO_LOW", "NOT_MAPPED", "ALREADY_RENEWED"
"""Why a renewal is refused, beside the reasons of typed errors."""
NATIVE, MAPPED = EmbeddingOrigin.NATIVE, EmbeddingOrigin.MAPPED


class Renewals:
    """Reached as ``store.renew``, and as ``store.enroll`` with ``renew``."""

    def __init__(self, engine: Engine, galleries: Galleries, write_lock: WriteLock, secret: bytes) -> None:
        self._engine = engine
        self._galleries = galleries
        self._write_lock = write_lock
        self._secret = secret
        self._guards = Guards(engine, galleries)

    @runs_to_completion
    async def renew(
        self, gallery: str, identity: str, template: str, new: NewTemplate, *, operation: Operation
    ) -> Renewal:
        """See `sameface_qdrant.Store.renew`."""
        check_identity_id(identity, "identity")
        request = Enrolment(identity, (new,), create_identity=False)
        check_request(request)
        async with self._write_lock.of(gallery, identity):
            tenant = await self._galleries.tenant(gallery)
            (entry,) = entries_of(tenant, request, self._secret)
            record, point = await self._read(tenant, identity, template)
            vouched = await self._vouched(tenant, record, point, entry, operation)
            if vouched.state is RenewalState.REFUSED:
                return vouched
            try:
                await self._replace(tenant, request, record, point, entry)
            except (GuardRefusal, IdentityExpired, ThresholdNotCalibrated, ConcurrentUpdate) as error:
                return replace(vouched, state=RenewalState.REFUSED, reason=error.reason)
        await self._engine.commit(tenant.collection, erase=True)
        return replace(vouched, state=RenewalState.RENEWED)

    @runs_to_completion
    async def renew_same(self, gallery: str, request: Enrolment) -> None:
        """Replace the mapped templates of an enrolment that is repeated with the same photos.

        The keyed digest shows that a photo is the one that the mapped embedding was made from. So no score has to vouch
        for it. Templates that are native, or not there, are left to the enrolment.

        Raises:
            IdentityExpired, IdentityCollision, DuplicateSample, TemplateOutlier: as for an enrolment. Templates before
                the refused one are renewed.
            ConcurrentUpdate: another service was faster; repeat the call.
        """
        check_request(request)
        renewed = False
        async with self._write_lock.of(gallery, request.identity):
            tenant = await self._galleries.tenant(gallery)
            if tenant.gallery.mapped is None:
                return
            entries = {entry.key: entry for entry in entries_of(tenant, request, self._secret)}
            found = await self._engine.get(tenant.collection, list(entries))
            for key, entry in entries.items():
                point = found.get(key)
                if point is None or not _is_mapped(point) or point.payload["digest"] != entry.digest:
                    continue
                record = await find_record(self._engine, tenant, request.identity)
                if record is None:
                    raise not_found(tenant, request.identity)
                await self._replace(tenant, request, record, point, entry)
                renewed = True
        if renewed:
            await self._engine.commit(tenant.collection, erase=True)

    async def _read(self, tenant: Tenant, identity: str, template: str) -> tuple[Point, Point]:
        record = await find_record(self._engine, tenant, identity)
        if record is None:
            raise not_found(tenant, identity)
        found = (await self._engine.get(tenant.collection, [template], with_vector=True)).get(template)
        if found is None or found.payload["identity"] != identity or found.payload["gallery"] != tenant.uid:
            raise TemplateNotFound(
                f"{identity!r} has no template {template[:64]!r}; list its templates",
                metadata={"gallery": tenant.gallery.id, "identity": identity, "template": template[:64]},
            )
        return record, found

    async def _vouched(
        self, tenant: Tenant, record: Point, point: Point, entry: Entry, operation: Operation
    ) -> Renewal:
        """Return the renewal if the template itself vouches for the probe, else the refusal."""
        gallery, identity = tenant.gallery, str(record.payload["identity"])
        if not _is_mapped(point) or gallery.mapped is None or point.vector is None:
            return Renewal(identity, point.id, 0.0, 0.0, RenewalState.REFUSED, NOT_MAPPED)
        if point.payload.get(RENEWAL):
            return Renewal(identity, point.id, 0.0, 0.0, RenewalState.REFUSED, ONCE)
        thresholds: Thresholds
        if operation is Operation.IDENTIFICATION:
            thresholds = identification_thresholds(gallery, await self._galleries.sizes.of(tenant), None)
        else:
            thresholds = verification_thresholds(gallery, payloads.identity_of(record.payload, gallery.id, 0), None)
        required = renewal_bound(thresholds, gallery.policy)
        score = float(np.clip(np.dot(point.vector, entry.vector), -1.0, 1.0))
        if score >= required:
            return Renewal(identity, point.id, score, required)
        return Renewal(identity, point.id, score, required, RenewalState.REFUSED, TOO_LOW)

    async def _replace(self, tenant: Tenant, request: Enrolment, record: Point, point: Point, entry: Entry) -> None:
        """Replace a mapped embedding, unless the identity or a guard refuses; the caller holds the identity's lock.

        Raises:
            IdentityExpired, IdentityCollision, DuplicateSample, TemplateOutlier, ThresholdNotCalibrated: refused.
            ConcurrentUpdate: another service changed identity or template.
        """
        now = time_now()
        if refused := identity_refusal(tenant, Item(request, record=record)):
            raise refused
        if is_pending(point) or not payloads.in_force(point.payload, now):
            raise overtaken(tenant.gallery.id, request.identity)
        # The guards see the content of the probe. What is stored keeps that of the enrolment, which names the template.
        shown = Point(point.id, {**native_payload(point.payload), "digest": entry.digest}, entry.vector)
        subject = Subject(request.identity, record, [shown])
        await self._check_guards(tenant, subject)
        note = renewal_note(entry.new.provenance, now, new_writer())
        changed = {"contract": tenant.gallery.contract.key, RENEWAL: note}
        renewed = Point(point.id, {**native_payload(point.payload), **changed}, entry.vector)
        if self._engine.exclusive:
            await self._engine.upsert(tenant.collection, [renewed])
            return
        mine = {"gallery": tenant.uid, "identity": request.identity}
        original = (await self._engine.get(tenant.collection, [point.id], with_vector=True)).get(point.id)
        await self._engine.upsert(tenant.collection, [renewed], only_if=of_origin(Where(mine), MAPPED))
        stored = (await self._engine.get(tenant.collection, [point.id])).get(point.id)
        if original is None or stored is None or stored.payload.get(RENEWAL) != note:
            raise overtaken(tenant.gallery.id, request.identity)
        if rejects(tenant.gallery.policy):
            try:
                # Another service may have enrolled the same person under another identity in between.
                await self._check_guards(tenant, subject)
            except SamefaceError:
                # Nobody else changes a native embedding, but it may have been moved or erased.
                await self._engine.upsert(tenant.collection, [original], only_if=of_origin(Where(mine), NATIVE))
                raise

    async def _check_guards(self, tenant: Tenant, subject: Subject) -> None:
        (verdict,) = verdicts(tenant.gallery, [subject], await self._guards.evidence(tenant, [subject]))
        if verdict.refusal is not None:
            raise verdict.refusal


def _is_mapped(point: Point) -> bool:
    return origin_of(point.payload)[0] is MAPPED
