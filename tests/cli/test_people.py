"""Enrol, verify, identify from the command line: folders, patterns, stdin, exit codes, JSON lines, drawings."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from sameface.cli.photos import find_people, find_photos, identity_id, identity_ids
from sameface.client import Client
from sameface.launcher import Service
from sameface_qdrant.errors import InvalidArgument
from tests.cli.conftest import Run


@pytest.fixture
def gallery(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A gallery of its own, and the service where commands look for it."""
    monkeypatch.setenv("SAMEFACE_ADDRESS", service.address)
    name = f"cli-{uuid.uuid4().hex[:12]}"
    with Client(service.address) as client:
        client.create_gallery(name)
        yield name
        client.delete_gallery(name, force=True)


@pytest.fixture
def people(tmp_path: Path, portraits: Path) -> Path:
    """A folder as people keep it: names with capitals, spaces and accents."""
    for name, photos in {
        "Emmanuel Macron": ["emmanuel_macron_2014.jpg"],
        "Barack Obama": ["barack_obama.jpg"],
        "Jacinda Ardérn": ["jacinda_ardern_2018.jpg"],
    }.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(portraits / photo, tmp_path / "people" / name)
    return tmp_path / "people"


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_folder_of_people_is_enrolled_and_the_ids_are_told(
    sameface: Run, gallery: str, people: Path, portraits: Path
) -> None:
    result = sameface("enroll", gallery, str(people))
    assert result.returncode == 0, result.stderr
    assert "Jacinda Ardérn is enrolled as jacinda-ardern" in result.stderr
    assert "3 of 3 photos enrolled, 3 identities, 0 refused" in result.stderr
    listed = lines(sameface("identity", "list", gallery, "--json").stdout)
    assert {one["name"].rpartition("/")[2]: one["display_name"] for one in listed} == {
        "barack-obama": "Barack Obama",
        "emmanuel-macron": "Emmanuel Macron",
        "jacinda-ardern": "Jacinda Ardérn",
    }
    (found,) = lines(sameface("identify", gallery, str(portraits / "jacinda_ardern_2022.jpg"), "--json").stdout)
    assert found["outcome"] == "MATCH"
    assert found["decision"]["candidates"][0]["identity"].endswith("/jacinda-ardern")


def test_exit_codes_say_what_was_decided(sameface: Run, gallery: str, portraits: Path) -> None:
    def enroll(identity: str, photo: str) -> None:
        assert sameface("enroll", gallery, str(portraits / photo), "--as", identity).returncode == 0

    enroll("macron", "emmanuel_macron_2014.jpg")
    enroll("ardern", "jacinda_ardern_2018.jpg")
    enroll("j.ardern", "jacinda_ardern_2018.jpg")
    macron, ardern = str(portraits / "emmanuel_macron_2025.jpg"), str(portraits / "jacinda_ardern_2022.jpg")
    stranger = str(portraits / "rishi_sunak.jpg")
    for code, arguments in (
        (0, ["verify", gallery, "macron", macron]),
        (1, ["verify", gallery, "macron", stranger]),
        (2, ["verify", gallery, "ardern", ardern]),
        (0, ["verify", gallery, "ardern", ardern, "--scope", "claim"]),
        (1, ["verify", gallery, "macron", macron, "--threshold", "0.99"]),
        (3, ["verify", gallery, "nobody", macron]),
        (0, ["identify", gallery, macron]),
        (1, ["identify", gallery, stranger]),
        (2, ["identify", gallery, ardern]),
        (2, ["identify", gallery, macron, stranger, ardern]),
        (3, ["identify", "no-such-gallery", macron]),
        (0, ["compare", macron, str(portraits / "emmanuel_macron_2014.jpg")]),
        (1, ["compare", macron, stranger]),
        (3, ["identify", gallery, "/no/such/photo.jpg"]),
        (3, ["identify"]),
        (3, ["identify", gallery, macron, "--face", "prettiest"]),
    ):
        result = sameface(*arguments)
        assert result.returncode == code, (arguments, result.stdout, result.stderr)
        assert "Traceback" not in result.stderr


def test_patterns_folders_and_stdin_are_photos(sameface: Run, gallery: str, portraits: Path) -> None:
    assert sameface("enroll", gallery, str(portraits / "barack_obama.jpg"), "--as", "obama").returncode == 0
    by_pattern = lines(sameface("detect", str(portraits / "jacinda*.jpg"), "--json").stdout)
    assert [Path(one["photo"]).name for one in by_pattern] == ["jacinda_ardern_2018.jpg", "jacinda_ardern_2022.jpg"]
    by_folder = lines(sameface("detect", str(portraits), "--json").stdout)
    assert len(by_folder) == 6
    assert all(len(one["faces"]) == 1 for one in by_folder)
    command = [sys.executable, "-m", "sameface.cli", "identify", gallery, "-", "--json"]
    photo = (portraits / "barack_obama.jpg").read_bytes()
    result = subprocess.run(command, input=photo, capture_output=True, check=False, env=os.environ)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["photo"] == "stdin"


