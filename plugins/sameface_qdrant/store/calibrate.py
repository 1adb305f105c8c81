"""Calibration and what-if over a gallery: its templates read, the work done in a thread, the policy changed."""

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TypedDict, Unpack

import numpy as np

from sameface_qdrant.calibration.caveats import caveats, unsupported_targets
from sameface_qdrant.calibration.inputs import Cohort
from sameface_qdrant.calibration.thresholds import Calibration, calibrate
from sameface_qdrant.calibration.what_if import (
    RecordedDecisions,
    Setting,
    WhatIf,
    identification_decisions,
    verification_decisions,
    what_if,
)
from sameface_qdrant.engines.base import Engine, Where
from sameface_qdrant.errors import InvalidArgument, NotEnoughData
from sameface_qdrant.metrics.comparisons import Comparisons
from sameface_qdrant.metrics.cross_comparison import MAX_COMPARISONS, compare_cohort, compare_gallery
from sameface_qdrant.policy import check_override, identification_threshold, verification_threshold
from sameface_qdrant.store import payloads as records
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.galleries import Galleries, Tenant
from sameface_qdrant.store.payloads import check_etag
from sameface_qdrant.threads import in_thread
from sameface_qdrant.values.gallery import Gallery, PolicyChanges
from sameface_qdrant.values.vectors import Vector

MAX_TEMPLATES = 10_000
"""So many are read at most; a larger gallery is calibrated on a sample of its templates."""
HIGHEST_APPLIED_RATE = 0.05
"""No threshold is applied that supports no rate below this: it would let in whoever comes."""
_PAGE = 500


class Operation(StrEnum):
    """What a threshold is for."""

    VERIFICATION = "VERIFICATION"
    IDENTIFICATION = "IDENTIFICATION"


class CalibrationOptions(TypedDict, total=False):
    """Options of `sameface_qdrant.Store.calibrate`."""

    apply: bool
    """Write the thresholds into the policy as a new revision; else only measure."""
    accept_supported: bool
    """Also apply a threshold whose target is not supported: that of the nearest rate that is, 5 % at most."""
    operation: Operation | None
    """Apply the threshold of this one alone; None applies both."""
    comparisons: Comparisons | None
    """Labelled scores of the caller's; None compares templates."""
    cohort: Cohort | None
    """People who are not enrolled, to compare the gallery with."""
    author: str
    """Kept with the policy's revision."""
    etag: str
    """Refuse unless this is the gallery's present etag."""
    max_comparisons: int
    """Most non-mated comparisons, 1,000,000 unless said otherwise; more are sampled."""
    seed: int
    """Of sampling and bootstrap."""


class SettingChanges(TypedDict, total=False):
    """The other setting of `sameface_qdrant.Store.what_if`; what is missing stays as the policy has it."""

    threshold: float | None
    margin: float | None
    decisions: RecordedDecisions | None
    """To decide again in place of comparisons between the gallery's templates."""


@dataclass(frozen=True, slots=True)
class GalleryCalibration:
    """What was measured for a gallery, and the gallery as it is now."""

    gallery: Gallery
    calibration: Calibration
    comparisons: Comparisons
    applied: bool
    caveats: tuple[str, ...]
    """What a reader must know about the calibration, in sentences."""


