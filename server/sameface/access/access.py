"""Finds out who calls.

A call has ``authorization: Bearer`` with an API key or a token, or comes over a connection with a client certificate.
A key or token counts before a certificate. What is refused is refused without a reason; the log says why, without the
key or token.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sameface.access.api_keys import PREFIX, ApiKeys, KeyFile
from sameface.access.caller import EVERYBODY, Caller, Grant
from sameface.access.changing_file import ChangingFiles
from sameface.access.grants import granted, read_grants
from sameface.access.tokens import Issuer, Tokens
from sameface.errors import CredentialsMissing, CredentialsRefused, CredentialsUncheckable
from sameface_qdrant.errors import InvalidArgument, StoreTooNew

log = logging.getLogger(__name__)

Content = TypeVar("Content")
RETRY_AFTER_S = 5.0
SCHEME = "bearer "
HEADER = "authorization"


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Who may call."""

    required: bool = False
    """Whether every call needs credentials. Without this, everybody who reaches the port may do everything."""
    keys: Path | None = None
    """File of the API keys, which `sameface key` makes; None: access/keys.json in the data folder."""
    grants: Path | None = None
    """TOML file with the roles of callers with tokens and certificates."""
    issuers: tuple[Issuer, ...] = ()
    """OpenID providers whose tokens are accepted."""


class Access:
    """Finds out who calls, by the credentials that the settings accept."""

    def __init__(self, options: AccessOptions, keys: Path = Path()) -> None:
        """Read the files. ``keys`` is used where the options name no file of API keys.

        Raises:
            InvalidArgument: a file or an issuer cannot be used.
            StoreTooNew: a newer release wrote the file of API keys.
        """
        self._required = options.required
        self._tokens = Tokens(options.issuers)
        if not options.required:
            return
        file = KeyFile(options.keys or keys)
        self._keys = ChangingFiles([file.path, file.pepper_path], lambda: ApiKeys.of(file))
        self._grants: ChangingFiles[Mapping[str, tuple[Grant, ...]]] | None = None
        if options.grants is not None:
            path = options.grants
            self._grants = ChangingFiles([path], lambda: read_grants(path))

    @property
    def required(self) -> bool:
        """Whether calls need credentials."""
        return self._required

    async def start(self) -> None:
        """Fetch the keys of the issuers."""
        if self._required:
            await self._tokens.warm_up()

    def check_files(self) -> None:
        """Raise CredentialsUncheckable if the files of keys and grants cannot be used at the moment."""
        if self._required:
            _usable(self._keys)
            if self._grants is not None:
                _usable(self._grants)

    async def check_issuers(self) -> None:
        """Raise CredentialsUncheckable if the keys of an issuer of tokens are too old, and cannot be fetched."""
        if self._required:
            await self._tokens.check()

    async def aclose(self) -> None:
        """Stop fetching keys."""
        await self._tokens.aclose()

    async def caller(
        self, metadata: Iterable[tuple[str, str | bytes]], certificate_names: Iterable[str] = ()
    ) -> Caller:
        """Return who makes a call with this metadata, over a connection whose certificate has these names.

        Raises:
            CredentialsMissing: there are none.
            CredentialsRefused: they are not valid.
            CredentialsUncheckable: the issuer of the token cannot be asked at the moment.
        """
        if not self._required:
            return EVERYBODY
        given = [value for key, value in metadata if key == HEADER]
        try:
            if given:
                return await self._by_header(given)
            if names := [f"certificate:{one}" for one in certificate_names]:
                return Caller(names[0], self._granted(names))
        except CredentialsRefused as refused:
            log.warning("credentials were refused: %s", refused.__cause__ or "malformed")
            raise
        raise CredentialsMissing("the call has no credentials")

    async def _by_header(self, given: Sequence[str | bytes]) -> Caller:
        if len(given) != 1 or not isinstance(given[0], str) or given[0][: len(SCHEME)].lower() != SCHEME:
            raise CredentialsRefused("the credentials are not valid")
        credential = given[0][len(SCHEME) :].strip()
        if credential.startswith(PREFIX):
            return _usable(self._keys).caller(credential, time.time())
        principals = await self._tokens.principals(credential)
        return Caller(principals[0], self._granted(principals))

    def _granted(self, principals: Sequence[str]) -> tuple[Grant, ...]:
        return granted(_usable(self._grants), principals) if self._grants is not None else ()


def _usable(files: ChangingFiles[Content]) -> Content:
    try:
        return files.content
    except (InvalidArgument, StoreTooNew) as error:
        raise CredentialsUncheckable(
            "credentials cannot be checked at the moment; repeat the call", retry_after_s=RETRY_AFTER_S
        ) from error


OPEN = Access(AccessOptions())
"""Asks nobody for credentials."""
