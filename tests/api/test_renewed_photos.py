"""`sameface enroll --renew` after a change of the model: the photos are there, and the templates become native."""

import asyncio
import shutil
from pathlib import Path

from sameface.client import EmbeddingOrigin
from tests.api.test_migrations import JACINDA, OBAMA, SUNAK, Migrating
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
