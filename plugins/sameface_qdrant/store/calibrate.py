"""Calibration and what-if of a gallery: reads its templates, works in a thread, changes the policy."""

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Unpack

import numpy as np

from sameface_qdrant.calibration.gallery import (
    MAX_TEMPLATES,
    CalibrationOptions,
    GalleryCalibration,
    GalleryTemplates,
    Operation,
    SettingChanges,
    compare_settings,
    given_scores,
    measure,
    policy_changes,
    settings,
)
from sameface_qdrant.calibration.what_if import WhatIf, what_if
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.store import payloads
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.payloads import check_etag
from sameface_qdrant.threads import in_thread
from sameface_qdrant.values.vectors import Vector

_PAGE = 500


async def calibrate_gallery(
    engine: Engine,
    galleries: Galleries,
    threads: Executor,
    gallery: str,
    *,
    etag: str = "",
    **options: Unpack[CalibrationOptions],
) -> GalleryCalibration:
    """Measure the thresholds for the policy's targets, and with ``apply`` make them a new revision of the policy.

    Everything that takes long is calculated in one of ``threads``.

    Raises:
        GalleryNotFound: there is no such gallery.
        NotEnoughData: there is nothing to compare; or a target is not supported and was to be applied.
        ConcurrentUpdate: the gallery was changed meanwhile, or ``etag`` is not the present one.
        InvalidArgument, InvalidEmbedding, ContractMismatch: the scores or the cohort are malformed.
    """
    tenant = await galleries.tenant(gallery)
    present = tenant.gallery
    check_etag(etag, present.etag, gallery)
    size = await _size(engine, tenant)
    scores = given_scores(options)
    evidence = await _templates(engine, tenant, threads) if scores is None else scores
    found = await in_thread(threads, measure, present, size, evidence, options)
    if not options.get("apply", False):
        return found
    changes = policy_changes(found, size, options)
    # Bound to what was read: a policy that was changed meanwhile aims for something else.
    changed = await galleries.update(gallery, policy=changes, author=options.get("author", ""), etag=present.etag)
    return dataclasses.replace(found, gallery=changed, applied=True)


async def gallery_what_if(
    engine: Engine,
    galleries: Galleries,
    threads: Executor,
    gallery: str,
    operation: Operation,
    **changes: Unpack[SettingChanges],
) -> WhatIf:
    """Tell what another threshold or margin would change over the gallery's own templates or over given decisions.

    Raises:
        GalleryNotFound: there is no such gallery.
        NotEnoughData: it holds fewer than two identities with templates.
        ThresholdNotCalibrated: the policy and the model card bring no threshold to compare with.
        InvalidArgument: the threshold is outside −1..1, or the margin outside 0..2.
    """
    tenant = await galleries.tenant(gallery)
    before, after = settings(tenant.gallery, operation, await _size(engine, tenant), changes)
    if (decisions := changes.get("decisions")) is not None:
        return await in_thread(threads, what_if, decisions, before, after)
    templates = await _templates(engine, tenant, threads)
    return await in_thread(threads, compare_settings, templates, operation, before, after)


async def _size(engine: Engine, tenant: Tenant) -> int:
    return await engine.count(tenant.collection, gallery_filter(tenant.uid, payloads.IDENTITY))


async def _templates(engine: Engine, tenant: Tenant, threads: Executor) -> GalleryTemplates:
    """Return the templates in force.

    Ids are hashes, so the first ones in their order are as good as drawn at random.
    """
    where = Where({"gallery": tenant.uid, "kind": payloads.TEMPLATE}, valid_at=time.time())
    vectors: list[Vector] = []
    identities: list[str] = []
    start = None
    while len(vectors) < MAX_TEMPLATES:
        page, start = await engine.scroll(tenant.collection, where, _PAGE, start)
        found = await engine.get(tenant.collection, [point.id for point in page], with_vector=True)
        for point in found.values():
            if point.vector is not None:
                vectors.append(point.vector)
                identities.append(str(point.payload["identity"]))
        if start is None:
            break
    return await in_thread(threads, _stacked, vectors, identities, tenant.gallery.contract.dimension, start is None)


def _stacked(vectors: Sequence[Vector], identities: list[str], dimension: int, complete: bool) -> GalleryTemplates:
    stacked = np.array(vectors, np.float32).reshape(len(vectors), dimension)
    return GalleryTemplates(stacked, identities, complete=complete)