def test_a_refused_photo_does_not_stop_the_others(sameface: Run, gallery: str, people: Path) -> None:
    (people / "Barack Obama" / "broken.jpg").write_bytes(b"no photo")
    Image.new("RGB", (300, 300)).save(people / "Emmanuel Macron" / "nobody.png")
    result = sameface("enroll", gallery, str(people), "--json")
    assert result.returncode == 3
    records = {Path(one["photo"]).name: one for one in lines(result.stdout)}
    assert records["broken.jpg"]["error"] == "IMAGE_UNDECODABLE"
    assert records["nobody.png"]["error"] == "FACE_NOT_FOUND"
    assert records["nobody.png"]["metadata"] == {"count": "0"}
    assert records["barack_obama.jpg"]["template"]
    assert "3 of 5 photos enrolled" in result.stderr


def test_a_dry_run_stores_nothing(sameface: Run, gallery: str, people: Path) -> None:
    result = sameface("enroll", gallery, str(people), "--dry-run")
    assert result.returncode == 0
    assert "3 of 3 photos pass" in result.stderr
    assert sameface("identity", "list", gallery, "--json").stdout == ""


def test_drawings_show_what_was_found(sameface: Run, gallery: str, portraits: Path, tmp_path: Path) -> None:
    assert sameface("enroll", gallery, str(portraits / "barack_obama.jpg"), "--as", "obama").returncode == 0
    photo = portraits / "barack_obama.jpg"
    assert sameface("identify", gallery, str(photo), "--draw", str(tmp_path)).returncode == 0
    assert sameface("detect", str(photo), str(photo), "--draw", str(tmp_path / "detected")).returncode == 0
    assert {path.name for path in (tmp_path / "detected").iterdir()} == {"barack_obama.jpg", "barack_obama-2.jpg"}
    with Image.open(tmp_path / "barack_obama.jpg") as drawn, Image.open(photo) as original:
        assert drawn.size == original.size
        assert drawn.tobytes() != original.convert("RGB").tobytes()


def test_galleries_identities_and_templates_are_looked_after(sameface: Run, gallery: str, portraits: Path) -> None:
    def run(*arguments: str) -> str:
        result = sameface(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    run("enroll", gallery, str(portraits / "barack_obama.jpg"), "--as", "obama", "--label", "country=us")
    assert gallery in run("gallery", "list")
    run("gallery", "update", gallery, "--verify-threshold", "0.6", "--display-name", "People")
    (shown,) = lines(run("gallery", "show", gallery, "--json"))
    assert (shown["display_name"], shown["policy"]["verify_threshold"]) == ("People", 0.6)
    run("gallery", "update", gallery, "--reset", "verify-threshold")
    assert "from the model card" in run("gallery", "show", gallery)
    assert [one["revision"] for one in lines(run("gallery", "revisions", gallery, "--json"))] == [3, 2, 1]
    assert "0.6" in run("gallery", "revisions", gallery)

    run("identity", "update", gallery, "obama", "--display-name", "Barack Obama", "--verify-threshold", "0.7")
    (identity,) = lines(run("identity", "show", gallery, "obama", "--json"))
    assert (identity["display_name"], identity["labels"]) == ("Barack Obama", {"country": "us"})
    run("identity", "update", gallery, "obama", "--reset-threshold", "--label", "country=fr")
    (identity,) = lines(run("identity", "show", gallery, "obama", "--json"))
    assert "verify_threshold" not in identity
    (found,) = lines(run("search", gallery, str(portraits / "barack_obama.jpg"), "--label", "country=fr", "--json"))
    assert found["score"] > 0.99
    assert "Barack Obama" in run("search", gallery, str(portraits / "barack_obama.jpg"))

    (template,) = lines(run("template", "list", gallery, "obama", "--json"))
    assert sameface("identity", "delete", gallery, "obama").returncode == 3
    run("template", "delete", gallery, "obama", template["name"].rpartition("/")[2])
    run("identity", "delete", gallery, "obama")
    other = f"{gallery}-2"
    run("gallery", "create", other, "--runner-up-margin", "0.1")
    run("gallery", "delete", other)
    assert other not in run("gallery", "list")


def test_a_service_that_is_not_there_is_named(sameface: Run, portraits: Path) -> None:
    result = sameface("identify", "g", str(portraits / "barack_obama.jpg"), "--address", "127.0.0.1:9", SAMEFACE_X="")
    assert result.returncode == 3
    assert "UNAVAILABLE" in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("Ada Lovelace", "ada-lovelace"),
        ("José Ángel  Núñez", "jose-angel-nunez"),
        ("Łukasz", "lukasz"),
        ("O'Brien (2)", "o-brien-2"),
        ("_x.", "x"),
        ("李小龙", "lixiaolong"),
        ("a" * 100, "a" * 64),
    ],
)
def test_names_become_ids(name: str, identity: str) -> None:
    assert identity_id(name) == identity


def test_names_that_collide_or_vanish_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="both give the id 'ada-l'"):
        identity_ids(["Ada L", "ada-l"])
    with pytest.raises(InvalidArgument, match="no id can be made"):
        identity_id("!!!")


def test_what_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="does not exist"):
        find_photos([str(tmp_path / "*.jpg")])
    with pytest.raises(InvalidArgument, match="holds no photo"):
        find_photos([str(tmp_path)])
    with pytest.raises(InvalidArgument, match="no sub-folder with photos"):
        find_people(tmp_path)
