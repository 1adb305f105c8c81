"""`sameface enroll --renew --request-id`: a run that is repeated with the id of its request does nothing twice."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from sameface.client import Client, EmbeddingOrigin, Template
from sameface.launcher import Service
from tests.cli.conftest import Run, lines
from tests.conftest import default_version

GALLERY = "renewed-by-request"
OBAMA, SUNAK, JACINDA = "barack_obama.jpg", "rishi_sunak.jpg", "jacinda_ardern_2018.jpg"
REQUESTS = {"obama": str(uuid.uuid4()), "jacinda": str(uuid.uuid4())}


@pytest.fixture
def client(service: Service, portraits: Path) -> Iterator[Client]:
    """A client of a service with a gallery whose model was changed, so that both of its people are mapped."""
    with Client(service.address) as client:
        client.create_gallery(GALLERY, embedder_version=1)
        client.enroll(GALLERY, "obama", portraits / OBAMA, request_id=REQUESTS["obama"])
        client.enroll(GALLERY, "sunak", portraits / SUNAK)
        begun = client.create_migration(GALLERY, embedder_version=default_version())
        while begun.state == "MAPPING":
            time.sleep(0.02)
            begun = client.get_migration(GALLERY, begun.id)
        client.promote_migration(GALLERY, begun.id)
        yield client
        client.delete_gallery(GALLERY, force=True)


def stored(client: Client) -> dict[str, list[Template]]:
    """Return the templates of everybody, with their times and origins."""
    return {one.id: list(client.templates(GALLERY, one.id)) for one in client.identities(GALLERY)}


def test_a_renewal_that_is_repeated_with_its_request_id_does_nothing_twice(
    client: Client, service: Service, sameface: Run, portraits: Path, tmp_path: Path
) -> None:
    def run(person: str, photo: str) -> tuple[int, str]:
        """Return the exit code, and what became of the photo."""
        ended = sameface(
            "enroll", GALLERY, str(portraits / photo), "--as", person, "--renew", "--request-id", REQUESTS[person],
            "--json", SAMEFACE_ADDRESS=service.address, XDG_CACHE_HOME=str(tmp_path),
        )  # fmt: skip
        (record,) = lines(ended.stdout)
        return ended.returncode, str(record.get("status") or record["error"])

    mapped = stored(client)
    assert run("obama", OBAMA) == (0, "RENEWED")
    renewed = stored(client)
    (before,), (after,) = mapped["obama"], renewed["obama"]
    assert (before.embedding_origin, after.embedding_origin) == (EmbeddingOrigin.MAPPED, EmbeddingOrigin.NATIVE)
    assert (after.id, after.create_time) == (before.id, before.create_time)
    assert renewed["sunak"] == mapped["sunak"]
    assert run("obama", OBAMA) == (0, "ALREADY_THERE")
    assert run("obama", SUNAK) == (3, "REQUEST_ID_REUSED")
    assert stored(client) == renewed

    # A photo that was never enrolled is enrolled by the first run.
    assert run("jacinda", JACINDA) == (0, "ENROLLED")
    enrolled = stored(client)
    assert {name: len(templates) for name, templates in enrolled.items()} == {"obama": 1, "sunak": 1, "jacinda": 1}
    assert run("jacinda", JACINDA) == (0, "ALREADY_THERE")
    assert stored(client) == enrolled
