"""`sameface migration`: the migration that is under way needs no id, and refusals say what to do."""

import json
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

import pytest

from sameface.client import Client
from sameface.launcher import Service
from tests.cli.conftest import Run
from tests.conftest import default_version

GALLERY = "moved-by-hand"
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
