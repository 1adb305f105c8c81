"""Entries are on the disk within the stated time, survive kill -9 and a full disk, and forget whom they must."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sameface.audit import files
from sameface.audit.chain import Checked, check
from sameface.audit.files import files_of, lines_of
from sameface.audit.log import MENDED, UNKNOWN, AuditLog, AuditOptions, Entry
from sameface.errors import AuditUnavailable

QUICK = AuditOptions(durable_within_s=0.02, seal_every_s=1000)


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for _, line in lines_of(folder)]


def checked(folder: Path) -> Checked:
    key = load_pem_public_key((folder / "public-key.pem").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    return check(lines_of(folder), key)


def broken(folder: Path) -> list[str]:
    """What is wrong with a log; that of a service which still writes, or was killed, need not end with a seal."""
    return [problem.what for problem in checked(folder).problems if problem.kind != "unsealed"]


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("did not happen")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[AuditLog]:
    opened = AuditLog(tmp_path, QUICK)
    yield opened
    opened.close()


def test_entries_are_written_in_order_and_sealed_at_the_end(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, QUICK)
    for number in range(50):
        log.append(Entry({"rpc": "VerifyFace", "outcome": "OK", "count": number}))
    log.close()
    found = entries(tmp_path)
    assert [one["count"] for one in found[:-1]] == list(range(50))
    assert found[-1]["rpc"] == "seal"
    report = checked(tmp_path)
    assert (report.entries, report.seals, report.unsealed, report.problems) == (51, 1, 0, ())


def test_an_entry_is_on_the_disk_without_another_one(tmp_path: Path, log: AuditLog) -> None:
    log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
    until(lambda: len(entries(tmp_path)) == 1)


def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(3):
        log = AuditLog(tmp_path, QUICK)
        log.append(Entry({"rpc": "GetGallery", "outcome": "OK"}))
        log.close()
    report = checked(tmp_path)
    assert (report.entries, report.problems) == (6, ())


def test_two_services_do_not_write_one_log(tmp_path: Path, log: AuditLog) -> None:
    with pytest.raises(AuditUnavailable, match="another service"):
        AuditLog(tmp_path, QUICK)


def test_files_are_ended_when_they_are_large_and_removed_when_they_are_old(tmp_path: Path) -> None:
    options = AuditOptions(durable_within_s=0.01, file_bytes=4096, retention_days=1.0)
    log = AuditLog(tmp_path, options)
    for number in range(8):
        for _ in range(20):
            log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
        until(lambda number=number: len(entries(tmp_path)) >= 20 * (number + 1))  # type: ignore[misc]
    assert len(files_of(tmp_path)) > 3
    assert broken(tmp_path) == []
    for file in files_of(tmp_path)[:2]:
        os.utime(file, (0, 0))
    kept = len(files_of(tmp_path))
    for _ in range(100):
        log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
    until(lambda: not file.exists())
    log.close()
    report = checked(tmp_path)
    assert report.first_number > 1
    assert report.problems == ()
    assert kept > 2


def test_a_log_is_whole_at_every_moment_of_a_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "log"
    log = AuditLog(folder, AuditOptions(durable_within_s=0.01, file_bytes=4096, retention_days=1e-9))
    unlink, wrong = Path.unlink, list[str]()

    def watched(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path, missing_ok=missing_ok)
        if path.name.startswith("audit-"):
            wrong.extend(broken(folder))

    monkeypatch.setattr(Path, "unlink", watched)
    for _ in range(5):
        for _ in range(20):
            log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
        log.settle()
    log.close()
    assert checked(folder).first_number > 40
    assert wrong + broken(folder) == []


def test_who_reads_while_files_are_removed_reads_all_or_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = AuditLog(tmp_path, AuditOptions(durable_within_s=0.01, file_bytes=4096, retention_days=1.0))

    def write(count: int) -> None:
        for _ in range(count):
            log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
            log.settle()

    def grow_old(files: int) -> None:
        for file in files_of(tmp_path)[:files]:
            os.utime(file, (0, 0))
        before = len(files_of(tmp_path)[files:])
        while len(files_of(tmp_path)) != before + 1 or files_of(tmp_path)[0].stat().st_mtime == 0:
            write(1)
        write(1)

    write(60)
    reading = lines_of(tmp_path)
    first = next(reading)
    grow_old(1)
    # The file that was open is read to its end, and the next one is there.
    assert [place for place, _ in reading][-1] > first[0]
    reading = lines_of(tmp_path)
    next(reading)
    write(60)
    grow_old(2)
    with pytest.raises(AuditUnavailable, match="repeat the command"):
        list(reading)
    # A file goes between the look into the folder and its opening: the entry that says so is read too.
    write(60)
    look = files.files_of
    taken: list[list[Path]] = []

    def looked(folder: Path) -> list[Path]:
        taken.append(look(folder))
        if len(taken) == 1:
            grow_old(1)
        return taken[-1] if len(taken) > 1 else taken[0]

    monkeypatch.setattr(files, "files_of", looked)
    lines = list(lines_of(tmp_path))
    monkeypatch.undo()
    log.close()
    key = load_pem_public_key((tmp_path / "public-key.pem").read_bytes())
    assert isinstance(key, Ed25519PublicKey)
    assert len(taken) == 2
    assert [one.kind for one in check(lines, key).problems if one.kind != "unsealed"] == []


PROGRAM = """
import sys, time
from pathlib import Path
from sameface.audit.log import AuditLog, AuditOptions, Entry
log = AuditLog(Path(sys.argv[1]), AuditOptions(durable_within_s=0.05))
for number in range(10**9):
    log.append(Entry({"rpc": "VerifyFace", "outcome": "OK", "count": number}))
    if number % 20 == 0:
        time.sleep(0.2)
        print(number, flush=True)
