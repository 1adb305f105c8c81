"""Bearer tokens of OpenID providers: signed JWTs (RFC 7519), checked with the keys that their issuer publishes.

PyJWT does the cryptography. The keys (JWKS, RFC 7517) come from a file or a URL. They are fetched again when they are
old, or when a token names a key that is not among them. If the URL does not answer, the keys at hand are used for
`Issuer.keys_max_age_s`, and then tokens are refused.
"""

import asyncio
import json
import logging
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import jwt
from annotated_types import Ge, Gt
from jwt.utils import base64url_decode, base64url_encode

from sameface.errors import CredentialsRefused, CredentialsUncheckable
from sameface_qdrant.errors import InvalidArgument

log = logging.getLogger(__name__)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead to an address without encryption."""

    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirect)

ALGORITHMS: Mapping[str, str] = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}
"""Signature algorithms that are accepted, with the type of key that each needs. None of them is symmetric: a public key
is never taken for a shared secret."""
LONGEST_TOKEN = 8192
LARGEST_JWKS = 1 << 20
FETCH_S = 5.0
NEW_KEY_EVERY_S = 10.0
"""An unknown key id makes the keys be fetched again, but no more often than this."""
RETRY_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class Issuer:
    """An OpenID provider whose tokens are accepted."""

    issuer: str
    """The ``iss`` of its tokens."""
    audience: str
    """The ``aud`` of tokens for this service."""
    jwks: str
    """Its keys: an https URL, or a file; http only on this machine."""
    name: str = ""
    """Keeps the callers of several issuers apart: a caller is ``token:{name}/{subject}``, or ``token:{subject}``
    without a name. The same holds for groups."""
    subject_claim: str = "sub"
    """The claim that names the caller."""
    groups_claim: str = ""
    """A claim with a list of groups, or with words separated by blanks such as ``scope``. The caller has the grants of
    each as ``group:{name}/{value}``."""
    leeway_s: Annotated[float, Ge(0)] = 30.0
    """How far the clocks may differ, in seconds."""
    refresh_s: Annotated[float, Gt(0)] = 300.0
    """Age in seconds at which the keys are fetched again."""
    keys_max_age_s: Annotated[float, Gt(0)] = 86400.0
    """Age in seconds up to which keys are used while they cannot be fetched."""

    @property
    def is_file(self) -> bool:
        """Whether the keys are in a file."""
        return urlsplit(self.jwks).scheme not in ("http", "https")

    def check(self) -> None:
        """Raise InvalidArgument if the keys would travel unencrypted over a network."""
        parts = urlsplit(self.jwks)
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise InvalidArgument(
                f"the keys of the issuer {self.issuer} come from {self.jwks}; expected https, or a file",
                metadata={"field": "jwks"},
            )


@dataclass(slots=True)
class _Keys:
    """The keys of one issuer."""

    by_id: dict[str, jwt.PyJWK] = field(default_factory=dict)
    fetched: float = float("-inf")
    asked: float = float("-inf")


class Tokens:
    """Checks tokens of the issuers that the settings name."""

    def __init__(self, issuers: Sequence[Issuer], clock: Callable[[], float] = time.monotonic) -> None:
        for one in issuers:
            one.check()
            if "/" in one.name or (not one.name and len(issuers) > 1):
                raise InvalidArgument(
                    f"the name of the issuer {one.issuer} is {one.name!r}; several issuers need names without a slash, "
                    "so that their callers are told apart",
                    metadata={"field": "issuers"},
                )
        for what, values in (("issuer", [one.issuer for one in issuers]), ("name", [one.name for one in issuers])):
            if len(set(values)) < len(values):
                raise InvalidArgument(
                    f"two issuers have the same {what}; give each its own, so that their callers are told apart",
                    metadata={"field": "issuers"},
                )
        self._issuers = {one.issuer: one for one in issuers}
        self._keys = {one.issuer: _Keys() for one in issuers}
        self._clock = clock
        self._fetching: dict[str, asyncio.Task[None]] = {}

    async def principals(self, token: str) -> tuple[str, ...]:
        """Return the names under which the caller of a valid token may have grants; the first one is its own.

        Raises:
            CredentialsRefused: the token is not valid. The cause says why, for the log alone.
            CredentialsUncheckable: the issuer's keys are not known, or too old, and cannot be fetched.
        """
        try:
            if len(token) > LONGEST_TOKEN:
                raise jwt.InvalidTokenError(f"the token has {len(token)} characters")
            _check_canonical(token)
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
                raise jwt.InvalidAlgorithmError("the algorithm is not accepted")
            # Only to choose the keys. The signature is checked before anything else is believed.
            claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
            issuer = self._issuers.get(claimed) if isinstance(claimed, str) else None
            if issuer is None:
                raise jwt.InvalidIssuerError("the issuer is not known")
            key = await self._key(issuer, key_id)
            if key is None or key.key_type != ALGORITHMS[algorithm] or key.algorithm_name not in (None, algorithm):
                raise jwt.InvalidKeyError("the issuer has no such key for this algorithm")
            claims = jwt.decode(
                token,
                key=key.key,
                algorithms=[algorithm],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=issuer.leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
            return _principals(issuer, claims)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise CredentialsRefused("the token is not valid") from error

    async def warm_up(self) -> None:
        """Fetch the keys of every issuer, so that the first call does not wait. A failure is only logged."""
        for issuer in self._issuers.values():
            await self._refresh(issuer)

    async def check(self) -> None:
        """Raise CredentialsUncheckable if the keys of an issuer are not known, or too old, and cannot be fetched."""
        for issuer in self._issuers.values():
            await self._fresh(issuer)

    async def aclose(self) -> None:
        """Stop fetching."""
        for task in tuple(self._fetching.values()):
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    async def _fresh(self, issuer: Issuer) -> None:
        """Fetch the keys of an issuer if they are too old.

        Raises:
            CredentialsUncheckable: they cannot be fetched.
        """
        keys, now = self._keys[issuer.issuer], self._clock()
        if now - keys.fetched <= issuer.keys_max_age_s:
            return
        if now - keys.asked > RETRY_AFTER_S:
            await self._refresh(issuer)
        if self._clock() - keys.fetched > issuer.keys_max_age_s:
            raise CredentialsUncheckable(
                "the keys of the token's issuer cannot be had at the moment; repeat the call",
                metadata={"issuer": issuer.issuer},
                retry_after_s=RETRY_AFTER_S,
            )

    async def _key(self, issuer: Issuer, key_id: Any) -> jwt.PyJWK | None:
        await self._fresh(issuer)
        keys, now = self._keys[issuer.issuer], self._clock()
        if now - keys.fetched > issuer.refresh_s and now - keys.asked > NEW_KEY_EVERY_S:
            self._refresh_beside(issuer)
        found = _chosen(keys.by_id, key_id)
        if found is None and self._clock() - keys.asked > NEW_KEY_EVERY_S:
            await self._refresh(issuer)
            found = _chosen(keys.by_id, key_id)
        return found

    def _refresh_beside(self, issuer: Issuer) -> asyncio.Task[None]:
        running = self._fetching.get(issuer.issuer)
        if running is None or running.done():
            running = self._fetching[issuer.issuer] = asyncio.create_task(self._fetch(issuer))
        return running

    async def _refresh(self, issuer: Issuer) -> None:
        # Calls that wait for the same keys share one fetch.
        await asyncio.shield(self._refresh_beside(issuer))

    async def _fetch(self, issuer: Issuer) -> None:
        keys = self._keys[issuer.issuer]
        keys.asked = self._clock()
        try:
            content = await asyncio.to_thread(_read, issuer)
            found = jwt.PyJWKSet.from_dict(json.loads(content)).keys
        except (OSError, ValueError, jwt.PyJWTError, TypeError, AttributeError, HTTPException, RecursionError) as error:
            log.warning("the keys of the issuer %s cannot be read from %s: %s", issuer.issuer, issuer.jwks, error)
            return
        # A key without an id is the only one of its set.
        keys.by_id = {one.key_id or "": one for one in found if one.public_key_use in (None, "sig")}
        keys.fetched = self._clock()


def _check_canonical(token: str) -> None:
    """Raise ValueError if there is another text for the same token: base64 may end with bits that nothing reads."""
    for part in token.split("."):
        if base64url_encode(base64url_decode(part)) != part.encode():
            raise jwt.InvalidTokenError("a part of the token is not encoded as RFC 7515 says")


def _chosen(keys: Mapping[str, jwt.PyJWK], key_id: Any) -> jwt.PyJWK | None:
    if key_id is None and len(keys) == 1:
        return next(iter(keys.values()))
    return keys.get(key_id) if isinstance(key_id, str) else None


def _read(issuer: Issuer) -> bytes:
    if issuer.is_file:
        return Path(issuer.jwks).read_bytes()
    with _OPENER.open(issuer.jwks, timeout=FETCH_S) as answer:
        content: bytes = answer.read(LARGEST_JWKS + 1)
    if len(content) > LARGEST_JWKS:
        raise ValueError(f"the keys have more than {LARGEST_JWKS} bytes")
    return content


def _principals(issuer: Issuer, claims: Mapping[str, Any]) -> tuple[str, ...]:
    subject = claims.get(issuer.subject_claim)
    if not isinstance(subject, str) or not subject:
        raise jwt.InvalidTokenError(f"the claim {issuer.subject_claim} names nobody")
    groups = claims.get(issuer.groups_claim, []) if issuer.groups_claim else []
    if isinstance(groups, str):
        groups = groups.split()
    if not isinstance(groups, list):
        groups = []
    start = f"{issuer.name}/" if issuer.name else ""
    return (f"token:{start}{subject}", *(f"group:{start}{one}" for one in groups if isinstance(one, str)))
