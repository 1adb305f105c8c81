"""Whatever is done to the lines of an audit log is found."""

import json
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sameface.audit.chain import FIRST, REMOVED, SEAL, Checked, check, linked, signed_content

KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def chain(count: int, *, seals: tuple[int, ...] = (), key: Ed25519PrivateKey = KEY) -> list[bytes]:
    lines, before = [], FIRST
    for number in range(1, count + 1):
        entry: dict[str, Any] = {"rpc": "VerifyFace", "caller": f"key:{number}", "outcome": "OK"}
        if number in seals:
            entry = {"rpc": SEAL, "signature": key.sign(signed_content(before)).hex()}
        line, before = linked(entry, number, before)
        lines.append(line)
    return lines


def checked(lines: list[bytes], **options: Any) -> Checked:
    key = options.pop("key", KEY.public_key())
    return check(((str(number), line) for number, line in enumerate(lines, 1)), key, **options)


def test_a_whole_chain_has_no_problem() -> None:
    lines = chain(10, seals=(4, 8))
    found = checked(lines)
    assert found.problems == ()
    assert (found.entries, found.seals, found.first_number, found.unsealed) == (10, 2, 1, 2)
    assert found.head == json.loads(lines[-1])["hash"]
    assert checked(lines, expected_head=found.head).problems == ()


def kinds(lines: list[bytes], **options: Any) -> list[str]:
    return [problem.kind for problem in checked(lines, **options).problems]


def test_an_empty_log_and_one_without_seals_are_told() -> None:
    assert kinds([]) == ["empty"]
    assert kinds(chain(5)) == ["unsealed"]
    assert kinds(chain(5), key=None) == []


@pytest.mark.parametrize(("minutes", "expected"), [(1, []), (14, []), (16, ["unsealed"])])
def test_a_long_time_without_a_seal_is_told(minutes: int, expected: list[str]) -> None:
    lines, before = [], FIRST
    for number, minute in enumerate((0, 0, 0, minutes), 1):
        entry: dict[str, Any] = {"rpc": "VerifyFace", "time": f"2026-01-01T10:{minute:02}:00.000+00:00"}
        if number == 2:
            entry = {"rpc": SEAL, "signature": KEY.sign(signed_content(before)).hex()}
        line, before = linked(entry, number, before)
        lines.append(line)
    assert kinds(lines) == expected


def test_a_beginning_that_is_missing_needs_an_entry_that_says_so() -> None:
    lines = chain(8, seals=(8,))
    assert kinds(lines[3:]) == ["missing"]
    last = json.loads(lines[2])
    before = json.loads(lines[-1])["hash"]
    told, head = linked({"rpc": REMOVED, "until": 3, "last_hash": last["hash"]}, 9, before)
    seal, _ = linked({"rpc": SEAL, "signature": KEY.sign(signed_content(head)).hex()}, 10, head)
    assert kinds([*lines[3:], told, seal]) == []
    assert kinds([*lines[4:], told, seal]) == ["missing"]


def test_an_entry_about_removed_files_excuses_no_gap() -> None:
    lines = chain(10, seals=(6, 10))
    third, sixth = (json.loads(lines[number]) for number in (2, 5))
    forged, _ = linked({"rpc": REMOVED, "until": 6, "last_hash": sixth["hash"]}, 4, third["hash"])
    assert kinds([*lines[:3], forged, *lines[6:]]) == ["missing"]
    assert kinds([*lines[:2], *lines[6:]]) == ["missing"]


@given(data=st.data())
def test_one_changed_byte_is_found(data: st.DataObject) -> None:
    lines = chain(6, seals=(3,))
    number = data.draw(st.integers(0, 5))
    position = data.draw(st.integers(0, len(lines[number]) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != lines[number][position]))
    lines[number] = lines[number][:position] + bytes([new]) + lines[number][position + 1 :]
    assert checked(lines).problems


@given(data=st.data())
def test_removed_moved_and_repeated_entries_are_found(data: st.DataObject) -> None:
    lines = chain(8, seals=(8,))
    kind = data.draw(st.sampled_from(["removed", "moved", "repeated"]))
    one = data.draw(st.integers(0, 6 if kind == "removed" else 7))
    if kind == "removed":
        del lines[one]
    elif kind == "moved":
        other = data.draw(st.integers(0, 7).filter(lambda where: where != one))
        lines.insert(other, lines.pop(one))
    else:
        lines.insert(data.draw(st.integers(0, 8)), lines[one])
    assert checked(lines).problems


def test_an_end_that_is_cut_is_found_with_a_hash_that_was_kept() -> None:
    lines = chain(8, seals=(5, 8))
    head = json.loads(lines[-1])["hash"]
    assert checked(lines[:5]).problems == ()
    (problem,) = checked(lines[:5], expected_head=head).problems
    assert problem.kind == "cut"


def test_a_chain_that_somebody_made_anew_is_found_by_its_seals() -> None:
    forged = chain(8, seals=(4, 8), key=OTHER)
    assert [problem.kind for problem in checked(forged).problems] == ["unsigned", "unsigned"]
    assert checked(forged, key=None).problems == ()
    moved = json.loads(chain(8, seals=(4,))[3])["signature"]
    entry = {"rpc": SEAL, "signature": moved}
    line, _ = linked(entry, 1, FIRST)
    assert [problem.kind for problem in checked([line]).problems] == ["unsigned"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"3",
        b"\xff",
        b'{"number":"1","before":"","hash":""}',
        b"[" * 9000,
        b'{"a":"' + b"x" * 20000 + b'"}',
    ],
)
def test_a_line_that_is_no_entry_is_told(line: bytes) -> None:
    lines = chain(4, seals=(4,))
    lines.insert(2, line)
    assert "unreadable" in {problem.kind for problem in checked(lines).problems}


def test_random_damage_is_found() -> None:
    draw = random.Random(5)
    for _ in range(200):
        lines = chain(12, seals=(5, 12))
        before = list(lines)
        for _ in range(draw.randint(1, 3)):
            number = draw.randrange(len(lines))
            what = draw.choice(("drop", "swap", "edit"))
            if what == "drop" and 0 < number < len(lines) - 1:
                del lines[number]
            elif what == "swap":
                other = draw.randrange(len(lines))
                lines[number], lines[other] = lines[other], lines[number]
            elif what == "edit":
                lines[number] = lines[number].replace(b"key:", b"kez:")
        assert bool(checked(lines).problems) is (lines != before)
