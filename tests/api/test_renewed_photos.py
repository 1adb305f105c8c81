"""Mapped templates become native: a probe renews one, and `sameface enroll --renew` those whose photos are there."""

import asyncio
import shutil
import uuid
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from sameface.access.caller import Caller
from sameface.api.responses import decision_to
from sameface.audit.chain import entry_of
from sameface.audit.files import lines_of
from sameface.audit.log import AuditLog, AuditOptions
from sameface.audit.recorder import Recorder
from sameface.client import EmbeddingOrigin
from sameface.observation.renewals import begin_renewals, note_renewal
from sameface.v1 import decision_pb2, face_service_pb2
from sameface_qdrant import Decision, Outcome, Renewal, RenewalState, Scope, ThresholdSource
from tests.api.test_migrations import JACINDA, NEW, OBAMA, OLD, SUNAK, Migrating, promoted
from tests.api.test_migrations import migrating as migrating
from tests.cli.conftest import lines, process


async def test_photos_that_were_enrolled_before_make_mapped_templates_native(
    migrating: Migrating,
    tmp_path: Path,
) -> None:
    client, gallery = migrating.client, "renewed"
    await migrating.enrolled(gallery)
    for person, photo in (("obama", OBAMA), ("sunak", SUNAK), ("jacinda", JACINDA)):
        (tmp_path / "people" / person).mkdir(parents=True)
        shutil.copy(migrating.photos / photo, tmp_path / "people" / person / photo)
    begun = await migrating.mapped(gallery)
    await client.promote_migration(gallery, begun.id)
    before = {one.name: one async for one in client.templates(gallery, "obama")}
    assert {one.embedding_origin for one in before.values()} == {EmbeddingOrigin.MAPPED}

    async def statuses(*options: str) -> dict[str, str]:
        arguments = ("enroll", gallery, f"file://{tmp_path}/people", "--merge", "--json", *options)
        done = await asyncio.to_thread(
            lambda: process(*arguments, SAMEFACE_ADDRESS=migrating.address, XDG_CACHE_HOME=str(tmp_path))
        )
        assert done.returncode == 0, done.stderr
        return {one["identity"]: one["status"] for one in lines(done.stdout.decode())}

    assert await statuses("--renew") == {"obama": "RENEWED", "sunak": "RENEWED", "jacinda": "ENROLLED"}
    after = {one.name: one async for one in client.templates(gallery, "obama")}
    assert [one.create_time for one in after.values()] == [one.create_time for one in before.values()]
    assert {one.embedding_origin for one in after.values()} == {EmbeddingOrigin.NATIVE}
    assert set((await statuses("--renew")).values()) == {"ALREADY_THERE"}
    await client.delete_gallery(gallery, force=True)


async def test_a_photo_is_renewed_by_the_request_that_enrolled_it(migrating: Migrating, tmp_path: Path) -> None:
    client, gallery, request = migrating.client, "by-request", str(uuid.uuid4())
    await client.create_gallery(gallery, embedder_version=OLD)
    first = await client.enroll(gallery, "obama", migrating.photos / OBAMA, request_id=request)
    await client.promote_migration(gallery, (await migrating.mapped(gallery)).id)

    async def renewed(photo: str, request_id: str) -> CompletedProcess[bytes]:
        options = ("--as", "obama", "--renew", "--request-id", request_id, "--json")
        arguments = ("enroll", gallery, str(migrating.photos / photo), *options)
        return await asyncio.to_thread(
            lambda: process(*arguments, SAMEFACE_ADDRESS=migrating.address, XDG_CACHE_HOME=str(tmp_path))
        )

    assert (await renewed(SUNAK, request)).returncode == 3  # another photo
    for _ in range(2):
        done = await renewed(OBAMA, request)
        assert done.returncode == 0, done.stderr
        (template,) = [one async for one in client.templates(gallery, "obama")]
        assert (template.name, template.embedding_origin) == (first.template.name, "NATIVE")
    await client.delete_gallery(gallery, force=True)


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


def test_what_an_answer_leaves_out_about_a_renewal_is_in_its_entry(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditOptions(enabled=True))
    recorder = Recorder(log)
    answer = face_service_pb2.VerifyFaceResponse(decision=decision_pb2.Decision(outcome=decision_pb2.OUTCOME_MATCH))
    caller = Caller("key:door", ())
    for state, reason in ((RenewalState.PROPOSED, ""), (RenewalState.REFUSED, "IDENTITY_COLLISION")):
        begin_renewals()
        note_renewal(Renewal("ada", "0", 0.9, 0.6, state, reason))
        recorder.record(caller, "VerifyFace", face_service_pb2.VerifyFaceRequest(), "", answer)
    recorder.record(caller, "VerifyFace", face_service_pb2.VerifyFaceRequest(), "", answer)
    recorder.close()
    told = [
        one.get("renewal")
        for one in (entry_of(line) for _, line in lines_of(tmp_path))
        if one.get("caller") == "key:door"
    ]
    assert told == ["PROPOSED", "REFUSED IDENTITY_COLLISION", None]
