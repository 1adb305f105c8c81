"""Tokens of a real OpenID provider, oidc-provider for Node.js, are accepted for whom they name, and no others."""

import asyncio
import base64
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from sameface.access import tokens as tokens_module
from sameface.access.tokens import Issuer
from tests.access.conftest import Guarded, guarded
from tests.access.test_roles import reason_of, request_for

AUDIENCE = "sameface"
GRANTS = '[[grant]]\ncaller = "token:door"\ngallery = "staff"\nroles = ["reader"]\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("provider") / "provider"
    shutil.copytree("tests/access/provider", folder)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


class Provider:
    """The provider's process."""

    def __init__(self, process: asyncio.subprocess.Process, issuer: str) -> None:
        self.process, self.issuer = process, issuer

    async def line(self, start: str) -> str:
        """The next line that begins so; the provider prints advice between them."""
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode().strip():
            if line.startswith(start):
                return line
        pytest.fail("the provider has ended")

    async def change_keys(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        await self.line("new keys")

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def ask(self, path: str, form: dict[str, str] | None = None, client: str = "") -> Any:
        basic = base64.b64encode(f"{client}:{client}-secret".encode()).decode()
        request = urllib.request.Request(
            self.issuer + path,
            data=None if form is None else urllib.parse.urlencode(form).encode(),
            headers={"authorization": f"Basic {basic}"} if client else {},
        )

        def ask() -> Any:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())

        return await asyncio.to_thread(ask)

    async def token(self, client: str, algorithm: str = "ES256", audience: str = AUDIENCE) -> str:
        resource = f"urn:{audience}:{algorithm}"
        form = {"grant_type": "client_credentials", "resource": resource, "scope": "verify"}
        given: str = (await self.ask("/token", form, client))["access_token"]
        return given


@pytest.fixture
async def provider(installed: Path) -> AsyncIterator[Provider]:
    process = await asyncio.create_subprocess_exec(
        "node",
        "provider.js",
        cwd=installed,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    started = Provider(process, "")
    started.issuer = await started.line("http")
    yield started
    await started.end()


@pytest.fixture
async def service(provider: Provider, tmp_path: Path) -> AsyncIterator[Guarded]:
    discovered = await provider.ask("/.well-known/openid-configuration")
    (tmp_path / "grants.toml").write_text(GRANTS)
    issuer = Issuer(discovered["issuer"], AUDIENCE, discovered["jwks_uri"], keys_max_age_s=3600)
    async with guarded(tmp_path, issuers=[issuer], grants=tmp_path / "grants.toml") as started:
        yield started


async def reason(service: Guarded, token: str) -> str:
    async with grpc.aio.secure_channel(service.address, service.channel_credentials()) as channel:
        return await reason_of(channel, "ListIdentities", request_for("ListIdentities", "staff"), token)


async def test_a_token_of_the_provider_is_accepted_for_whom_it_names(
    provider: Provider, service: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for algorithm in ("RS256", "ES256", "EdDSA"):
        assert await reason(service, await provider.token("door", algorithm)) == ""
    assert await reason(service, await provider.token("stranger")) == "PERMISSION_DENIED"
    assert await reason(service, await provider.token("door", audience="elsewhere")) == "CREDENTIALS_REFUSED"
    before = await provider.token("door")
    await provider.change_keys()
    monkeypatch.setattr(tokens_module, "NEW_KEY_EVERY_S", 0.0)
    assert await reason(service, await provider.token("door")) == ""
    assert await reason(service, before) == "CREDENTIALS_REFUSED"
    after = await provider.token("door")
    await provider.end()
    # The keys at hand are used on.
    assert await reason(service, after) == ""
    assert await reason(service, before) == "CREDENTIALS_REFUSED"
