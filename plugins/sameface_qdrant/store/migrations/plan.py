"""What a migration would do: counts, time and space, and which decisions would change. Nothing is written."""

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.engines.base import Engine, Point, Where
from sameface_qdrant.errors import SamefaceError, ThresholdNotCalibrated
from sameface_qdrant.policy import identification_threshold
from sameface_qdrant.policy.origins import identification_thresholds, verification_thresholds
from sameface_qdrant.store import payloads
from sameface_qdrant.store.conditional_write import confirmed
from sameface_qdrant.store.filters import gallery_filter
from sameface_qdrant.store.migrations.exchange import identity_thresholds
from sameface_qdrant.store.migrations.state import MigrationRecords
from sameface_qdrant.store.migrations.thresholds import check_calibrated, promoted_policy
from sameface_qdrant.store.template_origin import MAPPED, ORIGIN
from sameface_qdrant.values.decision import Operation
from sameface_qdrant.values.display import counted
from sameface_qdrant.values.gallery import Gallery, MappedTemplates, OperatingPoint, PolicyChanges
from sameface_qdrant.values.migration import MigrationPlan, PlannedThresholds
from sameface_qdrant.values.origin import EmbeddingOrigin
from sameface_qdrant.values.template_map import TemplateMap

COMPARED = 2000
"""Templates that a plan compares with each other. They are the first by id, and ids are digests."""
OVERHEAD = 600
"""Bytes of a template beside its numbers: fields, ids and indexes."""
PAGE = 500
NOBODY = -1
LONGEST_S = 1e10
"""No estimate of a time is longer: some 300 years."""


async def planned(
    records: MigrationRecords,
    record: Point,
    template_map: TemplateMap,
    points: tuple[OperatingPoint, ...],
    rate: float,
) -> MigrationPlan:
    """Return the plan of a migration. It may begin: the caller has checked that."""
    gallery, engine = payloads.gallery_of(record.payload), records.engine
    collection, uid = gallery.contract.key, str(record.payload["gallery"])
    await engine.ensure(collection, gallery.contract.dimension)
    templates = confirmed(engine, gallery_filter(uid, payloads.TEMPLATE))
    total = await engine.count(collection, templates)
    mapped = await engine.count(collection, Where({"gallery": uid, "kind": payloads.TEMPLATE, ORIGIN: MAPPED}))
    expired = await engine.count(collection, dataclasses.replace(templates, expired_at=time.time()))
    held = await identity_thresholds(records, collection, uid)
    people = await engine.count(collection, gallery_filter(uid, payloads.IDENTITY))
    after = dataclasses.replace(
        gallery,
        contract=template_map.new,
        operating_points=points,
        policy=promoted_policy(gallery.policy, PolicyChanges(), "", datetime.now(UTC)),
        mapped=MappedTemplates(template_map.sha256, template_map.operating_points),
    )
    compared, changed, problem = await _changes(engine, gallery, uid, template_map)
    problems = [problem] if problem else []
    if held:
        problems.append(
            f"{counted(held, 'identity has', 'identities have')} a verify_threshold that was set under the old "
            "contract; measure them again, and set drop_identity_thresholds in the promotion"
        )
    if refusal := _uncalibrated(gallery, points, template_map, total):
        problems.append(refusal)
    return MigrationPlan(
        gallery=gallery.id,
        old=gallery.contract,
        new=template_map.new,
        map_sha256=template_map.sha256,
        templates=total,
        native=total - mapped,
        mapped=mapped,
        expired=expired,
        seconds=seconds_for(total, rate),
        bytes_needed=total * (4 * template_map.new.dimension + OVERHEAD),
        identity_thresholds=held,
        compared=compared,
        changed=changed,
        thresholds=tuple(_thresholds(operation, gallery, after, people) for operation in Operation),
        problems=tuple(problems),
    )


def seconds_for(templates: int, rate: float) -> float:
    """Return how long it takes to map templates at a rate, at most `LONGEST_S`."""
    return min(templates / rate, LONGEST_S)


