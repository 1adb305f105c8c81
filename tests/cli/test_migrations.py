"""`sameface migration`: the migration that is under way needs no id, and refusals say what to do."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from sameface.client import Client, Embedding
from sameface.launcher import Service
from sameface_qdrant.values.migration import DEFAULT_RATE
from tests.cli.conftest import Run, process
from tests.conftest import default_version

GALLERY = "moved-by-hand"
ROOT = Path(__file__).parents[2]
Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def migration(service: Service, sameface: Run) -> Iterator[Command]:
    """Run `sameface migration` on an empty gallery of version 1."""

    def run(command: str, *options: str) -> CompletedProcess[str]:
        return sameface("migration", command, GALLERY, *options, SAMEFACE_ADDRESS=service.address)

    with Client(service.address) as client:
        client.create_gallery(GALLERY, embedder_version=1)
        yield run
        client.delete_gallery(GALLERY, force=True)


def test_a_gallery_goes_to_another_version_and_back(migration: Command) -> None:
    none = migration("show")
    assert (none.returncode, "has had no migration" in none.stderr) == (3, True)
    assert f"sameface migration create {GALLERY}" in migration("promote").stderr
    version = str(default_version())
    assert migration("plan", "--embedder-version", version).returncode == 0
    same = migration("plan", "--embedder-version", "1")
    assert (same.returncode, "MAP_MISMATCH" in same.stderr) == (3, True)

    assert "mapped" in migration("create", "--embedder-version", version, "--wait").stdout
    early = migration("roll-back")
    assert (early.returncode, "MIGRATION_IN_PROGRESS" in early.stderr) == (3, True)
    assert "promoted" in migration("promote", "--verify-threshold", "0.5").stdout
    shown = json.loads(migration("show", "--json").stdout)
    assert (shown["state"], shown["new_contract"]["version"]) == ("STATE_PROMOTED", int(version))
    assert "rolled back" in migration("roll-back").stdout
    assert "rolled back" in migration("show").stdout  # the latest one
    assert "rolled back" in migration("list").stdout


def test_waiting_for_a_migration_that_somebody_cancels_fails(migration: Command, service: Service) -> None:
    with Client(service.address) as client, ThreadPoolExecutor(1) as pool:
        contract = client.get_gallery(GALLERY).contract
        for number in range(2):
            values = [float(number == at) for at in range(contract.dimension)]
            client.enroll(GALLERY, f"p{number}", Embedding(values=tuple(values), contract=contract))
        options = ("--embedder-version", str(default_version()), "--rate", "0.01", "--wait", "--json")
        arguments = ("migration", "create", GALLERY, *options)
        waiting = pool.submit(lambda: process(*arguments, SAMEFACE_ADDRESS=service.address))
        while not (begun := client.get_gallery(GALLERY).migration) and not waiting.done():
            time.sleep(0.02)
        client.cancel_migration(GALLERY, begun.rpartition("/")[2])
        done = waiting.result()
    assert (done.returncode, json.loads(done.stdout)["state"]) == (3, "STATE_CANCELLED"), done.stderr


def test_the_default_rate_is_told_as_it_is() -> None:
    told = f"{DEFAULT_RATE:g}"
    assert f"it is {told}." in str(Client.create_migration.__doc__)
    assert f"0 means {told}." in (ROOT / "protos/sameface/v1/migration_service.proto").read_text()
    assert f"The default rate is {told}." in (ROOT / "docs/plugin.md").read_text()
    assert f"at most {told} a second" in (ROOT / "docs/model-change.md").read_text()
