"""What is read at a scrape is what files and the store hold."""

import asyncio
import datetime
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from sameface.access.api_keys import KeyFile
from sameface.access.caller import Grant
from sameface.access.roles import Role
from sameface.api.admission import Admission, Limits
from sameface.api.lanes import Lane
from sameface.api.queueing import FIRST_S, Work
from sameface.api.system_service import ServedParts
from sameface.inference.defaults import ChosenVersion
from sameface.metrics.contents import count_contents
from sameface.metrics.files import first_end, next_key_end, space
from sameface.metrics.state import Sources, State, file_samples, store_samples
from sameface.metrics.sweeps import Sweeps
from sameface_qdrant import Contract, NewTemplate, Policy
from sameface_qdrant.engines.base import EngineDescription
from sameface_qdrant.errors import StoreTooNew
from tests.access.authorities import Authority
from tests.plugin.protection.conftest import opened

VOICES, FACES = (Contract(name, 1, "0" * 64, 4, "none") for name in ("voices", "faces"))
DAY = 86400.0


def sources(
    *, next_key_end: Callable[[], float | None] = lambda: None, folders: Mapping[str, Path] | None = None
) -> Sources:
    """What a service without people has."""
    return Sources(
        admission=Admission(Limits(4, 1 << 20, 4, stream_idle_s=1.0)),
        expected_wait_s=dict,
        parts=lambda: {"store": True},
        served=ServedParts(
            "triton", "1", "", EngineDescription("edge", "1", ""), (), ChosenVersion(1, "package", "nowhere")
        ),
        sweeps=Sweeps(60.0),
        contents=lambda: None,
        bands={},
        next_key_end=next_key_end,
        folders=folders or {},
    )


def test_the_first_end_of_a_certificate_file_is_told(tmp_path: Path) -> None:
    authority = Authority("authority", tmp_path)
    short, long = (authority.issue(name, lasts=datetime.timedelta(days=days)) for name, days in (("s", 3), ("l", 9)))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(long.certificate.read_bytes() + short.certificate.read_bytes())
    for path, days in ((long.certificate, 9), (chain, 3)):
        assert first_end(path) == pytest.approx(time.time() + days * DAY, abs=3700)
    chain.write_text("no certificate")
    assert first_end(chain) == first_end(tmp_path / "missing") == 0


def test_the_next_end_of_an_api_key_is_told_until_it_is_renewed_or_revoked(tmp_path: Path) -> None:
    keys, now = KeyFile(tmp_path / "keys.json"), time.time()
    assert next_key_end(keys.path) is None
    grant = (Grant("staff", frozenset({Role.READER})),)
    for expires in (None, now - 30 * DAY, now + 3 * DAY, now + DAY):
        keys.create("test", grant, expires)
    revoked, _ = keys.create("test", grant, now + 60)
    keys.revoke(revoked.id)
    assert next_key_end(keys.path) == pytest.approx(now + DAY)
    ended = [keys.create("test", grant, now - days * DAY)[0] for days in (1, 2)]
    assert next_key_end(keys.path) == pytest.approx(now - 2 * DAY)
    keys.revoke(ended[1].id)
    assert next_key_end(keys.path) == pytest.approx(now - DAY)
    keys.rotate(ended[0].id, 0.0, now + 90 * DAY)
    assert next_key_end(keys.path) == pytest.approx(now + DAY)
    # A newer release wrote it, it is no file of keys, or it is no file.
    keys.path.write_text('{"format": 99, "keys": [], "hmac": ""}')
    assert next_key_end(keys.path) is None
    keys.path.write_text("no keys")
    assert next_key_end(keys.path) is None
    assert next_key_end(tmp_path) is None


async def test_files_that_cannot_be_read_take_no_other_metric_away() -> None:
    def broken() -> float:
        raise StoreTooNew("a newer release wrote it")

    found = {family.name: family.samples for family in State(sources(next_key_end=broken)).collect()}
    assert [one.value for one in found["sameface_part_up"]] == [1]
    assert found["sameface_api_key_expiry_timestamp_seconds"] == []


def test_the_space_of_a_folder_is_told_and_a_missing_one_is_not_readable(tmp_path: Path) -> None:
    folders = {"data": tmp_path, "audit": tmp_path / "missing"}
    (name, free, size), missing = space(folders)
    usage = shutil.disk_usage(tmp_path)
    assert (name, size) == ("data", usage.total)
    assert free == pytest.approx(usage.free, rel=0.2)
    assert missing == ("audit", None, None)
    samples = list(file_samples(sources(folders=folders)))
    readable = [(labels, value) for metric, labels, value in samples if metric == "disk_readable"]
    assert readable == [(("data",), 1), (("audit",), 0)]
    for metric in ("disk_free_bytes", "disk_size_bytes"):
        assert [labels for one, labels, _ in samples if one == metric] == [("data",)]


async def test_contents_are_counted_in_galleries_of_every_contract_and_in_protected_ones(tmp_path: Path) -> None:
    store = await opened("memory", tmp_path)
    try:
        for gallery, contract, protected in (("a", VOICES, False), ("b", FACES, False), ("c", FACES, True)):
            await store.galleries.create(gallery, contract, policy=Policy(verify_threshold=0.5), protected=protected)
        draw = np.random.default_rng(1)
        for gallery, contract, people in (("a", VOICES, 1), ("b", FACES, 2), ("c", FACES, 3)):
            for person in range(people):
                templates = [NewTemplate(draw.normal(size=4), contract) for _ in range(2)]
                await store.enroll(gallery, f"p{person}", templates)
        found = await count_contents(store, ["b", "c", "missing"])
        assert (found.galleries, found.identities, found.templates, found.pending) == (3, 6, 12, 0)
        assert found.sizes == {"b": 2, "c": 3, "missing": 0}
    finally:
        await store.aclose()


def test_sweeps_are_counted_with_the_time_of_the_last_success() -> None:
    sweeps = Sweeps(60.0)
    sweeps.succeeded(3)
    sweeps.failed()
    found = {(name, labels): value for name, labels, value in store_samples(None, sweeps)}
    assert found["sweeps", ("ok",)] == found["sweeps", ("failed",)] == 1
    assert found["sweep_erasures", ()] == 3
    assert time.time() - found["sweep_last_success_timestamp_seconds", ()] < 60


async def test_the_expected_wait_is_that_of_the_last_in_the_line_and_no_less_than_what_one_has_waited() -> None:
    lane = Lane(2, 30.0)
    assert lane.longest_expected_s() == 0.0

    def asked(caller: str) -> tuple[Work, "asyncio.Task[None]"]:
        return (work := lane.add(caller, "kind", None, patient=True)), asyncio.create_task(lane.begun(work))

    async def came(callers: str) -> list[tuple[Work, "asyncio.Task[None]"]]:
        found = []
        for caller in callers:
            found.append(asked(caller))
            await asyncio.sleep(0)  # each is in the line before the next one comes
        return found

    begun = await came("ab")
    assert 0.0 < lane.longest_expected_s() <= FIRST_S
    waiting = await came("ccc")
    # Three of one caller wait for two places. Somebody else has a turn before the last of them.
    assert 3 * FIRST_S / 2 <= lane.longest_expected_s() <= 3 * FIRST_S / 2 + FIRST_S
    assert lane.wait_s("new") < lane.longest_expected_s()
    waiting[0][0].came -= 7.0
    assert lane.longest_expected_s() == pytest.approx(7.0, abs=1.0)
    for work, turn in (*begun, *waiting):
        await turn
        lane.end(work)
    assert lane.longest_expected_s() == 0.0