def _thresholds(operation: Operation, present: Gallery, after: Gallery, people: int) -> PlannedThresholds:
    def value(gallery: Gallery, origin: EmbeddingOrigin) -> float | None:
        try:
            if operation is Operation.VERIFICATION:
                return verification_thresholds(gallery, None, None).of(origin).value
            return identification_thresholds(gallery, people, None).of(origin).value
        except ThresholdNotCalibrated:
            return None

    native, mapped = EmbeddingOrigin.NATIVE, EmbeddingOrigin.MAPPED
    return PlannedThresholds(operation, value(present, native), value(after, native), value(after, mapped))


def _uncalibrated(
    gallery: Gallery, points: tuple[OperatingPoint, ...], template_map: TemplateMap, templates: int
) -> str:
    """Return why a promotion without changes of the policy would be refused; empty if it would not."""
    policy = promoted_policy(gallery.policy, PolicyChanges(), "", datetime.now(UTC))
    try:
        check_calibrated(policy, points, template_map.operating_points, templates)
    except ThresholdNotCalibrated as error:
        return error.message
    return ""


async def _changes(engine: Engine, gallery: Gallery, uid: str, template_map: TemplateMap) -> tuple[int, int, str]:
    """Return how many searches were repeated under both contracts, how many have another result, and a problem.

    Each template is searched for among the others, as if it were a probe. Mapped ones are compared with each other: no
    photo shows the new model's own embeddings.
    """
    names, vectors = await _sample(engine, gallery.contract.key, uid)
    if len(set(names)) < 2:
        return 0, 0, ""
    try:
        after = await asyncio.to_thread(template_map.applied, vectors)
        old = identification_threshold(gallery, len(set(names)), None).value
        new_gallery = dataclasses.replace(
            gallery,
            operating_points=template_map.operating_points,
            policy=promoted_policy(gallery.policy, PolicyChanges(), "", datetime.now(UTC)),
        )
        new = identification_threshold(new_gallery, len(set(names)), None).value
    except SamefaceError as error:
        return 0, 0, f"decisions could not be compared: {error.message}"
    _, people = np.unique(np.array(names), return_inverse=True)
    margin = gallery.policy.runner_up_margin
    before_them, after_them = await asyncio.to_thread(
        lambda: (found(vectors, people, old, margin), found(after, people, new, margin))
    )
    return len(names), int((before_them != after_them).sum()), ""


def found(
    vectors: NDArray[np.float32], people: NDArray[np.int64], threshold: float, margin: float
) -> NDArray[np.int64]:
    """Return whom a search finds with each template, left out itself: the number of a person, or `NOBODY`.

    Args:
        vectors: unit vectors, shape [n, dimension].
        people: the person of each, shape [n], 0 to the number of people − 1.
        threshold: lowest score that identifies.
        margin: required lead over the next person.
    """
    answers = np.full(len(vectors), NOBODY, np.int64)
    count = int(people.max()) + 1
    for number, vector in enumerate(vectors):
        scores = vectors @ vector
        scores[number] = -np.inf
        best = np.full(count, -np.inf, np.float32)
        np.maximum.at(best, people, scores)
        first, second = np.argsort(-best, kind="stable")[:2]
        if best[first] >= threshold and best[first] - best[second] >= margin:
            answers[number] = first
    return answers


async def _sample(engine: Engine, collection: str, uid: str) -> tuple[Sequence[str], NDArray[np.float32]]:
    """Return the identities and the vectors of at most `COMPARED` templates in force."""
    where = confirmed(engine, Where({"gallery": uid, "kind": payloads.TEMPLATE}, valid_at=time.time()))
    names, vectors = list[str](), list[NDArray[np.float32]]()
    start: str | None = None
    while len(names) < COMPARED:
        page, start = await engine.scroll(collection, where, PAGE, start)
        read = await engine.get(collection, [point.id for point in page], with_vector=True)
        for point in read.values():
            if point.vector is not None:
                names.append(str(point.payload["identity"]))
                vectors.append(point.vector)
        if start is None:
            break
    return names, np.array(vectors, np.float32)
