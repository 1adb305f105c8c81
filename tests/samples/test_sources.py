"""Sources of photos: a folder, an S3-compatible store, and one that another package adds."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.server import ThreadedMotoServer

from sameface.cli.photos import people_named
from sameface.samples.opening import GROUP, source_of
from sameface.samples.s3 import S3Source
from sameface.samples.source import Sample
from sameface_qdrant.errors import InvalidArgument

MOST = 1000
PHOTOS = {
    "people/ada/1.jpg": b"one",
    "people/ada/sub/2.JPG": b"two",
    "people/bob/3.png": b"three",
    "people/notes.txt": b"no photo",
    "people/bob/notes.txt": b"no photo",
    "people/.cache/4.jpg": b"hidden",
    "people/5.jpg": b"not in a person's folder",
    "elsewhere/eve/6.jpg": b"not below the prefix",
}


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A client of an S3-compatible server of this process, with the bucket ``photos``."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        import boto3

        client = boto3.client("s3")
        client.create_bucket(Bucket="photos")
        for key, content in PHOTOS.items():
            client.put_object(Bucket="photos", Key=key, Body=content)
        yield client
    server.stop()


def in_folder(folder: Path) -> str:
    for key, content in PHOTOS.items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return f"file://{folder}/people"


def read(address: str) -> list[tuple[str, str, bytes]]:
    source = source_of(address)
    return [(one.person, one.name.rpartition("/")[2], source.read(one, MOST)) for one in source.samples()]


EXPECTED = [("ada", "1.jpg", b"one"), ("ada", "2.JPG", b"two"), ("bob", "3.png", b"three")]


def test_a_folder_and_a_bucket_with_the_same_photos_give_the_same(s3: Any, tmp_path: Path) -> None:
    assert read("s3://photos/people") == read("s3://photos/people/") == read(in_folder(tmp_path)) == EXPECTED


def test_a_bucket_of_more_than_a_page_is_listed_whole(s3: Any) -> None:
    assert [one.person for one in S3Source(s3, "photos", "people", page_size=2).samples()] == ["ada", "ada", "bob"]


def test_what_cannot_be_read_is_named(s3: Any) -> None:
    with pytest.raises(OSError, match=r"s3://nobody/ cannot be read: .*NoSuchBucket"):
        list(source_of("s3://nobody").samples())
    source = source_of("s3://photos")
    with pytest.raises(OSError, match=r"s3://photos/people/ada/9\.jpg cannot be read: .*NoSuchKey"):
        source.read(Sample("ada", "s3://photos/people/ada/9.jpg"), MOST)
    with pytest.raises(InvalidArgument, match="more than 2 bytes"):
        source.read(Sample("ada", "s3://photos/people/ada/1.jpg"), 2)


@pytest.mark.parametrize("address", ["s3://", "s3:///people", "s3://id:key@photos", "file://host/people", "vault://x"])
def test_an_address_that_names_no_source_is_refused(address: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        source_of(address)
    assert refused.value.metadata == {"field": "photo"}


OTHER_PACKAGE = """
from sameface.samples.source import Sample

class Vault:
    def __init__(self, address):
        self.address = address

    def samples(self):
        return [Sample("ada", "one", request_id="r")]

    def read(self, sample, most):
        return f"{self.address} {sample.name}".encode()
"""


def test_what_is_no_photo_behind_an_address_is_told(tmp_path: Path) -> None:
    (tmp_path / "people" / "ada" / "forgery").mkdir(parents=True)
    (tmp_path / "people" / "ada" / "forgery" / "1.jpg").write_bytes(b"by somebody else")
    people, skipped = people_named([in_folder(tmp_path)], "")
    assert {name: len(photos) for name, photos in people.items()} == {"ada": 2, "bob": 1}
    there = {str(one.path.relative_to(tmp_path / "people")): one.why for one in skipped}
    assert there.keys() == {"notes.txt", "bob/notes.txt", "5.jpg", "ada/forgery/1.jpg", ".cache"}
    assert all(there.values())


@pytest.fixture
def other_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that adds the scheme ``vault``, and one whose source cannot be imported, like pip does."""
    for name, entry in {"our-photos": "vault = our_photos:Vault", "broken": "broken = not_there:Source"}.items():
        about = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[other.group]\nother = json:loads\n\n[{GROUP}]\n{entry}\n")
    (tmp_path / "our_photos.py").write_text(OTHER_PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "our_photos", None)  # so that it is forgotten afterwards
    monkeypatch.delitem(sys.modules, "our_photos")


@pytest.mark.usefixtures("other_package")
def test_another_package_adds_a_source() -> None:
    assert read("vault://x") == [("ada", "one", b"vault://x one")]
    with pytest.raises(InvalidArgument, match=r"scheme other://.*one of broken, file, s3, vault\."):
        source_of("other://x")


@pytest.mark.usefixtures("other_package")
def test_a_source_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"broken:// is not_there:Source.*No module named 'not_there'; repair"):
        source_of("broken://x")


def test_a_source_is_not_there_without_its_package() -> None:
    with pytest.raises(InvalidArgument, match=r"scheme vault://.*one of file, s3\."):
        source_of("vault://x")
