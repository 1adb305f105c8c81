"""Calibration and what-if of a gallery: reads its templates, calculates in a thread, changes the policy."""

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from sameface_qdrant.calibration.by_origin import mapped_caveat
from sameface_qdrant.calibration.gallery import GalleryCalibration, compare_settings, measure, policy_changes, settings
from sameface_qdrant.calibration.requests import MAX_TEMPLATES, CalibrationOptions, GalleryTemplates, SettingChanges
from sameface_qdrant.calibration.what_if import WhatIf, what_if
from sameface_qdrant.concurrency import in_thread
from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import NotEnoughData
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.payloads import check_etag
from sameface_qdrant.store.template_origin import of_origin, origin_of
from sameface_qdrant.values.decision import Operation
from sameface_qdrant.values.gallery import PolicyChanges
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.vectors import Vector

_PAGE = 500
_IDENTITIES = 200
"""Identities whose templates are read together. It bounds the memory, for each has up to 64 templates."""


async def calibrate_gallery(
    engine: Engine,
    galleries: Galleries,
    threads: Executor,
    gallery: str,
    options: CalibrationOptions,
    *,
    etag: str,
    both: bool = False,
) -> GalleryCalibration:
    """See `sameface_qdrant.Store.calibrate`. Long calculations run in one of ``threads``.

    With ``both``, the thresholds of mapped templates are measured too, where there are such.
    """
    tenant = await galleries.tenant(gallery)
    present = tenant.gallery
    check_etag(etag, present.etag, gallery)
    size = await _size(engine, tenant)
    scores = options.comparisons
    evidence = await _templates(engine, tenant, threads, options.origin) if scores is None else scores
    found = await in_thread(threads, measure, present, size, evidence, options)
    changes = policy_changes(found, size, options) if options.apply else PolicyChanges()
    if both and scores is None and present.mapped is not None:
        of_mapped = dataclasses.replace(options, origin=EmbeddingOrigin.MAPPED)
        templates = await _templates(engine, tenant, threads, of_mapped.origin)
        try:
            mapped = await in_thread(threads, measure, present, size, templates, of_mapped)
            if options.apply:
                changes |= policy_changes(mapped, size, of_mapped)
            found = dataclasses.replace(
                found, caveats=(*found.caveats, mapped_caveat(mapped.calibration, mapped.comparisons))
            )
        except NotEnoughData as error:
            kept = f"The thresholds of mapped templates stay as they are: {error.message}"
            found = dataclasses.replace(found, caveats=(*found.caveats, kept))
    if not options.apply:
        return found
    # With the etag that was read, because a policy that was changed meanwhile may have other targets.
    changed = await galleries.update(gallery, policy=changes, author=options.author, etag=present.etag)
    return dataclasses.replace(found, gallery=changed, applied=True)


async def gallery_what_if(
    engine: Engine,
    galleries: Galleries,
    threads: Executor,
    gallery: str,
    operation: Operation,
    changes: SettingChanges,
) -> WhatIf:
    """See `sameface_qdrant.Store.what_if`. Long calculations run in one of ``threads``."""
    tenant = await galleries.tenant(gallery)
    before, after = settings(tenant.gallery, operation, await _size(engine, tenant), changes)
    if changes.decisions is not None:
        return await in_thread(threads, what_if, changes.decisions, before, after)
    templates = await _templates(engine, tenant, threads, EmbeddingOrigin.NATIVE)
    return await in_thread(threads, compare_settings, templates, operation, before, after, changes.scope)


async def _size(engine: Engine, tenant: Tenant) -> int:
    return await engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY))


async def _templates(engine: Engine, tenant: Tenant, threads: Executor, origin: EmbeddingOrigin) -> GalleryTemplates:
    """Return the templates in force: all of them, or those of a random sample of identities.

    For thresholds of native templates, these alone: scores with mapped ones have another distribution. For those of
    mapped templates both, as the native ones are the probes.

    An identity of the sample has all of its templates. With fewer of them, impostors would reach it less often than
    they do in use.
    """
    where = confirmed(engine, Where({"gallery": tenant.uid, "kind": payloads.TEMPLATE}, valid_at=time.time()))
    if tenant.gallery.mapped is not None and origin is EmbeddingOrigin.NATIVE:
        where = of_origin(where, origin)
    in_use = await engine.count(tenant.collection, where)
    if in_use <= MAX_TEMPLATES:
        points = await _points(engine, tenant, where)
        in_use = len(points)
    else:
        points = await _sampled_points(engine, tenant, where)
    vectors = [point.vector for point in points if point.vector is not None]
    identities = [_owner(point) for point in points]
    found = await in_thread(threads, _stacked, vectors, identities, tenant.gallery.contract.dimension, in_use)
    mapped = [origin_of(point.payload)[0] is EmbeddingOrigin.MAPPED for point in points if point.vector is not None]
    return dataclasses.replace(found, mapped=np.array(mapped, bool)) if any(mapped) else found


async def _sampled_points(engine: Engine, tenant: Tenant, where: Where) -> list[Point]:
    """Return the templates of as many whole identities as fit; ``where`` chooses all templates in force.

    Ids are hashes, so the first identities in their order are a random sample.
    """
    sample: list[Point] = []
    seen: set[str] = set()
    start = None
    while True:
        records, start = await engine.scroll(
            tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY), _IDENTITIES, start
        )
        # While a gallery is being re-keyed, two pages may hold the same identity.
        names = [name for name in dict.fromkeys(map(_owner, records)) if name not in seen]
        seen.update(names)
        templates: dict[str, list[Point]] = {name: [] for name in names}
        if names:
            for point in await _points(engine, tenant, dataclasses.replace(where, among={"identity": tuple(names)})):
                templates[_owner(point)].append(point)
        for name in names:
            if len(sample) + len(templates[name]) > MAX_TEMPLATES:
                return sample
            sample += templates[name]
        if start is None:
            return sample


async def _points(engine: Engine, tenant: Tenant, where: Where) -> list[Point]:
    """Return every template that a filter chooses, with its vector."""
    # While a gallery is being re-keyed, two pages may hold the same template.
    points: dict[str, Point] = {}
    start = None
    while True:
        page, start = await engine.scroll(tenant.collection, where, _PAGE, start)
        found = await engine.get(tenant.collection, [point.id for point in page], with_vector=True)
        points |= {key: point for key, point in found.items() if point.vector is not None and key not in points}
        if start is None:
            return list(points.values())


def _owner(point: Point) -> str:
    return str(point.payload["identity"])


def _stacked(vectors: Sequence[Vector], identities: list[str], dimension: int, in_use: int) -> GalleryTemplates:
    stacked = np.array(vectors, np.float32).reshape(len(vectors), dimension)
    return GalleryTemplates(stacked, identities, in_use)
