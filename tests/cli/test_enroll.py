"""Enrolment: whose photos, under which id, and each photo once."""

import base64
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from sameface.client import Client
from sameface.launcher import Service
from tests.cli.conftest import Run, lines


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


def test_photos_are_enrolled_by_what_they_hold_and_mistakes_are_named(
    sameface: Run, gallery: str, tmp_path: Path, portraits: Path
) -> None:
    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
    photo = (portraits / "barack_obama.jpg").read_bytes()
    only, mixed = tmp_path / "people" / "only", tmp_path / "people" / "mixed"
    for folder in (only, mixed):
        folder.mkdir(parents=True)
    (only / "only.jfif").write_bytes(photo)
    for name in ("b.jfif", "c.JPE", "d", "f.pic"):
        (mixed / name).write_bytes(photo)
    (mixed / "empty.jpg").touch()
    (mixed / "text.jpg").write_bytes(base64.b64encode(photo))
    (mixed / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (mixed / "notes.txt").write_text("notes")
    result = sameface("enroll", gallery, str(tmp_path / "people"), "--json")
    assert result.returncode == 3
    records = {Path(one["photo"]).name: one for one in lines(result.stdout)}
    assert {name for name, one in records.items() if "template" in one} == {
        "only.jfif",
        "b.jfif",
        "c.JPE",
        "d",
        "f.pic",
    }
    assert (records["empty.jpg"]["error"], records["text.jpg"]["error"]) == ("IMAGE_UNDECODABLE", "IMAGE_UNDECODABLE")
    assert "0 bytes" in records["empty.jpg"]["message"]
    assert "JPEG as base64 text; decode it" in records["text.jpg"]["message"]
    assert records["gone.jpg"]["error"] == "UNREADABLE"
    assert f"1 skipped (no photo: text): {mixed / 'notes.txt'}" in result.stderr
    # A file that is named is tried, and a pipe is not waited for.
    os.mkfifo(tmp_path / "pipe")
    named = [str(mixed / "notes.txt"), str(tmp_path / "pipe"), str(mixed / "text.jpg")]
    for command in (["enroll", gallery, "--as", "a"], ["identify", gallery], ["verify", gallery, "only"], ["detect"]):
        result = sameface(*command, *named, "--json")
        assert result.returncode == 3
        assert [one["error"] for one in lines(result.stdout)] == ["IMAGE_UNDECODABLE"] * 3
        assert "4AAQSkZJRg" not in result.stdout + result.stderr
    for command in (["search", gallery], ["compare", str(only / "only.jfif")]):
        result = sameface(*command, str(mixed / "empty.jpg"), "--json")
        assert result.returncode == 3
        assert lines(result.stdout)[0]["error"] == "IMAGE_UNDECODABLE"


def test_a_dry_run_stores_nothing(sameface: Run, gallery: str, people: Path) -> None:
    result = sameface("enroll", gallery, str(people), "--dry-run")
    assert result.returncode == 0
    assert "3 of 3 photos pass" in result.stderr
    assert sameface("identity", "list", gallery, "--json").stdout == ""


def test_a_dry_run_makes_no_gallery(sameface: Run, gallery: str, people: Path) -> None:
    Image.new("RGB", (300, 300)).save(people / "Emmanuel Macron" / "nobody.png")
    other = f"{gallery}-other"
    result = sameface("enroll", other, str(people), "--dry-run", "--create-gallery", "--json")
    assert f"the gallery {other} would be made" in result.stderr
    assert "3 of 4 photos pass" in result.stderr
    assert {one.get("error", one.get("status")) for one in lines(result.stdout)} == {
        "FACE_NOT_FOUND",
        "WOULD_BE_ENROLLED",
    }
    assert sameface("gallery", "show", other).returncode == 3


def test_a_folder_enrolled_again_changes_nothing(sameface: Run, gallery: str, people: Path, portraits: Path) -> None:
    def templates() -> list[str]:
        return [one["name"] for one in lines(sameface("template", "list", gallery, "barack-obama", "--json").stdout)]

    assert sameface("enroll", gallery, str(people)).returncode == 0
    before = templates()
    again = sameface("enroll", gallery, str(people))
    assert again.returncode == 0
    assert "0 of 3 photos enrolled, 3 already there, 3 identities, 0 refused" in again.stderr
    assert again.stdout.count("already there") == 3
    assert templates() == before
    # The same photo under another file name is the same photo, also within one run.
    shutil.copy(people / "Barack Obama" / "barack_obama.jpg", people / "Barack Obama" / "copy.jpg")
    assert "0 of 4 photos enrolled, 4 already there" in sameface("enroll", gallery, str(people)).stderr
    # Another choice among its faces is another request.
    assert sameface("enroll", gallery, str(people), "--face", "most_central").returncode == 0


@pytest.mark.parametrize(("first", "second"), [("José", "Jose"), ("jose", "José"), ("José!", "Jose")])
def test_another_person_of_the_same_id_is_refused(
    sameface: Run, gallery: str, portraits: Path, tmp_path: Path, first: str, second: str
) -> None:
    folders = {}
    for name, photo in ((first, "barack_obama.jpg"), (second, "rishi_sunak.jpg")):
        folders[name] = tmp_path / name.encode().hex()
        (folders[name] / name).mkdir(parents=True)
        shutil.copy(portraits / photo, folders[name] / name)
    assert sameface("enroll", gallery, str(folders[first])).returncode == 0
    refused = sameface("enroll", gallery, str(folders[second]), "--json")
    assert refused.returncode == 3
    assert f"{second!r} would be jose, which is the id of {first!r}" in refused.stderr
    assert "--merge" in refused.stderr
    assert [one["error"] for one in lines(refused.stdout)] == ["IDENTITY_ALREADY_EXISTS"]
    assert len(lines(sameface("template", "list", gallery, "jose", "--json").stdout)) == 1
    # The same name in another Unicode form is the same person.
    assert sameface("enroll", gallery, str(folders[first])).returncode == 0
    # With --merge it is allowed.
    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
    assert sameface("enroll", gallery, str(folders[second] / second), "--as", "jose-2").returncode == 0
    assert sameface("enroll", gallery, str(folders[second]), "--merge").returncode == 0
    assert len(lines(sameface("template", "list", gallery, "jose", "--json").stdout)) == 2


def test_an_identity_without_a_display_name_is_known_by_its_id(
    sameface: Run, gallery: str, portraits: Path, tmp_path: Path
) -> None:
    photo = portraits / "barack_obama.jpg"
    (tmp_path / "people" / "obama").mkdir(parents=True)
    shutil.copy(photo, tmp_path / "people" / "obama")
    assert sameface("enroll", gallery, str(photo), "--as", "obama").returncode == 0
    assert "1 already there" in sameface("enroll", gallery, str(tmp_path / "people")).stderr


def test_the_id_of_an_identity_may_be_any_text(sameface: Run, gallery: str, portraits: Path) -> None:
    photo, identity = str(portraits / "jacinda_ardern_2018.jpg"), "Jacinda@example.org, 田中"

    def run(*arguments: str) -> str:
        result = sameface(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    for said in ("enrolled", "already there"):
        assert said in run("enroll", gallery, photo, "--as", identity)
    assert identity in run("verify", gallery, identity, photo)
    assert identity in run("search", gallery, photo)
    assert identity in run("identity", "list", gallery)
    run("identity", "move", gallery, identity, "A/b")
    assert "A/b" in run("identity", "show", gallery, "A/b")
    (template,) = lines(run("template", "list", gallery, "A/b", "--json"))
    assert template["name"].startswith(f"galleries/{gallery}/identities/~41~2fb/templates/")
    assert f"galleries/{gallery}/identities/A/b" in run("identity", "delete", gallery, "A/b", "--force")
    for wrong, told in (
        ("Jos\udce9", "no UTF-8"),
        ("Jose\u0301", "Unicode form NFC"),
        ("..", "1 to 200 bytes"),
        ("a\nb", "1 to 200 bytes"),
    ):
        refused = sameface("enroll", gallery, photo, "--as", wrong)
        assert (refused.returncode, told in refused.stdout + refused.stderr) == (3, True), refused


def test_what_is_not_looked_at_is_told(sameface: Run, gallery: str, people: Path) -> None:
    shutil.copy(people / "Barack Obama" / "barack_obama.jpg", people / "loose.jpg")
    (people / ".cache").mkdir()
    result = sameface("enroll", gallery, str(people))
    assert result.returncode == 0
    assert f"1 skipped (not in a person's folder): {people / 'loose.jpg'}" in result.stderr
    assert f"1 skipped (hidden): {people / '.cache'}" in result.stderr


def test_a_gallery_that_is_missing_gives_every_photo_a_line(sameface: Run, gallery: str, people: Path) -> None:
    result = sameface("enroll", f"{gallery}-none", str(people), "--json")
    assert result.returncode == 3
    assert [one["error"] for one in lines(result.stdout)] == ["GALLERY_NOT_FOUND"] * 3


def test_one_display_name_is_not_given_to_many(sameface: Run, gallery: str, people: Path) -> None:
    result = sameface("enroll", gallery, str(people), "--display-name", "Everybody")
    assert result.returncode == 3
    assert "--as ID" in result.stderr


def test_a_photo_that_a_program_has_enrolled_is_there_already(
    sameface: Run, service: Service, gallery: str, portraits: Path
) -> None:
    photo = portraits / "jacinda_ardern_2018.jpg"
    with Client(service.address) as client:
        client.enroll(gallery, "jacinda", photo)
        result = sameface("enroll", gallery, str(photo), "--as", "jacinda", "--json")
        assert [one["status"] for one in lines(result.stdout)] == ["ALREADY_THERE"]
        client.enroll(gallery, "jacinda", photo)
        assert len(list(client.templates(gallery, "jacinda"))) == 1
