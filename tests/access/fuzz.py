"""`python -m tests.access.fuzz --seconds 600`: tries changed tokens, keys, files and certificates, one after another.

None may let anybody in, and none may cause another error than the one that is documented. The same seed tries the same.
"""

import argparse
import asyncio
import itertools
import json
import logging
import os
import random
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from sameface.access.api_keys import ApiKeys, KeyFile
from sameface.access.caller import Grant
from sameface.access.grants import read_grants
from sameface.access.roles import Role
from sameface.access.tls import TlsOptions, server_credentials
from sameface.access.tokens import Issuer, Tokens
from sameface.errors import CredentialsRefused, CredentialsUncheckable
from sameface_qdrant.errors import InvalidArgument
from tests.access.authorities import Authority, Issued

ISSUER, AUDIENCE = "https://login.example", "sameface"
PIECES = (b"", b"\x00", b"=", b".", b"..", b"null", b"-1", b"1e999", b'{"', b"[" * 3000, b"\xff\xfe", b"none", b"HS256")


class Passed(Exception):
    """Something that was changed let somebody in."""


def changed(draw: random.Random, content: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Return the content with a few changes of different kinds."""
    result = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        at, until = sorted(draw.randrange(len(result) + 1) for _ in range(2))
        kind = draw.randrange(7)
        if kind == 0 and result:
            result[draw.randrange(len(result))] ^= 1 << draw.randrange(8)
        elif kind == 1:
            result[at:at] = draw.choice(PIECES)
        elif kind == 2:
            del result[at : min(until, at + draw.choice((1, 4, 40)))]
        elif kind == 3:
            result[at:until] = result[at:until][::-1]
        elif kind == 4:
            result[at:at] = result[at:until]
        elif kind == 5 and others:
            other = draw.choice(others)
            cut = draw.randrange(len(other) + 1)
            result[at:] = other[cut:]
        else:
            result[at:until] = draw.randbytes(draw.choice((1, 3, 30)))
    return bytes(result)


class Fuzz:
    """The targets. Each tries one change, and returns what became of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._draw = folder, random.Random(seed)
        self._keys: dict[str, Any] = {
            "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            "ES256": ec.generate_private_key(ec.SECP256R1()),
            "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        }
        published = [
            {**jwt.get_algorithm_by_name(name).to_jwk(key.public_key(), as_dict=True), "kid": name, "alg": name}
            for name, key in self._keys.items()
        ]
        self._jwks = json.dumps({"keys": published}).encode()
        (folder / "jwks.json").write_bytes(self._jwks)
        self._tokens = [
            jwt.encode(
                {"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": time.time() + 86400},
                key,
                name,
                headers={"kid": name},
            ).encode()
            for name, key in self._keys.items()
            for subject in ("alice", "bob")
        ]
        self._checker = Tokens([Issuer(ISSUER, AUDIENCE, str(folder / "jwks.json"))])
        self._file = KeyFile(folder / "keys.json")
        grants = (Grant("staff", frozenset({Role.VERIFIER})),)
        self._api_keys = [self._file.create(name, grants, None)[1].encode() for name in ("door", "desk")]
        self._stored = self._file.path.read_bytes()
        self._known = ApiKeys.of(self._file)
        self._grants = b'[[grant]]\ncaller = "token:alice"\ngallery = "staff"\nroles = ["verifier"]\n'
        authority, other = Authority("authority", folder), Authority("other", folder)
        self._server, self._client = authority.issue("localhost", file="server"), authority.issue("door")
        self._stranger = other.issue("door", file="stranger")
        self._ca = authority.path

    async def token(self) -> str:
        """A token whose text was changed."""
        good = self._draw.choice(self._tokens)
        text = changed(self._draw, good, self._tokens)
        return await self._judged(text)

    async def claims(self) -> str:
        """A token with changed claims or header and the signature of a good one, or signed with a public key."""
        head, _, rest = self._draw.choice(self._tokens).partition(b".")
        body, _, signature = rest.partition(b".")
        parts = [jwt.utils.base64url_decode(head), jwt.utils.base64url_decode(body)]
        which = self._draw.randrange(2)
        parts[which] = changed(self._draw, parts[which], (b'{"alg":"none"}', b'"exp":9e99}', b'{"alg":"HS256"}'))
        if self._draw.random() < 0.2:
            parts[0] = b'{"alg":"%s","kid":"ES256"}' % self._draw.choice((b"HS256", b"none", b"NONE", b"HS512"))
            signature = self._draw.choice((b"", signature))
        text = b".".join((*(jwt.utils.base64url_encode(part) for part in parts), signature))
        return await self._judged(text)

    async def _judged(self, text: bytes) -> str:
        if text in self._tokens:
            return "unchanged"
        try:
            await self._checker.principals(text.decode("latin-1"))
        except CredentialsRefused:
            return "refused"
        raise Passed(text)

    async def jwks(self) -> str:
        """Keys of an issuer that were changed on their way: the token is refused, or its own key is whole."""
        (self._folder / "changed.json").write_bytes(changed(self._draw, self._jwks))
        checker = Tokens([Issuer(ISSUER, AUDIENCE, str(self._folder / "changed.json"))])
        stranger = jwt.encode(
            {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": time.time() + 60},
            ec.generate_private_key(ec.SECP256R1()),
            "ES256",
            headers={"kid": "ES256"},
        )
        try:
            await checker.principals(stranger)
        except (CredentialsRefused, CredentialsUncheckable):
            return "refused"
        finally:
            await checker.aclose()
        raise Passed(stranger)

    async def api_key(self) -> str:
        """An API key that was changed."""
        text = changed(self._draw, self._draw.choice(self._api_keys), self._api_keys)
        if text in self._api_keys:
            return "unchanged"
        try:
            self._known.caller(text.decode("latin-1"), time.time())
        except CredentialsRefused:
            return "refused"
        raise Passed(text)

    async def key_file(self) -> str:
        """A file of API keys that was changed: it is refused, or says the same."""
        self._file.path.write_bytes(changed(self._draw, self._stored))
        try:
            read = self._file.read()
        except InvalidArgument:
            return "refused"
        finally:
            self._file.path.write_bytes(self._stored)
        if read and read != self._file.read():
            raise Passed(repr(read))
        return "the same" if read else "no keys"

    async def grants(self) -> str:
        """A file of grants that was changed: it is refused, or has grants."""
        path = self._folder / "grants.toml"
        path.write_bytes(changed(self._draw, self._grants))
        try:
            read_grants(path)
        except InvalidArgument:
            return "refused"
        return "read"

    async def pem(self) -> str:
        """Files of certificates and keys that were changed: they are refused, or gRPC can use them."""
        names = ("certificate", "key", "authority")
        paths = [self._folder / f"changed.{name}.pem" for name in names]
        contents = [path.read_bytes() for path in (self._server.certificate, self._server.key, self._ca)]
        which = self._draw.randrange(3)
        contents[which] = changed(self._draw, contents[which], contents)
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        try:
            server_credentials(TlsOptions(*paths))
        except InvalidArgument:
            return "refused"
        return "used"

    def certificates(self) -> "Handshakes":
        """Client certificates that were changed, in real handshakes."""
        return Handshakes(self._draw, self._server, self._client, self._stranger, self._ca)


class Handshakes:
    """A port that asks for client certificates, and clients that offer changed ones."""

    def __init__(self, draw: random.Random, server: Issued, client: Issued, stranger: Issued, authority: Path) -> None:
        self._draw, self._server, self._client, self._stranger = draw, server, client, stranger
        self._authority = authority
        self._port = 0
        self._running: grpc.aio.Server | None = None

    async def __aenter__(self) -> "Handshakes":
        credentials = server_credentials(TlsOptions(self._server.certificate, self._server.key, self._authority))
        assert credentials is not None
        self._running = grpc.aio.server()
        self._port = self._running.add_secure_port("127.0.0.1:0", credentials)
        await self._running.start()
        assert await asyncio.to_thread(self._answered, self._client.certificate, self._client.key)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._running is not None
        await self._running.stop(None)

    async def certificate(self) -> str:
        """A client certificate whose content was changed, with the right key; or that of another authority."""
        content = x509.load_pem_x509_certificate(self._client.certificate.read_bytes()).public_bytes(Encoding.DER)
        offered, key = self._client.certificate.with_name("offered.pem"), self._client.key
        if self._draw.random() < 0.1:
            offered, key = self._stranger.certificate, self._stranger.key
        else:
            different = changed(self._draw, content)
            if different == content:
                return "unchanged"
            offered.write_text(ssl.DER_cert_to_PEM_cert(different))
        if await asyncio.to_thread(self._answered, offered, key):
            raise Passed(offered.read_bytes())
        return "refused"

    def _answered(self, certificate: Path, key: Path) -> bool:
        """Return whether the server speaks HTTP/2 to a client with this certificate."""
        context = ssl.create_default_context(cafile=str(self._authority))
        context.set_alpn_protocols(["h2"])
        try:
            context.load_cert_chain(certificate, key)
            with (
                socket.create_connection(("127.0.0.1", self._port), timeout=10) as raw,
                context.wrap_socket(raw, server_hostname="127.0.0.1") as encrypted,
            ):
                encrypted.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
                return bool(encrypted.recv(64))
        except OSError:  # also ssl.SSLError: the certificate is refused here or there
            return False


async def run(seconds: float, seed: int, tell: Callable[[str], None]) -> Counter[str]:
    """Try until so many seconds of processor time are used. Return what became of the changes, by target."""
    found: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), seed)
        async with fuzz.certificates() as handshakes:
            targets = [fuzz.token, fuzz.claims, fuzz.jwks, fuzz.api_key, fuzz.key_file, fuzz.grants, fuzz.pem]
            began, told = time.process_time(), time.monotonic()
            for number in itertools.count():
                if time.process_time() - began > seconds:
                    return found
                for target in (*targets, *([handshakes.certificate] if number % 10 == 0 else [])):
                    found[f"{target.__name__}: {await target()}"] += 1
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    tell(f"{time.process_time() - began:.0f} of {seconds:g} s, {found.total()} tries")
    return found


def main() -> None:
    """Fuzz, and print what became of the tries."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    parser = argparse.ArgumentParser(prog="python -m tests.access.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="processor time (default 600)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable()  # of every try, why it was refused
    found = asyncio.run(run(options.seconds, options.seed, lambda text: print(text, file=sys.stderr, flush=True)))
    for name, count in sorted(found.items()):
        print(f"{name:<28} {count}")


if __name__ == "__main__":
    main()
