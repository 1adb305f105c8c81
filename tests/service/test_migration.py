"""A gallery of a real service, with Triton and Qdrant Edge, gets the default version by the map that is shipped."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sameface.client import Client, Migration
from sameface.launcher import Service
from tests.conftest import default_version

GALLERY = "migrating-on-triton"
OLD = 1
FIRST = {"jacinda": "jacinda_ardern_2018.jpg", "emmanuel": "emmanuel_macron_2014.jpg"}
LATER = {"jacinda": "jacinda_ardern_2022.jpg", "emmanuel": "emmanuel_macron_2025.jpg"}


@pytest.fixture
def client(service: Service, portraits: Path) -> Iterator[Client]:
    """A client of a service with a gallery of an older version."""
    with Client(service.address) as opened:
        opened.create_gallery(GALLERY, embedder_version=OLD)
        for identity, photo in FIRST.items():
            opened.enroll(GALLERY, identity, portraits / photo)
        yield opened
        opened.delete_gallery(GALLERY, force=True)


def mapped(client: Client, version: int) -> Migration:
    """Begin a migration, and wait until every template is mapped."""
    found = client.create_migration(GALLERY, embedder_version=version)
    while found.state == "MAPPING":
        time.sleep(0.02)
        found = client.get_migration(GALLERY, found.id)
    assert (found.state, found.mapped_count) == ("MAPPED", len(FIRST))
    return found


def test_people_are_recognised_by_mapped_templates_and_as_before_after_going_back(
    client: Client, portraits: Path
) -> None:
    version = default_version()
    assert (OLD, version) in {(one.old_version, one.new_version) for one in client.server_info().template_maps}
    assert client.plan_migration(GALLERY, embedder_version=version).problems == ()
    before = {one: client.verify(GALLERY, one, portraits / photo).decision for one, photo in LATER.items()}

    migration = mapped(client, version)
    client.promote_migration(GALLERY, migration.id)
    for identity, photo in LATER.items():
        decision = client.verify(GALLERY, identity, portraits / photo).decision
        assert (decision.matched, decision.embedding_origin, decision.threshold_source) == (
            True,
            "MAPPED",
            "TEMPLATE_MAP",
        )
        assert not client.verify(GALLERY, identity, portraits / "barack_obama.jpg").matched

    client.roll_back_migration(GALLERY, migration.id)
    after = {one: client.verify(GALLERY, one, portraits / photo).decision for one, photo in LATER.items()}
    assert {one: (found.score, found.threshold) for one, found in after.items()} == {
        one: (found.score, found.threshold) for one, found in before.items()
    }

    migration = mapped(client, version)
    client.promote_migration(GALLERY, migration.id)
    assert client.finish_migration(GALLERY, migration.id).state == "FINISHED"
    renewed = client.enroll(GALLERY, "jacinda", portraits / FIRST["jacinda"], renew=True)
    assert renewed.template.embedding_origin == "NATIVE"
    assert client.verify(GALLERY, "emmanuel", portraits / LATER["emmanuel"]).decision.embedding_origin == "MAPPED"
