"""Calibrations and what-ifs of an attached collection."""

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sameface_qdrant.attached.templates import read_templates
from sameface_qdrant.calibration.gallery import GalleryCalibration, compare_settings, measure, policy_changes, settings
from sameface_qdrant.calibration.requests import (
    MAX_TEMPLATES,
    MAX_TEMPLATES_OF_ONE,
    CalibrationOptions,
    GalleryTemplates,
    SettingChanges,
)
from sameface_qdrant.calibration.what_if import WhatIf, what_if
from sameface_qdrant.policy import revised_policy
from sameface_qdrant.values.decision import Operation
from sameface_qdrant.values.gallery import Gallery

if TYPE_CHECKING:
    from sameface_qdrant.attached.queries import AttachedCollection


async def measured(
    collection: "AttachedCollection", gallery: Gallery, identities: int, options: CalibrationOptions
) -> GalleryCalibration:
    """See `sameface_qdrant.Attached.calibrate`. It measures, and `applied` applies."""
    evidence = await _templates(collection, options.seed) if options.comparisons is None else options.comparisons
    return await asyncio.to_thread(measure, gallery, identities, evidence, options)


def applied(
    found: GalleryCalibration, gallery: Gallery, identities: int, options: CalibrationOptions
) -> GalleryCalibration:
    """Return a calibration whose gallery has a new policy, made from the present one.

    Raises:
        NotEnoughData: a target is not supported.
    """
    changes = policy_changes(found, identities, options)
    policy = revised_policy(gallery.policy, changes, options.author, datetime.now(UTC))
    return dataclasses.replace(found, gallery=dataclasses.replace(gallery, policy=policy), applied=True)


async def compared_settings(
    collection: "AttachedCollection", gallery: Gallery, identities: int, operation: Operation, changes: SettingChanges
) -> WhatIf:
    """See `sameface_qdrant.Attached.what_if`."""
    before, after = settings(gallery, operation, identities, changes)
    if changes.decisions is not None:
        return await asyncio.to_thread(what_if, changes.decisions, before, after)
    templates = await _templates(collection, seed=0)
    return await asyncio.to_thread(compare_settings, templates, operation, before, after, changes.scope)


async def _templates(collection: "AttachedCollection", seed: int) -> GalleryTemplates:
    return await read_templates(collection, MAX_TEMPLATES, MAX_TEMPLATES_OF_ONE, seed)
