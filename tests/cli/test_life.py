"""Guards, moves, expiry and receipts on the command line."""

import time
from pathlib import Path

from sameface.client import Client
from sameface.launcher import Service
from tests.cli.conftest import Run, lines


def test_a_policys_guards_are_set_shown_and_put_back(sameface: Run, gallery: str) -> None:
    result = sameface(
        "gallery", "update", gallery, "--on-collision", "warn", "--when-full", "replace_oldest",
        "--outlier-threshold", "0.2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    (shown,) = lines(sameface("gallery", "show", gallery, "--json").stdout)
    policy = shown["policy"]
    assert (policy["on_collision"], policy["when_full"]) == ("GUARD_ACTION_WARN", "WHEN_FULL_REPLACE_OLDEST")
    text = sameface("gallery", "show", gallery).stdout
    assert "on collision" in text
    assert "replace_oldest" in text
    assert sameface("gallery", "update", gallery, "--reset", "on-collision").returncode == 0
    (shown,) = lines(sameface("gallery", "show", gallery, "--json").stdout)
    assert shown["policy"]["on_collision"] == "GUARD_ACTION_REJECT"
    assert sameface("gallery", "update", gallery, "--on-collision", "perhaps").returncode == 3
    assert "author" in sameface("gallery", "revisions", gallery).stdout


def test_an_enrolment_says_what_guards_found(sameface: Run, gallery: str, portraits: Path) -> None:
    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
    assert sameface("enroll", gallery, str(portraits / "emmanuel_macron_2014.jpg"), "--as", "macron").returncode == 0
    again = ["enroll", gallery, str(portraits / "emmanuel_macron_2025.jpg"), "--as", "president"]
    dry = lines(sameface(*again, "--dry-run", "--json").stdout)
    # Everybody may know with whom, as no credentials are asked for.
    (finding,) = dry[0]["findings"]
    assert finding.startswith("looks like another identity: macron (0.")
    result = sameface(*again)
    assert result.returncode == 0
    assert "looks like another identity" in result.stdout
    assert "macron:" not in result.stdout


def test_an_identity_is_moved_merged_and_given_an_expiry(sameface: Run, gallery: str, portraits: Path) -> None:
    assert sameface("gallery", "update", gallery, "--on-collision", "warn").returncode == 0
    for identity, photo in (("macron", "emmanuel_macron_2014.jpg"), ("president", "emmanuel_macron_2025.jpg")):
        arguments = ["enroll", gallery, str(portraits / photo), "--as", identity, "--label", f"called={identity}"]
        assert sameface(*arguments).returncode == 0
    refused = sameface("identity", "move", gallery, "macron", "president")
    assert (refused.returncode, "IDENTITY_ALREADY_EXISTS" in refused.stderr) == (3, True)
    (merged,) = lines(sameface("identity", "move", gallery, "macron", "president", "--merge", "--json").stdout)
    assert merged["template_count"] == 2
    listed = lines(sameface("identity", "list", gallery, "--label", "called=president", "--json").stdout)
    assert [one["name"].rpartition("/")[2] for one in listed] == ["president"]
    (changed,) = lines(
        sameface(
            "identity", "update", gallery, "president", "--expires", "2090-01-01", "--consent", "form 7",
            "--purpose", "door", "--json",
        ).stdout
    )  # fmt: skip
    assert changed["expire_time"].startswith(("2089-12-31", "2090-01-01"))
    assert (changed["consent_reference"], changed["purpose"]) == ("form 7", "door")
    (changed,) = lines(sameface("identity", "update", gallery, "president", "--never-expires", "--json").stdout)
    assert "expire_time" not in changed
    template = lines(sameface("template", "list", gallery, "president", "--json").stdout)[0]["name"].rpartition("/")[2]
    result = sameface("template", "update", gallery, "president", template, "--expires", "2090-01-01")
    assert "2090-01-01" in result.stdout or "2089-12-31" in result.stdout
    assert sameface("template", "update", gallery, "president", template).returncode == 3


def test_a_deletion_prints_its_receipt_which_can_be_shown_again(
    sameface: Run, gallery: str, portraits: Path, service: Service
) -> None:
    assert sameface("enroll", gallery, str(portraits / "barack_obama.jpg"), "--as", "obama").returncode == 0
    result = sameface("identity", "delete", gallery, "obama", "--force")
    assert result.returncode == 0, result.stderr
    for words in ("obama", "unreadable", "checked", "0 after", "not covered"):
        assert words in result.stdout, words
    (receipt,) = lines(sameface("erasure", "list", gallery, "--json").stdout)
    name = receipt["name"].rpartition("/")[2]
    shown = sameface("erasure", "show", name)
    assert shown.stdout == result.stdout
    assert name in sameface("erasure", "list", gallery).stdout
    assert sameface("erasure", "show", "0" * 32).returncode == 3


def test_a_service_sweeps_what_has_expired(portraits: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime, timedelta

    from sameface.launcher import served

    config = tmp_path / "sweep.toml"
    config.write_text("sweep_s = 0.2\n")
    flags = ["--inference", "onnx", "--config", str(config)]
    with served(tmp_path / "data", tmp_path / "log", flags) as swept, Client(swept.address) as client:
        client.create_gallery("people")
        soon = datetime.now(UTC) + timedelta(seconds=4)
        client.enroll("people", "obama", portraits / "barack_obama.jpg", expire_time=soon)
        for _ in range(400):
            if not list(client.templates("people", "obama")):
                break
            time.sleep(0.05)
        (receipt,) = client.erasure_receipts("people")
        assert receipt.templates == 1
