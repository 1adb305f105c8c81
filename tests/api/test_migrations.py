"""A gallery gets another version of the embedder without photos, through the service."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from sameface.api.admission import Limits
from sameface.api.server import start_server
from sameface.api.system_service import ServedParts
from sameface.audit.chain import entry_of
from sameface.audit.files import lines_of
from sameface.audit.log import AuditLog, AuditOptions
from sameface.audit.recorder import Recorder
from sameface.client import AsyncClient, LabelledScores, Migration, ServiceError
from sameface.client.connection import MAX_MESSAGE_BYTES
from sameface.inference.base import Tensors
from sameface.inference.cards import EMBEDDER, read_cards
from sameface.inference.defaults import ChosenVersion
from sameface.inference.onnx import OnnxInference
from sameface.metrics.contents import count_contents
from sameface.metrics.migrations import count_migrations
from sameface.pipeline.migrating import under_present_contract
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface.v1 import migration_service_pb2, migration_service_pb2_grpc
from sameface_qdrant import Decision, Gallery, Probe, Store
from tests.template_maps import exact_map

OBAMA, SUNAK, JACINDA = "barack_obama.jpg", "rishi_sunak.jpg", "jacinda_ardern_2018.jpg"
OLD, NEW = 1, 4


class Noting(OnnxInference):
    """Notes which versions of the embedder have run."""

    def __init__(self, repository: Path) -> None:
        super().__init__(repository)
        self.versions: list[int] = []

    async def run(self, model: str, version: int, inputs: Tensors) -> Tensors:
        if model == EMBEDDER:
            self.versions.append(version)
        return await super().run(model, version, inputs)

    def noted(self) -> list[int]:
        """Return what has run since this was asked last."""
        noted, self.versions = sorted(self.versions), []
        return noted


@dataclass(frozen=True, slots=True)
class Migrating:
    """A service that migrates galleries, and what it is made of."""

    client: AsyncClient
    store: Store
    photos: Path
    inference: Noting
    recorder: Recorder
    entries: Path
    """Folder of the audit log."""
    address: str

    async def enrolled(self, gallery: str) -> None:
        """Make a gallery under the old version with two people."""
        await self.client.create_gallery(gallery, embedder_version=OLD)
        for identity, photo in (("obama", OBAMA), ("sunak", SUNAK)):
            await self.client.enroll(gallery, identity, self.photos / photo)

    async def mapped(self, gallery: str) -> Migration:
        """Begin a migration, and wait until all is mapped."""
        begun = await self.client.create_migration(gallery, embedder_version=NEW)
        while begun.state == "MAPPING":
            await asyncio.sleep(0.02)
            begun = await self.client.get_migration(gallery, begun.id)
        assert begun.state == "MAPPED"
        return begun


@pytest.fixture(scope="module")
async def migrating(tmp_path_factory: pytest.TempPathFactory, portraits: Path) -> AsyncIterator[Migrating]:
    folder, repository = tmp_path_factory.mktemp("migrating"), model_repository_source()
    cards = read_cards(repository)
    by_version = {card.version: card for card in cards if card.model == EMBEDDER}
    log = AuditLog(folder / "audit", AuditOptions(enabled=True, durable_within_s=0.01))
    recorder = Recorder(log)
    inference = Noting(repository)
    store = await Store.open(f"edge://{folder / 'store'}")
    api = await start_server(
        "127.0.0.1:0",
        operations=FaceOperations(
            PhotoPipeline(inference),
            store,
            cards,
            default_embedder=OLD,
            maps={(OLD, NEW): exact_map(by_version[OLD], by_version[NEW])},
        ),
        parts=ServedParts("onnxruntime", "", "", store.description, cards, ChosenVersion(OLD, "settings", "")),
        limits=Limits(requests=8, request_bytes=64 << 20, streams=2, stream_idle_s=60.0),
        max_message_bytes=MAX_MESSAGE_BYTES,
        recorder=recorder,
    )
    async with AsyncClient(f"127.0.0.1:{api.port}") as client:
        yield Migrating(client, store, portraits, inference, recorder, folder / "audit", f"127.0.0.1:{api.port}")
    await api.drain(0.0)
    await store.aclose()
    recorder.close()


async def test_a_gallery_gets_another_version_and_goes_back(migrating: Migrating) -> None:
    client, photos = migrating.client, migrating.photos
    await migrating.enrolled("there-and-back")
    before = await client.verify("there-and-back", "obama", photos / OBAMA)
    plan = await client.plan_migration("there-and-back", embedder_version=NEW, templates_per_second=4.0)
    assert (plan.template_count, plan.native_count, plan.seconds, plan.problems) == (2, 2, 0.5, ())
    assert (plan.old_contract.version, plan.new_contract.version) == (OLD, NEW)

    mapped = await migrating.mapped("there-and-back")
    assert (mapped.template_count, mapped.mapped_count, mapped.native_count) == (2, 2, 0)
    assert (await client.get_gallery("there-and-back")).migration == mapped.name
    assert (await client.verify("there-and-back", "obama", photos / OBAMA)).decision == before.decision

    # A photo that is enrolled at this time is embedded by both versions, and a probe by the one that decides.
    migrating.inference.noted()
    await client.enroll("there-and-back", "jacinda", photos / JACINDA)
    assert migrating.inference.noted() == [OLD, NEW]
    await client.verify("there-and-back", "jacinda", photos / JACINDA)
    assert migrating.inference.noted() == [OLD]
    promoted = await client.promote_migration("there-and-back", mapped.id)
    assert promoted.state == "PROMOTED"
    gallery = await client.get_gallery("there-and-back")
    assert gallery.contract.version == NEW
    assert gallery.mapped_templates is not None
    assert gallery.mapped_templates.map_sha256 == promoted.map_sha256
    decision = (await client.verify("there-and-back", "obama", photos / OBAMA)).decision
    assert decision.matched
    assert (decision.embedding_origin, decision.threshold_source) == ("MAPPED", "TEMPLATE_MAP")
    assert decision.score == pytest.approx(1.0, abs=1e-4)  # this map is exact
    migrating.inference.noted()
    decision = (await client.verify("there-and-back", "jacinda", photos / JACINDA)).decision
    assert migrating.inference.noted() == [NEW]
    assert (decision.matched, decision.embedding_origin, decision.threshold_source) == (True, "NATIVE", "MODEL_CARD")
    (template,) = [one async for one in client.templates("there-and-back", "obama")]
    assert (template.embedding_origin, template.map_sha256) == ("MAPPED", promoted.map_sha256)
    identified = await client.identify("there-and-back", photos / SUNAK)
    assert identified.faces[0].matched

    back = await client.roll_back_migration("there-and-back", mapped.id)
    assert (back.state, back.end_time is not None) == ("ROLLED_BACK", True)
    gallery = await client.get_gallery("there-and-back")
    assert (gallery.contract.version, gallery.migration, gallery.mapped_templates) == (OLD, "", None)
    again = (await client.verify("there-and-back", "obama", photos / OBAMA)).decision
    assert (again.score, again.threshold, again.outcome) == (
        before.decision.score,
        before.decision.threshold,
        before.decision.outcome,
    )
    assert (await client.verify("there-and-back", "jacinda", photos / JACINDA)).matched


async def test_finishing_erases_the_old_templates_and_tells_so(migrating: Migrating) -> None:
    client = migrating.client
    await migrating.enrolled("finished")
    mapped = await migrating.mapped("finished")
    await client.promote_migration("finished", mapped.id, verify_threshold=0.6)
    finished = await client.finish_migration("finished", mapped.id)
    assert finished.state == "FINISHED"
    assert (await client.get_gallery("finished")).policy.verify_threshold == pytest.approx(0.6)
    receipts = [one async for one in client.erasure_receipts("finished")]
    assert sum(one.templates for one in receipts) == 2
    assert [one.state async for one in client.migrations("finished")] == ["FINISHED"]
    with pytest.raises(ServiceError) as refused:
        await client.roll_back_migration("finished", mapped.id)
    assert refused.value.reason == "MIGRATION_ENDED"
    # Every call has an entry with the migration and the state that it was left in.
    await migrating.recorder.settle()
    found = [entry_of(line) for _, line in lines_of(migrating.entries)]
    about = [one for one in found if one.get("migration") == mapped.id and one["outcome"] == "OK"]
    told = {one["rpc"]: one["state"] for one in about}
    assert told["PromoteMigration"] == "PROMOTED"
    assert told["FinishMigration"] == "FINISHED"
    assert "identity" not in about[0]
    (last,) = [one for one in found if one["rpc"] == "RollBackMigration" and one.get("migration") == mapped.id]
    assert (last["outcome"], last["gallery"]) == ("MIGRATION_ENDED", "finished")


async def test_a_migration_can_be_paused_and_cancelled(migrating: Migrating) -> None:
    client = migrating.client
    await migrating.enrolled("given-up")
    begun = await client.create_migration("given-up", embedder_version=NEW, templates_per_second=0.5)
    assert begun.estimated_end_time is not None
    paused = await client.pause_migration("given-up", begun.id)
    assert (paused.state, paused.failure) == ("PAUSED", "")
    counted = await count_migrations(migrating.store)
    assert counted.states["PAUSED"] == 1
    assert counted.stopped == 0
    assert sum(counted.templates.values()) == 2
    with pytest.raises(ServiceError) as stale:
        await client.resume_migration("given-up", begun.id, etag=begun.etag)
    assert stale.value.reason == "CONCURRENT_UPDATE"
    await client.resume_migration("given-up", begun.id, etag=paused.etag)
    assert (await client.cancel_migration("given-up", begun.id)).state == "CANCELLED"
    assert (await client.get_gallery("given-up")).migration == ""


async def promoted(migrating: Migrating, gallery: str) -> Migration:
    """Make a gallery with two mapped templates under the new version."""
    await migrating.enrolled(gallery)
    mapped = await migrating.mapped(gallery)
    return await migrating.client.promote_migration(gallery, mapped.id)


async def test_thresholds_of_mapped_templates_are_measured_apart(migrating: Migrating) -> None:
    client = migrating.client
    await promoted(migrating, "measured")
    draw = np.random.default_rng(1)
    count = 400
    people = list(range(2 * count))
    labelled = LabelledScores(
        scores=tuple(map(float, np.clip(draw.normal(0.1, 0.1, count), -1, 1))),
        first=tuple(people[:count]),
        second=tuple(people[count:]),
        leads=(),
    )
    await client.update_gallery("measured", target_fmr=0.05)
    options: Any = {"scores": labelled, "operation": "verification", "accept_supported": True}
    measured = await client.calibrate_gallery("measured", embedding_origin="mapped", **options)
    policy = measured.gallery.policy
    assert policy.mapped_verify_threshold == pytest.approx(measured.calibration.verification.threshold)
    assert policy.verify_threshold is None
    assert 0.2 < measured.calibration.verification.threshold < 0.4


NAMED = ("Get", "Pause", "Resume", "Promote", "RollBack", "Cancel", "Finish")
ODD = (
    "",
    "galleries",
    "galleries/x",
    "galleries/x/migrations",
    "galleries/x/migrations/",
    "galleries//migrations/y",
    "galleries/x/migrations/y/z",
    "galleries/x/migrations/y/migrations/z",
    "galleries/x/identities/y",
    "galleries/x/migrations/" + "y" * 200,
    "migrations/y",
    "//",
)


async def test_a_name_of_another_form_is_refused_and_has_an_entry(migrating: Migrating) -> None:
    async with grpc.aio.insecure_channel(migrating.address) as channel:
        stub: Any = migration_service_pb2_grpc.MigrationServiceStub(channel)
        for rpc in NAMED:
            for name in ODD:
                request = getattr(migration_service_pb2, f"{rpc}MigrationRequest")(name=name)
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await getattr(stub, f"{rpc}Migration")(request)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await migrating.recorder.settle()
    found = [entry_of(line) for _, line in lines_of(migrating.entries)]
    for rpc in NAMED:
        told = [one for one in found if one["rpc"] == f"{rpc}Migration" and one["outcome"] == "INVALID_ARGUMENT"]
        assert len(told) == len(ODD)
        assert all("migration" not in one for one in told)


@pytest.fixture
async def without_old(migrating: Migrating) -> AsyncIterator[AsyncClient]:
    """A second service on the same store that serves neither the old version nor the model of presentation attacks."""
    repository = model_repository_source()
    cards = tuple(
        card
        for card in read_cards(repository)
        if card.model == "face_detector" or (card.model, card.version) == (EMBEDDER, NEW)
    )
    api = await start_server(
        "127.0.0.1:0",
        operations=FaceOperations(PhotoPipeline(migrating.inference), migrating.store, cards, default_embedder=NEW),
        parts=ServedParts(
            "onnxruntime", "", "", migrating.store.description, cards, ChosenVersion(NEW, "settings", "")
        ),
        limits=Limits(requests=8, request_bytes=64 << 20, streams=2, stream_idle_s=60.0),
        max_message_bytes=MAX_MESSAGE_BYTES,
    )
    async with AsyncClient(f"127.0.0.1:{api.port}") as client:
        yield client
    await api.drain(0.0)


async def test_both_versions_must_be_served_to_go_there_and_back(
    migrating: Migrating, without_old: AsyncClient
) -> None:
    await migrating.enrolled("half-served")
    with pytest.raises(ServiceError, match="SAMEFACE_EMBEDDER_VERSIONS") as no_map:
        await without_old.plan_migration("half-served", embedder_version=NEW)
    assert no_map.value.reason == "MAP_MISMATCH"
    mapped = await migrating.mapped("half-served")
    for call in (
        without_old.update_gallery("half-served", presentation_attack="reject"),
        without_old.promote_migration("half-served", mapped.id, presentation_attack="reject"),
    ):
        with pytest.raises(ServiceError) as refused:
            await call
        assert refused.value.reason == "MODEL_NOT_FOUND"
    assert (await migrating.client.get_gallery("half-served")).contract.version == OLD
    await without_old.promote_migration("half-served", mapped.id)
    with pytest.raises(ServiceError, match="SAMEFACE_EMBEDDER_VERSIONS") as not_served:
        await without_old.roll_back_migration("half-served", mapped.id)
    assert not_served.value.reason == "MODEL_NOT_FOUND"
    assert (await migrating.client.get_gallery("half-served")).contract.version == NEW
    assert (await migrating.client.roll_back_migration("half-served", mapped.id)).state == "ROLLED_BACK"
    assert (await migrating.client.verify("half-served", "obama", migrating.photos / OBAMA)).matched


async def test_what_is_stored_under_two_contracts_is_counted_once(migrating: Migrating) -> None:
    async def counted() -> tuple[int, int]:
        found = await count_contents(migrating.store)
        return found.identities, found.templates

    await promoted(migrating, "counted-before")  # so that both collections have galleries
    await migrating.enrolled("counted")
    before = await counted()
    mapped = await migrating.mapped("counted")
    assert await counted() == before
    await migrating.client.promote_migration("counted", mapped.id)
    assert await counted() == before
    await migrating.client.finish_migration("counted", mapped.id)
    assert await counted() == before


async def test_a_plan_tells_thresholds_and_what_the_licence_forbids(migrating: Migrating) -> None:
    await migrating.enrolled("planned")
    plan = await migrating.client.plan_migration("planned", embedder_version=NEW)
    assert [one.operation for one in plan.thresholds] == ["VERIFICATION", "IDENTIFICATION"]
    for one in plan.thresholds:
        assert one.present is not None
        assert one.native is not None
        assert one.mapped is not None
    assert plan.licence_restriction == ""
    mapped = await migrating.mapped("planned")
    assert mapped.licence_restriction == ""
    await migrating.client.promote_migration("planned", mapped.id)
    decision = (await migrating.client.verify("planned", "obama", migrating.photos / OBAMA)).decision
    assert decision.threshold == pytest.approx(plan.thresholds[0].mapped)


class Stale:
    """A store as another service may see it: it still has the gallery as it was before a promotion."""

    def __init__(self, store: Store, before: Gallery) -> None:
        self.galleries = self
        self._store, self._before = store, before

    async def recent(self, gallery: str) -> Gallery:
        return self._before

    async def get(self, gallery: str) -> Gallery:
        return await self._store.galleries.get(gallery)


async def test_a_probe_is_embedded_again_if_the_contract_was_changed_meanwhile(migrating: Migrating) -> None:
    await migrating.enrolled("changed")
    before = await migrating.store.galleries.get("changed")
    mapped = await migrating.mapped("changed")
    await migrating.client.promote_migration("changed", mapped.id)
    used: list[int] = []

    async def decide(gallery: Gallery) -> Decision:
        used.append(gallery.contract.version)
        vector = np.ones(gallery.contract.dimension)
        return await migrating.store.verify(gallery, "obama", Probe(vector, gallery.contract))

    stale: Any = Stale(migrating.store, before)
    decision = await under_present_contract(stale, "changed", decide)
    assert used == [OLD, NEW]
    assert decision.outcome == "NO_MATCH"
