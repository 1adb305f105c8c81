"""Enrolling: whose photos, under which id, once."""

import shutil
from pathlib import Path

from PIL import Image

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


def test_a_dry_run_stores_nothing(sameface: Run, gallery: str, people: Path) -> None:
    result = sameface("enroll", gallery, str(people), "--dry-run")
    assert result.returncode == 0
    assert "3 of 3 photos pass" in result.stderr
    assert sameface("identity", "list", gallery, "--json").stdout == ""


def test_what_is_not_looked_at_is_told(sameface: Run, gallery: str, people: Path) -> None:
    shutil.copy(people / "Barack Obama" / "barack_obama.jpg", people / "loose.jpg")
    (people / ".cache").mkdir()
    result = sameface("enroll", gallery, str(people))
    assert result.returncode == 0
    assert f"1 skipped (not in a person's folder): {people / 'loose.jpg'}" in result.stderr
    assert f"1 skipped (hidden): {people / '.cache'}" in result.stderr
