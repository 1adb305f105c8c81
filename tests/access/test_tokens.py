"""Tokens of an OpenID provider let in whom they name, if the provider signed them for this service and now."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sameface.access.tokens import LONGEST_TOKEN, NEW_KEY_EVERY_S, RETRY_AFTER_S, Issuer, Tokens
from sameface.errors import CredentialsRefused, CredentialsUncheckable
from sameface_qdrant.errors import InvalidArgument

ISSUER, AUDIENCE = "https://login.example", "sameface"
KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
OTHERS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def jwk(algorithm: str, key: Any, key_id: str) -> dict[str, Any]:
    """The public key as its issuer publishes it."""
    published = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**published, "kid": key_id, "alg": algorithm, "use": "sig"}


def publish(path: Path, keys: dict[str, Any]) -> None:
    path.write_text(json.dumps({"keys": [jwk(name, key, name) for name, key in keys.items()]}))


def claims(**changed: Any) -> dict[str, Any]:
    """Claims of a good token; None removes one."""
    usual = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "exp": time.time() + 600, "groups": ["door", "desk"]}
    return {name: value for name, value in {**usual, **changed}.items() if value is not None}


def signed(algorithm: str = "ES256", key: Any = None, key_id: str | None = None, **changed: Any) -> str:
    headers = {"kid": algorithm if key_id is None else key_id}
    return jwt.encode(claims(**changed), key or KEYS[algorithm], algorithm, headers=headers)


def write(path: Path, content: str) -> None:
    path.write_text(content)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    publish(path, KEYS)
    return path


def tokens_of(jwks: Path, clock: Callable[[], float] = time.monotonic, **options: Any) -> Tokens:
    return Tokens([Issuer(ISSUER, AUDIENCE, str(jwks), groups_claim="groups", **options)], clock)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_token_names_its_caller_and_the_groups(jwks: Path, algorithm: str) -> None:
    assert await tokens_of(jwks).principals(signed(algorithm)) == ("token:alice", "group:door", "group:desk")
    named = tokens_of(jwks, name="work")
    assert await named.principals(signed(algorithm)) == ("token:work/alice", "group:work/door", "group:work/desk")


async def test_groups_may_be_words_of_a_text(jwks: Path) -> None:
    tokens = Tokens([Issuer(ISSUER, AUDIENCE, str(jwks), groups_claim="scope", subject_claim="client_id")])
    token = signed(scope="read write", client_id="door", sub=None)
    assert await tokens.principals(token) == ("token:door", "group:read", "group:write")


def unsigned(header: dict[str, Any], payload: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def with_public_key_as_secret(algorithm: str) -> str:
    """Key confusion: signed with HMAC under what everybody knows."""
    import hashlib
    import hmac

    pem = KEYS[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    body = unsigned({"alg": "HS256", "kid": algorithm, "typ": "JWT"}, claims()).rpartition(".")[0]
    mac = hmac.new(pem, body.encode(), hashlib.sha256).digest()
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def swapped_payload() -> str:
    header, _, signature = signed().split(".")
    payload = unsigned({}, claims(sub="boss")).split(".")[1]
    return f"{header}.{payload}.{signature}"


BAD: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "no token": lambda: "hello",
    "two parts": lambda: "a.b",
    "no JSON": lambda: "!!.!!.!!",
    "alg none": lambda: unsigned({"alg": "none", "kid": "ES256"}, claims()),
    "alg None with a signature": lambda: unsigned({"alg": "None", "kid": "ES256"}, claims(), b"x" * 64),
    "alg a list": lambda: unsigned({"alg": ["ES256"], "kid": "ES256"}, claims(), b"x" * 64),
    "no alg": lambda: unsigned({"kid": "ES256"}, claims(), b"x" * 64),
    "no signature": lambda: unsigned({"alg": "ES256", "kid": "ES256"}, claims()),
    "zero signature": lambda: unsigned({"alg": "ES256", "kid": "ES256"}, claims(), bytes(64)),
    "RSA key as HMAC secret": lambda: with_public_key_as_secret("RS256"),
    "EC key as HMAC secret": lambda: with_public_key_as_secret("ES256"),
    "forged RS256": lambda: signed("RS256", OTHERS["RS256"]),
    "forged ES256": lambda: signed("ES256", OTHERS["ES256"]),
    "forged EdDSA": lambda: signed("EdDSA", OTHERS["EdDSA"]),
    "another algorithm of the same key": lambda: signed("PS256", KEYS["RS256"], "RS256"),
    "the id of a key of another type": lambda: signed("ES256", key_id="RS256"),
    "unknown key": lambda: signed(key_id="nobody"),
    "key id no text": lambda: unsigned({"alg": "ES256", "kid": 3}, claims(), bytes(64)),
    "key id a path": lambda: signed(key_id="../../etc/passwd"),
    "key in the header": lambda: jwt.encode(
        claims(), OTHERS["ES256"], "ES256", headers={"jwk": jwk("ES256", OTHERS["ES256"], "x"), "kid": "x"}
    ),
    "key URL in the header": lambda: jwt.encode(
        claims(), OTHERS["ES256"], "ES256", headers={"jku": "https://evil.example/jwks", "kid": "x"}
    ),
    "critical header": lambda: jwt.encode(claims(), KEYS["ES256"], "ES256", headers={"kid": "ES256", "crit": ["b64"]}),
    "changed payload": swapped_payload,
    "expired": lambda: signed(exp=time.time() - 100),
    "never expires": lambda: signed(exp=None),
    "expiry no number": lambda: signed(exp="never"),
    "not yet valid": lambda: signed(nbf=time.time() + 600),
    "issued in the future": lambda: signed(iat=time.time() + 600),
    "another audience": lambda: signed(aud="elsewhere"),
    "no audience": lambda: signed(aud=None),
    "another issuer": lambda: signed(iss="https://evil.example"),
    "issuer with a slash": lambda: signed(iss=ISSUER + "/"),
    "no issuer": lambda: signed(iss=None),
    "issuer no text": lambda: unsigned({"alg": "ES256", "kid": "ES256"}, claims(iss=["x"]), bytes(64)),
    "nobody": lambda: signed(sub=None),
    "empty subject": lambda: signed(sub=""),
    "subject no text": lambda: unsigned({"alg": "ES256", "kid": "ES256"}, claims(sub=3), bytes(64)),
    "too large": lambda: signed(filler="x" * LONGEST_TOKEN),
    "deep": lambda: unsigned({"alg": "ES256", "kid": "ES256"}, {}).replace(".", "." + "W1tb" * 2000, 1)[:LONGEST_TOKEN],
}


@pytest.mark.parametrize("kind", BAD)
async def test_every_other_token_is_refused_without_a_hint(jwks: Path, kind: str) -> None:
    with pytest.raises(CredentialsRefused) as refused:
        await tokens_of(jwks).principals(BAD[kind]())
    assert (refused.value.message, refused.value.metadata) == ("the token is not valid", {})


@given(position=st.integers(0, 400), letter=st.sampled_from("AZaz09-_."))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_token_with_one_other_letter_is_refused(jwks: Path, position: int, letter: str) -> None:
    token = signed("EdDSA")
    position = min(position, len(token) - 1)
    changed = token[:position] + letter + token[position + 1 :]
    # The last letter of a base64 text has bits that mean nothing.
    decoded = [base64.urlsafe_b64decode(part + "==") for part in token.split(".")]
    if changed.count(".") == 2 and [base64.urlsafe_b64decode(part + "==") for part in changed.split(".")] == decoded:
        return
    with pytest.raises(CredentialsRefused):
        await tokens_of(jwks).principals(changed)


@given(token=st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: raw.decode("latin-1"))))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_text_is_a_token(jwks: Path, token: str) -> None:
    with pytest.raises(CredentialsRefused):
        await tokens_of(jwks).principals(token)


async def test_clocks_may_differ_a_little(jwks: Path) -> None:
    assert await tokens_of(jwks).principals(signed(exp=time.time() - 10, nbf=time.time() + 10))


async def test_new_keys_are_fetched_when_a_token_names_one(jwks: Path) -> None:
    clock = Clock()
    tokens = tokens_of(jwks, clock)
    new = signed("ES256", OTHERS["ES256"], "new")
    assert await tokens.principals(signed())
    write(jwks, json.dumps({"keys": [jwk("ES256", OTHERS["ES256"], "new")]}))
    with pytest.raises(CredentialsRefused):  # no more often than that
        await tokens.principals(new)
    clock.now += NEW_KEY_EVERY_S + 1
    assert await tokens.principals(new)
    with pytest.raises(CredentialsRefused):  # its key was withdrawn
        await tokens.principals(signed())


async def test_keys_at_hand_go_on_for_a_while_when_the_issuer_is_away(jwks: Path) -> None:
    clock = Clock()
    tokens = tokens_of(jwks, clock, refresh_s=60, keys_max_age_s=1000)
    assert await tokens.principals(signed())
    away = jwks.with_name("elsewhere")
    os.replace(jwks, away)
    clock.now = 999
    assert await tokens.principals(signed())
    clock.now = 1001
    with pytest.raises(CredentialsUncheckable) as refused:
        await tokens.principals(signed())
    assert refused.value.retry_after_s
    os.replace(away, jwks)
    clock.now += RETRY_AFTER_S + 1
    assert await tokens.principals(signed())


async def test_an_issuer_that_never_answered_lets_nobody_in(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path / "missing.json")
    await tokens.warm_up()
    with pytest.raises(CredentialsUncheckable):
        await tokens.principals(signed())


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "AAAA", "kid": "ES256"}]}']
)
async def test_a_key_set_that_is_none_is_no_key_set(tmp_path: Path, content: str) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(content)
    with pytest.raises((CredentialsUncheckable, CredentialsRefused)):
        await tokens_of(path).principals(signed())


async def test_a_key_without_an_id_is_used_if_it_is_the_only_one(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    alone = {name: value for name, value in jwk("ES256", KEYS["ES256"], "").items() if name != "kid"}
    path.write_text(json.dumps({"keys": [alone]}))
    assert await tokens_of(path).principals(jwt.encode(claims(), KEYS["ES256"], "ES256"))


@pytest.mark.parametrize("url", ["http://login.example/jwks", "http://10.0.0.1/jwks"])
def test_keys_do_not_travel_over_a_network_without_encryption(url: str) -> None:
    with pytest.raises(InvalidArgument, match="https"):
        Tokens([Issuer(ISSUER, AUDIENCE, url)])


@pytest.mark.parametrize("names", [("", ""), ("", "b"), ("a", "a"), ("a", "b/c"), ("a/b",)])
def test_several_issuers_need_names_that_keep_their_callers_apart(names: tuple[str, ...]) -> None:
    issuers = [
        Issuer(f"https://{number}.example", AUDIENCE, "jwks.json", name=name) for number, name in enumerate(names)
    ]
    with pytest.raises(InvalidArgument, match="name"):
        Tokens(issuers)


async def test_an_answer_that_is_no_http_is_no_key_set() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    tokens = Tokens([Issuer(ISSUER, AUDIENCE, f"http://127.0.0.1:{port}/jwks")])
    await tokens.warm_up()
    with pytest.raises(CredentialsUncheckable):
        await tokens.principals(signed())
    server.close()
