"""API keys let in whoever has them, until they expire or are revoked; the file that keeps them does not."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.access.api_keys import LONGEST_KEY, PREFIX, ApiKey, ApiKeys, KeyFile
from sameface.access.caller import Grant
from sameface.access.roles import Role
from sameface.errors import CredentialsRefused
from sameface_qdrant.errors import InvalidArgument

DOOR = (Grant("staff", frozenset({Role.VERIFIER})), Grant("team-*", frozenset({Role.READER, Role.ENROLLER})))
NOW = 1_000_000.0


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "access" / "keys.json")


def is_valid(file: KeyFile, key: str, now: float | None = None) -> bool:
    try:
        ApiKeys.of(file).caller(key, time.time() if now is None else now)
    except CredentialsRefused:
        return False
    return True


def test_a_key_names_its_caller_and_what_it_may(file: KeyFile) -> None:
    record, key = file.create("door", DOOR, None)
    other, _ = file.create("desk", (), None)
    caller = ApiKeys.of(file).caller(key, time.time())
    assert (caller.name, caller.grants) == (f"key:{record.id}", DOOR)
    assert record.id != other.id


def test_the_files_do_not_contain_the_key_and_are_their_owners_alone(file: KeyFile) -> None:
    _, key = file.create("door", DOOR, None)
    secret = key.split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits in base64
    for path in file.path.parent.iterdir():
        assert secret not in path.read_bytes().decode(errors="replace")
    assert {oct(path.stat().st_mode)[-3:] for path in (file.path, file.pepper_path)} == {"600"}


def test_without_the_pepper_the_file_lets_nobody_in(file: KeyFile, tmp_path: Path) -> None:
    _, key = file.create("door", DOOR, None)
    file.pepper_path.write_bytes(bytes(32))
    with pytest.raises(InvalidArgument, match="pepper"):
        is_valid(file, key)
    file.pepper_path.unlink()
    with pytest.raises(InvalidArgument, match="pepper"):
        ApiKeys.of(file)
    with pytest.raises(InvalidArgument, match="pepper"):  # it would make all the others invalid
        file.create("desk", (), None)


@pytest.mark.parametrize(
    "change",
    [
        {"grants": [{"gallery": "*", "roles": ["admin"]}]},
        {"expires": None},
        {"revoked": None},
        {"rotated_until": 1e12},
        {"name": "desk"},
    ],
)
def test_records_that_something_else_has_changed_are_refused(file: KeyFile, change: dict[str, Any]) -> None:
    record, _ = file.create("door", DOOR, time.time() + 100)
    file.rotate(record.id, 10.0)
    file.revoke(record.id)
    file.create("gate", DOOR, None)
    stored = json.loads(file.path.read_bytes())
    assert stored["keys"][0] != {**stored["keys"][0], **change}
    stored["keys"][0].update(change)
    file.path.write_text(json.dumps(stored))
    with pytest.raises(InvalidArgument, match="has changed it"):
        file.read()
    file.path.write_text(json.dumps({**stored, "hmac": "\ud800"}))
    with pytest.raises(InvalidArgument, match="has changed it"):
        file.read()
    file.path.write_text(json.dumps({**stored, "keys": stored["keys"][1:]}))
    with pytest.raises(InvalidArgument, match="has changed it"):
        file.read()


@given(position=st.integers(0, 80), letter=st.characters(codec="ascii"))
def test_a_key_with_one_other_letter_is_refused(position: int, letter: str) -> None:
    key, record = _made()
    position = min(position, len(key) - 1)
    changed = key[:position] + letter + key[position + 1 :]
    keys = ApiKeys({record.id: record}, PEPPER)
    if changed == key:
        assert keys.caller(changed, NOW).name == f"key:{record.id}"
    else:
        with pytest.raises(CredentialsRefused) as refused:
            keys.caller(changed, NOW)
        assert refused.value.message == "the API key is not valid"


@given(text=st.text(max_size=300))
def test_no_text_is_a_key(text: str) -> None:
    _, record = _made()
    for given_key in (text, PREFIX + text, f"{PREFIX}{record.id}_{text}"):
        with pytest.raises(CredentialsRefused):
            ApiKeys({record.id: record}, PEPPER).caller(given_key, NOW)
        with pytest.raises(CredentialsRefused):
            ApiKeys({}, b"").caller(given_key, NOW)


PEPPER = b"p" * 32


def _made() -> tuple[str, ApiKey]:
    from sameface.access.api_keys import digest_of

    key = f"{PREFIX}0123456789ab_{'s' * 43}"
    return key, ApiKey("0123456789ab", "door", DOOR, (digest_of(PEPPER, key),), NOW)


def test_a_key_ends_when_it_expires_or_is_revoked(file: KeyFile) -> None:
    record, key = file.create("door", DOOR, time.time() + 100)
    assert is_valid(file, key)
    assert not is_valid(file, key, time.time() + 101)
    first = file.revoke(record.id)
    assert not is_valid(file, key)
    assert file.revoke(record.id).revoked == first.revoked
    with pytest.raises(InvalidArgument, match="revoked"):
        file.rotate(record.id, 100)
    with pytest.raises(InvalidArgument, match="no key"):
        file.revoke("000000000000")


def test_a_rotation_sets_a_new_end_and_does_not_bring_an_old_secret_back(file: KeyFile) -> None:
    now = time.time()
    record, old = file.create("door", DOOR, now - 1)
    with pytest.raises(InvalidArgument, match=r"would have ended at .* already; give a later end with --expires"):
        file.rotate(record.id, 100)
    assert not is_valid(file, old)
    rotated, new = file.rotate(record.id, 100, now + 50)
    assert rotated.expires == now + 50
    assert is_valid(file, new)
    assert not is_valid(file, old)  # it had ended before the rotation
    _, newest = file.rotate(record.id, 100)
    assert is_valid(file, new)
    assert is_valid(file, newest, now + 49)
    assert not is_valid(file, newest, now + 51)


def test_a_rotated_key_keeps_its_grants_and_the_old_one_ends_after_the_grace(file: KeyFile) -> None:
    record, old = file.create("door", DOOR, None)
    rotated, new = file.rotate(record.id, 100)
    now = time.time()
    assert rotated.grants == DOOR
    assert [is_valid(file, one, now) for one in (old, new)] == [True, True]
    assert [is_valid(file, one, now + 101) for one in (old, new)] == [False, True]
    _, newest = file.rotate(record.id, 0)
    assert [is_valid(file, one) for one in (old, new, newest)] == [False, False, True]


def test_many_programs_may_make_keys_at_the_same_time(file: KeyFile) -> None:
    program = (
        "import sys; from pathlib import Path; from sameface.access.api_keys import KeyFile\n"
        "for _ in range(5): print(KeyFile(Path(sys.argv[1])).create('x', (), None)[1])"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(file.path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    keys = [key for process in running for key in process.communicate()[0].split()]
    assert len(keys) == len(file.read()) == 15
    assert all(is_valid(file, key) for key in keys)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": 2, "keys": []}',
        b'{"format": 1}',
        b'{"format": 1, "keys": [{"id": "a"}]}',
        b'{"format": 1, "keys": [3]}',
        b"\xff",
    ],
)
def test_a_file_of_another_form_is_refused_and_stays(file: KeyFile, content: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    for use in (file.read, lambda: file.create("x", (), None), lambda: file.revoke("a")):
        with pytest.raises(InvalidArgument, match="cannot be used"):
            use()
    assert file.path.read_bytes() == content


@pytest.mark.parametrize("gallery", ["", "A", "-a", "a/b", "**", "a*b", "*a", "a" * 65])
def test_a_gallery_of_a_grant_is_an_id_its_start_or_all(gallery: str) -> None:
    with pytest.raises(InvalidArgument, match="gallery of a grant"):
        Grant.of(gallery, ["reader"])


@pytest.mark.parametrize("roles", [[], ["boss"], "reader", None, ["reader", 3]])
def test_roles_of_a_grant_are_known(roles: object) -> None:
    with pytest.raises(InvalidArgument, match="roles of a grant"):
        Grant.of("staff", roles)


def test_a_long_key_is_refused_before_it_is_read_whole(file: KeyFile) -> None:
    _, key = file.create("door", DOOR, None)
    assert not is_valid(file, key + "x" * LONGEST_KEY)
    assert json.loads(file.path.read_bytes())["keys"][0]["name"] == "door"
