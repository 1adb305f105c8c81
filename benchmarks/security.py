"""Measures what TLS, a token and the audit log cost together: alternately on a service with them and on one without.

Latency: one verification at a time, first on the one and then on the other. Throughput: some callers at once for some
seconds on the one, then on the other, again and again; a pair of such turns gives one ratio.
"""

import asyncio
import json
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from rich.console import Console
from rich.table import Table

from benchmarks.verification import WARM_UP, photo_250
from sameface.client import AsyncClient
from sameface.launcher import served
from tests.access.authorities import Authority

ISSUER, AUDIENCE = "https://issuer.example", "sameface"
CALLERS = 4
LIMITS = {"throughput": 0.95, "added_ms": 1.0}

CONFIG = """
[tls]
certificate = "{certificate}"
private_key = "{key}"
[access]
required = true
grants = "{folder}/grants.toml"
[[access.issuers]]
issuer = "{issuer}"
audience = "{audience}"
jwks = "{folder}/jwks.json"
[audit]
enabled = true
"""
GRANTS = """
[[grant]]
caller = "token:bench"
gallery = "*"
roles = ["admin"]
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Measurements on both services, in the order of the turns."""

    plain_ms: list[float]
    secured_ms: list[float]
    plain_per_s: list[float]
    secured_per_s: list[float]

    @property
    def added_ms(self) -> float:
        """Median of the secured verifications less the median of the plain ones."""
        return statistics.median(self.secured_ms) - statistics.median(self.plain_ms)

    @property
    def throughput_ratios(self) -> list[float]:
        """Secured divided by plain, for each pair of turns."""
        return [secured / plain for secured, plain in zip(self.secured_per_s, self.plain_per_s, strict=True)]

    def summary(self) -> dict[str, Any]:
        """Return the figures, rounded."""
        ratios = self.throughput_ratios
        return {
            "verify_plain_ms": round(statistics.median(self.plain_ms), 2),
            "verify_secured_ms": round(statistics.median(self.secured_ms), 2),
            "added_ms": round(self.added_ms, 2),
            "plain_per_s": round(statistics.median(self.plain_per_s), 1),
            "secured_per_s": round(statistics.median(self.secured_per_s), 1),
            "throughput_ratio": round(statistics.median(ratios), 3),
            "throughput_ratios": [round(one, 3) for one in sorted(ratios)],
            "calls": len(self.plain_ms),
        }


def measure_security(portraits: Path, calls: int, turns: int, turn_s: float) -> Cost:
    """Start both services, and measure."""
    with TemporaryDirectory(prefix="sf-") as name, ExitStack() as services:
        folder = Path(name)
        token, config = _identity(folder)
        plain = services.enter_context(served(folder / "plain", folder / "plain.log"))
        secured = services.enter_context(served(folder / "secured", folder / "secured.log", ["--config", str(config)]))
        trusted = grpc.ssl_channel_credentials((folder / "authority.ca.pem").read_bytes())
        metadata = [("authorization", f"Bearer {token}")]
        photos = [photo_250(portraits / f"jacinda_ardern_{year}.jpg") for year in (2018, 2022)]

        async def measure() -> Cost:
            clients = AsyncClient(plain.address), AsyncClient(secured.address, credentials=trusted, metadata=metadata)
            return await _measure(*clients, photos, (calls, turns, turn_s))

        return asyncio.run(measure())


def _identity(folder: Path) -> tuple[str, Path]:
    """Make certificates, a key of an issuer, a token and the settings. Return the token and the file of settings."""
    server = Authority("authority", folder).issue("localhost", file="server")
    key = ec.generate_private_key(ec.SECP256R1())
    public = {**json.loads(ECAlgorithm.to_jwk(key.public_key())), "kid": "one", "alg": "ES256", "use": "sig"}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    (folder / "grants.toml").write_text(GRANTS)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "bench", "exp": int(time.time()) + 3600}
    config = folder / "config.toml"
    config.write_text(
        CONFIG.format(certificate=server.certificate, key=server.key, folder=folder, issuer=ISSUER, audience=AUDIENCE)
    )
    return jwt.encode(claims, key, "ES256", headers={"kid": "one"}), config


async def _measure(plain: AsyncClient, secured: AsyncClient, photos: list[bytes], size: tuple[int, int, float]) -> Cost:
    calls, turns, turn_s = size
    cost = Cost([], [], [], [])
    async with plain, secured:
        for client in (plain, secured):
            await client.create_gallery("bench")
            await client.enroll("bench", "someone", photos[0])

        async def once(client: AsyncClient) -> float:
            began = time.perf_counter()
            await client.verify("bench", "someone", photos[1])
            return (time.perf_counter() - began) * 1e3

        async def turn(client: AsyncClient) -> float:
            began, done = time.perf_counter(), 0

            async def call() -> None:
                nonlocal done
                while time.perf_counter() - began < turn_s:
                    await once(client)
                    done += 1

            await asyncio.gather(*(call() for _ in range(CALLERS)))
            return done / (time.perf_counter() - began)

        for number in range(WARM_UP + calls):
            pair = await once(plain), await once(secured)
            if number >= WARM_UP:
                cost.plain_ms.append(pair[0])
                cost.secured_ms.append(pair[1])
        for number in range(turns):
            # Each side begins every other pair, so that what changes slowly cancels out.
            order = (plain, secured) if number % 2 == 0 else (secured, plain)
            for client in order:
                (cost.plain_per_s if client is plain else cost.secured_per_s).append(await turn(client))
    return cost


def print_security(cost: Cost) -> None:
    """Print a table."""
    figures, ratios = cost.summary(), cost.throughput_ratios
    table = Table(title="TLS, a token (ES256) and the audit log together", title_justify="left")
    for heading in ("figure", "without", "with", "cost", "limit"):
        table.add_column(heading)
    table.add_row(
        f"verify one 250×250 photo, median of {figures['calls']}",
        f"{figures['verify_plain_ms']} ms",
        f"{figures['verify_secured_ms']} ms",
        f"{figures['added_ms']:+} ms",
        f"≤ {LIMITS['added_ms']:g} ms",
    )
    table.add_row(
        f"verifications per second, {CALLERS} callers",
        f"{figures['plain_per_s']}",
        f"{figures['secured_per_s']}",
        f"ratio {figures['throughput_ratio']} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)",
        f"≥ {LIMITS['throughput']:g}",
    )
    Console(width=120 if not Console().is_terminal else None).print(table)
