"""Whatever is done to the lines of an audit log is found."""

import json
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sameface.audit.chain import FIRST, SEAL, Checked, check, linked, signed_content

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


def test_no_entry_is_a_whole_chain() -> None:
    assert checked([]) == Checked(0, 0, "", 0, 0, ())


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
    lines = chain(8)
    kind = data.draw(st.sampled_from(["removed", "moved", "repeated"]))
    one = data.draw(st.integers(0, 6 if kind == "removed" else 7))
    if kind == "removed":
        del lines[one]
        if one == 0:  # as where an old file was removed: the number says so
            assert checked(lines).first_number == 2
            return
    elif kind == "moved":
        other = data.draw(st.integers(0, 7).filter(lambda where: where != one))
        lines.insert(other, lines.pop(one))
    else:
        lines.insert(data.draw(st.integers(0, 8)), lines[one])
    assert checked(lines).problems


def test_an_end_that_is_cut_is_found_with_a_hash_that_was_kept() -> None:
    lines = chain(8)
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
    lines = chain(4)
    lines.insert(2, line)
    assert "unreadable" in {problem.kind for problem in checked(lines).problems}


def test_random_damage_is_found() -> None:
    draw = random.Random(5)
    for _ in range(200):
        lines = chain(12, seals=(5, 10))
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
