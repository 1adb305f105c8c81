"""Verify, identify, compare and search, and change what is stored: exit codes and JSON lines."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sameface.client import Client
from sameface.launcher import Service
from tests.cli.conftest import Run, lines


def test_exit_codes_say_what_was_decided(sameface: Run, gallery: str, portraits: Path) -> None:
    def enroll(identity: str, photo: str) -> None:
        assert sameface("enroll", gallery, str(portraits / photo), "--as", identity).returncode == 0

    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
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
    changed = run("identity", "update", gallery, "obama", "--consent", "form 17", "--purpose", "door")
    shown_identity = run("identity", "show", gallery, "obama")
    assert changed == shown_identity
    told = [line.split(maxsplit=1) for line in shown_identity.splitlines()]
    assert {("consent", "form 17"), ("purpose", "door"), ("templates", "1"), ("labels", "country=us")} <= {
        (line[0], line[1].strip()) for line in told if len(line) == 2
    }
    assert "form 17" in run("identity", "list", gallery)
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
    assert sameface("gallery", "create", other).returncode == 3
    (there,) = lines(run("gallery", "create", other, "--exist-ok", "--runner-up-margin", "0.2", "--json"))
    assert there["policy"]["runner_up_margin"] == pytest.approx(0.1)
    run("gallery", "delete", other)
    assert other not in run("gallery", "list")


def test_a_service_that_is_not_there_is_named(sameface: Run, portraits: Path) -> None:
    result = sameface("identify", "g", str(portraits / "barack_obama.jpg"), "--address", "127.0.0.1:9", SAMEFACE_X="")
    assert result.returncode == 3
    assert "UNAVAILABLE" in result.stdout + result.stderr


def test_a_service_that_is_not_there_is_not_asked_for_every_photo(sameface: Run, portraits: Path) -> None:
    photos = [str(portraits / "barack_obama.jpg")] * 100
    result = sameface("identify", "g", *photos, "--address", "127.0.0.1:9", "--json")
    assert result.returncode == 3
    errors = [one["error"] for one in lines(result.stdout)]
    assert len(errors) == 100
    assert errors.count("NOT_TRIED") >= 90


def test_every_photo_has_a_line_for_programs(
    sameface: Run, gallery: str, portraits: Path, people: Path, tmp_path: Path
) -> None:
    assert sameface("enroll", gallery, str(people)).returncode == 0
    Image.new("RGB", (300, 300)).save(tmp_path / "nobody.png")
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    nobody, broken, known = str(tmp_path / "nobody.png"), str(tmp_path / "broken.jpg"), str(portraits)
    result = sameface("identify", gallery, nobody, broken, known, "--all-faces", "--json")
    records = lines(result.stdout)
    assert [one["photo"] for one in records[:2]] == [nobody, broken]
    assert len(records) == 2 + len(list(portraits.glob("*.jpg")))
    assert (records[0]["outcome"], records[0]["decision"]) == ("NO_MATCH", None)
    assert records[1]["error"] == "IMAGE_UNDECODABLE"
    for arguments in (["compare", nobody, nobody], ["compare", broken, nobody], ["search", gallery, nobody]):
        result = sameface(*arguments, "--json")
        assert result.returncode == 3
        (record,) = lines(result.stdout)
        assert nobody in record["photo"]
        assert record["error"] in ("FACE_NOT_FOUND", "IMAGE_UNDECODABLE")


def test_fields_that_are_zero_or_empty_are_in_the_json(sameface: Run, gallery: str, portraits: Path) -> None:
    with Client(os.environ["SAMEFACE_ADDRESS"]) as client:
        client.create_identity(gallery, "nobody-yet")
    (identity,) = lines(sameface("identity", "show", gallery, "nobody-yet", "--json").stdout)
    assert (identity["template_count"], identity["display_name"], identity["labels"]) == (0, "", {})
    assert "verify_threshold" not in identity  # not set, which is not zero


def test_compare_and_search_take_exactly_one_photo_each(sameface: Run, gallery: str, portraits: Path) -> None:
    one, many = str(portraits / "barack_obama.jpg"), str(portraits)
    for arguments in (["compare", one, many], ["compare", many, one], ["search", gallery, many]):
        result = sameface(*arguments)
        assert result.returncode == 3
        assert "stands for 6 photos; expected exactly one" in result.stderr
    result = sameface("compare", "-", "-")
    assert result.returncode == 3
    assert "stdin holds one photo" in result.stderr


def test_options_that_make_no_sense_are_named(sameface: Run, gallery: str, portraits: Path) -> None:
    photo = str(portraits / "barack_obama.jpg")
    for arguments in (
        ["search", gallery, photo],
        ["enroll", gallery, photo, "--as", "obama"],
        ["identity", "update", gallery, "obama"],
    ):
        for label in ("country", "=fr"):
            result = sameface(*arguments, "--label", label)
            assert result.returncode == 3
            assert f"--label is {label!r}; expected KEY=VALUE" in result.stderr
    result = sameface("gallery", "update", gallery, "--reset", "treshold")
    assert result.returncode == 3
    assert "runner-up-margin" in result.stderr


def test_what_others_wrote_is_printed_as_text(
    sameface: Run, gallery: str, portraits: Path, tmp_path: Path, service: Service
) -> None:
    photo = tmp_path / "[red]x[bold]\x1b[31m.jpg"
    shutil.copy(portraits / "barack_obama.jpg", photo)
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "foo].jpg").write_bytes(b"no photo")
    with Client(service.address) as client:
        client.enroll(gallery, "obama", photo, display_name="[/bar] :heart:", labels={"a": "[/b]"})
    for arguments in (
        ["detect", str(tmp_path)],
        ["identify", gallery, str(tmp_path)],
        ["enroll", gallery, str(tmp_path), "--as", "obama"],
    ):
        result = sameface(*arguments)
        assert "[red]x[bold]\\x1b[31m.jpg" in result.stdout
        assert "[/foo].jpg" in result.stdout
    for arguments in (["identity", "list", gallery], ["search", gallery, str(photo)]):
        assert "[/bar] :heart:" in sameface(*arguments).stdout
    assert "a=[/b]" in sameface("identity", "list", gallery).stdout