"""


def test_what_was_on_the_disk_survives_kill_9(tmp_path: Path) -> None:
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        told = [int(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The stated time had passed for all of these.
        counts = [one["count"] for one in entries(tmp_path) if "count" in one]
        assert told[-1] in counts
        assert broken(tmp_path) == []


def test_a_line_that_a_crash_has_cut_is_removed_and_told(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, QUICK)
    log.append(Entry({"rpc": "GetGallery", "outcome": "OK"}))
    log.close()
    (file,) = files_of(tmp_path)
    with file.open("ab") as cut:
        cut.write(b'{"rpc":"Verif')
    assert checked(tmp_path).problems
    AuditLog(tmp_path, QUICK).close()
    assert checked(tmp_path).problems == ()
    assert MENDED in [one["rpc"] for one in entries(tmp_path)]


def test_a_log_whose_end_was_changed_is_not_continued(tmp_path: Path) -> None:
    AuditLog(tmp_path, QUICK).close()
    (file,) = files_of(tmp_path)
    file.write_bytes(b"something else\n")
    with pytest.raises(AuditUnavailable, match="audit verify"):
        AuditLog(tmp_path, QUICK)
    assert file.read_bytes() == b"something else\n"


def test_a_full_disk_stops_calls_before_an_entry_is_lost(
    tmp_path: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, room = os.write, 300

    def full(descriptor: int, content: Any) -> int:
        """A disk with little space, which writes what fits."""
        nonlocal room
        if os.readlink(f"/proc/self/fd/{descriptor}").startswith(str(tmp_path / "audit-")):
            if not room:
                raise OSError(28, "No space left on device")
            content = bytes(content)[:room]
            room -= len(content)
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    for number in range(10):
        log.append(Entry({"rpc": "VerifyFace", "outcome": "OK", "count": number}))

    def refused() -> bool:
        try:
            log.check()
        except AuditUnavailable:
            return True
        return False

    until(refused)
    # Calls that were in work end, and their entries wait.
    log.append(Entry({"rpc": "VerifyFace", "outcome": "OK", "count": 10}))
    monkeypatch.setattr(os, "write", real)
    until(lambda: not refused())
    until(lambda: len(entries(tmp_path)) == 11)
    assert [one["count"] for one in entries(tmp_path)] == list(range(11))
    assert broken(tmp_path) == []


def test_the_reserve_takes_the_entries_of_calls_in_work(tmp_path: Path, log: AuditLog) -> None:
    assert (tmp_path / "reserve").stat().st_size == 1 << 20


def test_people_have_pseudonyms_that_end_with_their_erasure(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, QUICK)

    def about(
        identity: str, *, exist: bool = True, forgotten: tuple[tuple[str, ...], ...] = (), made: bool = False
    ) -> None:
        people = {"identity": [("staff", identity)]}
        log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}, people, exist, forgotten, made))

    about("ada-lovelace")
    about("ada-lovelace")
    about("bob")
    about("nobody", exist=False)
    about("ada-lovelace", forgotten=(("staff", "ada-lovelace"),))
    about("ada-lovelace")  # was in work during the erasure
    about("ada-lovelace", made=True)
    about("bob", forgotten=(("staff",),))
    about("bob", exist=False)
    about("eve", made=True)
    log.close()
    found = [one["identity"] for one in entries(tmp_path)[:10]]
    ada, again, bob, nobody, last, late, new, bob_again, gone, eve = found
    assert ada == again == last
    assert bob == bob_again
    assert nobody == late == gone == UNKNOWN
    assert len({ada, bob, new}) == 3
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for word in (b"lovelace", b"bob"):
        assert word not in whole
    table = (tmp_path / "pseudonyms.sqlite").read_bytes()
    assert [name.encode() in table for name in (ada, bob, new, eve)] == [False, False, False, True]


def test_files_are_their_owners_alone(tmp_path: Path, log: AuditLog) -> None:
    log.append(Entry({"rpc": "GetGallery", "outcome": "OK"}))
    until(lambda: bool(entries(tmp_path)))
    for name in ("signing-key.pem", "pseudonyms.sqlite", files_of(tmp_path)[0].name):
        assert oct((tmp_path / name).stat().st_mode)[-3:] == "600"


def test_a_thread_that_fails_in_any_way_stops_calls(
    tmp_path: Path, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_sync(descriptor: int) -> None:
        raise RuntimeError("unexpected")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken_sync)
        log.append(Entry({"rpc": "GetGallery", "outcome": "OK"}))

        def refused() -> bool:
            try:
                log.check()
            except AuditUnavailable:
                return True
            return False

        until(refused)
    until(lambda: not refused())
    until(lambda: len(entries(tmp_path)) == 1)


def test_an_entry_after_the_end_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog(tmp_path, QUICK)
    log.close()
    with pytest.raises(AuditUnavailable):
        log.check()
    log.append(Entry({"rpc": "DeleteIdentity", "outcome": "CANCELLED"}))
    assert "after the audit log was closed" in caplog.text


def test_no_entry_is_longer_than_a_check_reads(tmp_path: Path, log: AuditLog) -> None:
    from sameface.access.caller import Caller
    from sameface.audit.recorder import Recorder
    from sameface.v1 import decision_pb2, face_service_pb2

    decision = decision_pb2.Decision(
        outcome=decision_pb2.OUTCOME_MATCH,
        candidates=[decision_pb2.Candidate(identity=f"galleries/{'g' * 64}/identities/{'i' * 64}")],
    )
    faces = [face_service_pb2.IdentifyFacesResponse.IdentifiedFace(decision=decision) for _ in range(1000)]
    answer = face_service_pb2.IdentifyFacesResponse(faces=faces)
    request = face_service_pb2.IdentifyFacesRequest(gallery=f"galleries/{'g' * 64}")
    Recorder(log).record(Caller("token:" + "é" * 8000, ()), "IdentifyFaces", request, "", answer)
    until(lambda: len(entries(tmp_path)) == 1)
    assert broken(tmp_path) == []


async def test_who_is_gone_from_the_store_is_forgotten(tmp_path: Path, log: AuditLog) -> None:
    from sameface.audit.gone import forget_the_gone
    from sameface_qdrant import Contract, Store

    people = [("staff", "ada"), ("staff", "bob"), ("staff", "eve"), ("guests", "ada"), ("gone", "ada")]
    named = {one: log.pseudonyms.of(*one) for one in people}
    store = await Store.open(":memory:")
    for gallery in ("staff", "guests", "empty"):
        await store.galleries.create(gallery, Contract("model", 1, "0" * 64, 4, "1"))
    for gallery, identity in (("staff", "ada"), ("staff", "eve"), ("guests", "bob"), ("empty", "zoe")):
        await store.identities.create(gallery, identity)
    # What another service would do.
    await store.identities.move("staff", "eve", "adam")
    assert await forget_the_gone(log.pseudonyms, store) == 4
    assert [one for one in people if log.pseudonyms.known(*one) == named[one]] == [("staff", "ada")]
    assert await forget_the_gone(log.pseudonyms, store) == 0
    assert [one["count"] for one in entries(tmp_path) if one["rpc"] == "forgotten"] == []
    empty = await Store.open(":memory:")
    assert await forget_the_gone(log.pseudonyms, empty) == 0
    assert log.pseudonyms.known("staff", "ada")
    await empty.aclose()
    # Who gets a pseudonym while the store is read is left for the next time.
    assert log.pseudonyms.forget_people({log.pseudonyms.key("staff", "ada")}, 0.0) == 0
    await store.aclose()


def test_who_was_erased_is_forgotten_once_the_log_has_settled(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, AuditOptions(durable_within_s=100.0))
    people = {"identity": [("staff", "ada")]}
    for forgotten in ((), [("staff", "ada")]):
        log.append(Entry({"rpc": "DeleteIdentity", "outcome": "OK"}, people, exist=True, forgotten=forgotten))
    log.settle()
    assert log.pseudonyms.known("staff", "ada") == ""
    assert len(entries(tmp_path)) == 2
    log.close()


def test_a_table_of_an_earlier_release_is_used_on(tmp_path: Path) -> None:
    import sqlite3

    from sameface.audit.pseudonyms import Pseudonyms

    path = tmp_path / "pseudonyms.sqlite"
    with sqlite3.connect(path) as old:
        old.execute("CREATE TABLE pseudonyms (person BLOB PRIMARY KEY, gallery BLOB NOT NULL, pseudonym TEXT NOT NULL)")
        old.execute("INSERT INTO pseudonyms VALUES (?, ?, ?)", (b"own", b"own", "ab" * 32))
    table = Pseudonyms(path)
    name = table.of("staff", "ada")
    table.close()
    again = Pseudonyms(path)
    assert again.of("staff", "ada") == name
    assert again.forget_people({again.key("staff", "ada")}, 2e10) == 1
    again.close()


def test_a_flood_of_strangers_is_counted(tmp_path: Path) -> None:
    from sameface.audit.recorder import MOST_STRANGERS, REFUSED, Recorder, Strangers

    recorder = Recorder(AuditLog(tmp_path, QUICK))
    for _ in range(MOST_STRANGERS + 500):
        recorder.record(None, "VerifyFace", None, "CREDENTIALS_REFUSED")
    recorder.close()
    found = [one for one in entries(tmp_path) if one["rpc"] != "seal"]
    assert len(found) == MOST_STRANGERS + 1
    assert (found[-1]["rpc"], found[-1]["count"]) == (REFUSED, 500)
    counting = Strangers()
    told = [counting.counted(stranger=True, now=second) for second in range(0, 130, 1)]
    assert [one for one in told if one] == [61 - MOST_STRANGERS] * 2


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
def test_entries_reach_a_syslog(tmp_path: Path, family: int, caplog: pytest.LogCaptureFixture) -> None:
    from sameface.audit.mirrors import IDENT

    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.settimeout(10)
    receiver.bind(str(tmp_path / "syslog") if family == socket.AF_UNIX else ("127.0.0.1", 0))
    where = receiver.getsockname()
    address = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
    log = AuditLog(tmp_path / "audit", replace(QUICK, syslog=address))
    log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
    message = receiver.recv(1 << 16).decode()
    assert message.startswith(f"<86>{IDENT}")  # authpriv, info
    sent = json.loads(message.partition(IDENT)[2])
    for _ in range(500):  # more than a socket holds while nobody reads
        log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
    log.settle()
    assert len(entries(tmp_path / "audit")) == 501
    receiver.close()
    (tmp_path / "syslog").unlink(missing_ok=True)
    for _ in range(3):
        log.append(Entry({"rpc": "VerifyFace", "outcome": "OK"}))
        log.settle()
    log.close()
    # Whoever does not receive stops nothing.
    written = entries(tmp_path / "audit")
    assert written[0] == sent
    assert [one["rpc"] for one in written] == ["VerifyFace"] * 504 + ["seal"]
    assert caplog.text.count("do not reach the syslog") == 1


@pytest.mark.parametrize("address", ["syslog", "host:port", ":514", "host:70000"])
def test_an_address_of_another_form_is_refused(tmp_path: Path, address: str) -> None:
    from sameface_qdrant.errors import InvalidArgument

    with pytest.raises(InvalidArgument, match=r"audit\.syslog"):
        AuditLog(tmp_path, replace(QUICK, syslog=address))
