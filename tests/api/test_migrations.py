"""A gallery gets another version of the embedder without photos, through the service."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sameface.api.admission import Limits
from sameface.api.responses import decision_to
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
from sameface.metrics.migrations import count_migrations
from sameface.pipeline.migrating import under_present_contract
from sameface.pipeline.operations import FaceOperations
from sameface.pipeline.photos import PhotoPipeline
from sameface.settings import model_repository_source
from sameface_qdrant import Decision, Gallery, Outcome, Probe, Renewal, RenewalState, Scope, Store, ThresholdSource
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


async def test_a_photo_that_matches_renews_a_mapped_template_and_an_embedding_does_not(migrating: Migrating) -> None:
    client, photos = migrating.client, migrating.photos
    await promoted(migrating, "renewing")
    await client.update_gallery("renewing", renew_on_match="propose")
    proposed = (await client.verify("renewing", "obama", photos / OBAMA)).decision.renewal
    assert proposed is not None
    assert (proposed.state, proposed.reason) == ("PROPOSED", "")
    await client.update_gallery("renewing", renew_on_match="apply")
    embedded = (await client.embed(photos / OBAMA, embedder_version=NEW)).faces[0].embedding
    refused = (await client.verify("renewing", "obama", embedded)).decision
    assert refused.renewal is not None
    assert (refused.matched, refused.renewal.state, refused.renewal.reason) == (True, "REFUSED", "PHOTO_REQUIRED")
    (template,) = [one async for one in client.templates("renewing", "obama")]
    assert template.embedding_origin == "MAPPED"

    done = (await client.identify("renewing", photos / OBAMA)).faces[0].decision
    assert done is not None
    assert done.renewal is not None
    assert (done.renewal.state, done.renewal.template) == ("RENEWED", template.name)
    (native,) = [one async for one in client.templates("renewing", "obama")]
    assert (native.name, native.embedding_origin, native.map_sha256) == (template.name, "NATIVE", "")
    assert native.renew_time is not None
    assert (await client.verify("renewing", "obama", photos / OBAMA)).decision.renewal is None
    await migrating.recorder.settle()
    told = [entry_of(line).get("renewal") for _, line in lines_of(migrating.entries)]
    assert [one for one in told if one] == ["PROPOSED", "REFUSED PHOTO_REQUIRED", "RENEWED"]


async def test_a_photo_that_is_sent_again_renews_its_own_template(migrating: Migrating) -> None:
    client, photos = migrating.client, migrating.photos
    await promoted(migrating, "again")
    (before,) = [one async for one in client.templates("again", "sunak")]
    same = await client.enroll("again", "sunak", photos / SUNAK)
    assert (same.template.name, same.template.embedding_origin) == (before.name, "MAPPED")
    renewed = await client.enroll("again", "sunak", photos / SUNAK, renew=True)
    assert (renewed.template.name, renewed.template.embedding_origin) == (before.name, "NATIVE")
    assert (await client.get_identity("again", "sunak")).template_count == 1


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


@pytest.mark.parametrize("state", RenewalState)
def test_who_may_not_know_scores_learns_only_what_was_written(state: RenewalState) -> None:
    renewal = Renewal("ada", "0", score=0.9, required=0.6, state=state, reason="" if state == "RENEWED" else "X")
    decision = Decision(
        outcome=Outcome.MATCH,
        score=0.9,
        threshold=0.5,
        threshold_source=ThresholdSource.TEMPLATE_MAP,
        target_attained=None,
        lead=None,
        margin=0.05,
        scope=Scope.CLAIM,
        policy_revision=1,
        gallery_size=1,
        renewal=renewal,
    )
    known, unknown = (decision_to(decision, "staff", reveal=reveal) for reveal in (True, False))
    assert known.renewal.score == pytest.approx(0.9)
    assert known.renewal.reason == renewal.reason
    assert unknown.HasField("renewal") is (state is RenewalState.RENEWED)
    assert not unknown.renewal.HasField("score")


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