async def calibrate_gallery(
    engine: Engine, galleries: Galleries, threads: Executor, gallery: str, **options: Unpack[CalibrationOptions]
) -> GalleryCalibration:
    """Measure the thresholds for the policy's targets, and with ``apply`` make them a new revision of the policy.

    Everything that takes long is calculated in one of ``threads``.

    Raises:
        GalleryNotFound: there is no such gallery.
        NotEnoughData: there is nothing to compare; or a target is not supported and was to be applied.
        ConcurrentUpdate: the gallery was changed meanwhile, or ``etag`` is not the present one.
        InvalidArgument, InvalidEmbedding: the scores or the cohort are malformed.
    """
    tenant = await galleries.tenant(gallery)
    present = tenant.gallery
    check_etag(options.get("etag", ""), present.etag, gallery)
    size = await _size(engine, tenant)
    comparisons = options.get("comparisons")
    seed = options.get("seed", 0)
    searched = size
    if comparisons is None:
        comparisons, searched = await _compare(engine, tenant, threads, options.get("cohort"), size, options)
    elif options.get("cohort") is not None:
        raise InvalidArgument("scores and a cohort were given; give one of them", metadata={"field": "cohort"})
    measure = partial(
        calibrate,
        target_fmr=present.policy.target_fmr,
        target_fpir=present.policy.target_fpir,
        gallery_size=max(1, searched),
        seed=seed,
    )
    measured = await in_thread(threads, measure, comparisons)
    notes = caveats(measured)
    if not options.get("apply", False):
        return GalleryCalibration(present, measured, comparisons, False, notes)
    operation = options.get("operation")
    verify, identify = operation is not Operation.IDENTIFICATION, operation is not Operation.VERIFICATION
    _check_supported(measured, gallery, verify=verify, identify=identify, accept=options.get("accept_supported", False))
    changes = PolicyChanges()
    if verify:
        changes["verify_threshold"] = measured.verify.threshold
    if identify:
        changes["identify_threshold"] = measured.identify.threshold
        changes["calibrated_size"] = max(1, size)
    # Bound to what was read: whoever changed the policy meanwhile aimed for something else.
    changed = await galleries.update(gallery, policy=changes, author=options.get("author", ""), etag=present.etag)
    return GalleryCalibration(changed, measured, comparisons, True, notes)


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
    threshold = check_override(changes.get("threshold"), "threshold", -1.0, 1.0)
    margin = check_override(changes.get("margin"), "runner_up_margin", 0.0, 2.0)
    tenant = await galleries.tenant(gallery)
    size = await _size(engine, tenant)
    before = setting_in_force(tenant.gallery, operation, size)
    after = Setting(before.threshold if threshold is None else threshold, before.margin if margin is None else margin)
    if (decisions := changes.get("decisions")) is not None:
        return await in_thread(threads, what_if, decisions, before, after)
    comparisons, _ = await _compare(engine, tenant, threads, None, size, {})
    chosen = verification_decisions if operation is Operation.VERIFICATION else identification_decisions
    return await in_thread(threads, lambda: what_if(chosen(comparisons), before, after))


def setting_in_force(gallery: Gallery, operation: Operation, size: int) -> Setting:
    """Return the threshold and margin of a gallery's policy, or of its model card.

    Raises:
        ThresholdNotCalibrated: neither has a threshold.
    """
    if operation is Operation.VERIFICATION:
        return Setting(verification_threshold(gallery, None, None).value, gallery.policy.runner_up_margin)
    return Setting(identification_threshold(gallery, size, None).value, gallery.policy.runner_up_margin)


async def _size(engine: Engine, tenant: Tenant) -> int:
    return await engine.count(tenant.collection, gallery_filter(tenant.uid, records.IDENTITY))


async def _compare(
    engine: Engine,
    tenant: Tenant,
    threads: Executor,
    cohort: Cohort | None,
    size: int,
    options: CalibrationOptions,
) -> tuple[Comparisons, int]:
    """Return the comparisons, and among how many identities a search looks."""
    vectors, identities, everything = await _templates(engine, tenant)
    contract = tenant.gallery.contract

    def compare() -> Comparisons:
        most, seed = options.get("max_comparisons", MAX_COMPARISONS), options.get("seed", 0)
        templates = np.array(vectors, np.float32).reshape(len(vectors), contract.dimension)
        if cohort is None:
            return compare_gallery(templates, identities, max_comparisons=most, seed=seed)
        probes = cohort.units(contract)
        return compare_cohort(probes, cohort.identities, templates, identities, max_comparisons=most, seed=seed)

    compared = await in_thread(threads, compare)
    return compared, len(set(identities)) if everything else size


async def _templates(engine: Engine, tenant: Tenant) -> tuple[list[Vector], list[str], bool]:
    """Return the templates in force with their identities, and whether these are all.

    Ids are hashes, so the first ones in their order are as good as drawn at random.
    """
    where = Where({"gallery": tenant.uid, "kind": records.TEMPLATE}, valid_at=time.time())
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
    return vectors, identities, start is None


def _check_supported(measured: Calibration, gallery: str, *, verify: bool, identify: bool, accept: bool) -> None:
    asked = {"fmr": measured.verify} if verify else {}
    asked |= {"fpir": measured.identify} if identify else {}
    highest = max(one.supported for one in asked.values())
    refused = unsupported_targets(measured, verify=verify, identify=identify)
    if not refused or (accept and highest <= HIGHEST_APPLIED_RATE):
        return
    numbers = {f"target_{rate}": f"{one.target:g}" for rate, one in asked.items()}
    numbers |= {f"supported_{rate}": f"{one.supported:.3g}" for rate, one in asked.items()}
    advice = (
        "Accept the supported rates, or set other targets."
        if highest <= HIGHEST_APPLIED_RATE
        else f"Nothing above {HIGHEST_APPLIED_RATE:g} is applied."
    )
    raise NotEnoughData(
        " ".join([*refused, advice]),
        metadata={
            "gallery": gallery,
            "identities": measured.evidence.identities,
            "comparisons": measured.evidence.comparisons,
            **numbers,
        },
    )
