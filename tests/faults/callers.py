"""Callers of a service while its parts fail: calls come at a steady rate, and every attempt is noted.

Each call is made by the client of the package, which repeats it as it does for everybody. What was acknowledged goes
into a ledger, and is looked for at the end.
"""

import asyncio
import base64
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.verification import photo_250
from sameface.client.enums import Outcome
from sameface.client.errors import ServiceError
from tests.faults.attempts import OK, Attempt, Look, Road, is_settled
from tests.faults.noting import NotingClient
from tests.qdrant.ledger import Ledger, Operation, Violation, broken

GALLERY = "faults"
PEOPLE = {"jacinda": ("jacinda_ardern_2018.jpg", "jacinda_ardern_2022.jpg")} | {
    "emmanuel": ("emmanuel_macron_2014.jpg", "emmanuel_macron_2025.jpg")
}
"""Who is enrolled before the faults: the photo that is enrolled, and the one that is verified."""
RATES = {"verify": 4.0, "enrol": 1.0, "delete": 0.5, "get": 3.0}
"""Calls per second. They begin at their time, whether earlier ones have ended or not."""
HTTP_RATE = 2.0
TIMEOUT_S = 10.0
"""What a call may take, with its repeats."""
LATE_S = 2.0
"""An attempt that ends so long after its deadline hung."""
LOOK_EVERY_S = 0.2
KEPT = 20
"""People whom the load keeps; it deletes further ones."""
TYPELESS = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
"""Statuses that gRPC itself may give, without a reason."""


class Load:
    """Calls of all kinds on one service."""

    def __init__(self, address: str, portraits: Path, seed: int, http: str = "", rates: Mapping[str, float] = RATES):
        self.attempts: list[Attempt] = []
        self.looks: list[Look] = []
        self.ledger = Ledger()
        self.violations: list[Violation] = []
        self.calls = 0
        """Calls that have ended."""
        self.failures: list[str] = []
        """Why calls failed, with all their repeats."""
        self._address, self._http, self.rates = address, http, dict(rates)
        self._draw = random.Random(seed)
        self._photos = {name: tuple(photo_250(portraits / one) for one in both) for name, both in PEOPLE.items()}
        self._number = 0
        self._unknown: set[str] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._sources: list[asyncio.Task[None]] = []
        self._client = NotingClient(address, self._noted, TIMEOUT_S)
        # Not the channel of the calls: the state of the service is asked for on a connection of its own.
        self._health = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._web = httpx.AsyncClient(base_url=http, trust_env=False, timeout=TIMEOUT_S)

    @property
    def roads(self) -> list[Road]:
        """What calls go over."""
        return [Road.PHOTO, Road.STORE, *([Road.HTTP] if self._http else [])]

    async def prepare(self) -> None:
        """Make the gallery, and enrol those who are verified."""
        await self._client.create_gallery(GALLERY, on_collision="allow", on_duplicate="allow", exist_ok=True)
        for name, (enrolled, _) in self._photos.items():
            await self._client.enroll(GALLERY, name, enrolled)

    def start(self) -> None:
        """Begin to call."""
        kinds = self._kinds()
        self._sources = [asyncio.create_task(self._regularly(rate, kinds[kind])) for kind, rate in self.rates.items()]
        self._sources.append(asyncio.create_task(self._look()))
        if self._http:
            self._sources.append(asyncio.create_task(self._regularly(HTTP_RATE, self._verify_over_http)))

    async def most(self, callers: int, seconds: float) -> float:
        """Return how many calls of this mix end in a second, where so many callers call again at once."""
        kinds, before, end = self._kinds(), self.calls, time.monotonic() + seconds

        async def caller() -> None:
            while time.monotonic() < end:
                (kind,) = self._draw.choices(list(self.rates), list(self.rates.values()))
                await self._one(kinds[kind])

        began = time.monotonic()
        await asyncio.gather(*(caller() for _ in range(callers)))
        return (self.calls - before) / (time.monotonic() - began)

    def _kinds(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {"verify": self._verify, "enrol": self._enrol, "delete": self._delete, "get": self._get}

    async def stop(self) -> None:
        """Begin no more calls, and wait for those that are open."""
        for source in self._sources:
            source.cancel()
        await asyncio.gather(*self._sources, return_exceptions=True)
        if self._calls:
            await asyncio.wait(self._calls, timeout=TIMEOUT_S + 2 * LATE_S)
        for one in self._calls:
            self._violated("hung", f"a call had not ended {2 * LATE_S:g} s after its deadline")
            one.cancel()

    async def aclose(self) -> None:
        """Give up what is open, and close the connections."""
        for task in [*self._sources, *self._calls]:
            task.cancel()
        await asyncio.gather(*self._sources, *self._calls, return_exceptions=True)
        await self._client.aclose()
        await self._health.close()
        await self._web.aclose()

    async def settled(self, quiet_s: float, within_s: float) -> bool:
        """Wait until calls of every kind succeed for ``quiet_s`` seconds. Return False if they do not in time."""
        end = time.monotonic() + within_s
        while not is_settled(self.attempts, self.roads, time.monotonic(), quiet_s):
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.1)
        return True

    async def check(self) -> None:
        """Compare what was acknowledged with what is there. No call is open."""
        seen: dict[str, list[str]] = {}
        async for one in self._client.identities(GALLERY):
            if one.id not in PEOPLE and one.id not in self._unknown:
                seen[one.id] = [one.consent_reference] * one.template_count
        for unknown in self._unknown:
            self.ledger.state.pop(unknown, None)
        self.violations += broken(self.ledger, seen, seen)

    def _noted(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)
        status, _, reason = attempt.answer.partition(" ")
        if attempt.failed and (status in ("INTERNAL", "UNKNOWN") or not (reason or status in TYPELESS)):
            self._violated("untyped", attempt.answer)
        if attempt.ended - attempt.began > TIMEOUT_S + LATE_S:
            self._violated("hung", f"an attempt took {attempt.ended - attempt.began:.1f} s")

    def _violated(self, kind: str, what: str) -> None:
        self.violations.append(Violation(kind, what))

    async def _regularly(self, rate: float, call: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(self._draw.expovariate(rate))
            task = asyncio.ensure_future(self._one(call))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)

    async def _one(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except ServiceError as error:
            self.failures.append(f"{error.code.name} {error.reason}".strip())
        except Exception as error:
            # The client promises typed errors alone.
            self.failures.append(type(error).__name__)
            self._violated("untyped", f"{type(error).__name__}: {error}")
        self.calls += 1

    async def _look(self) -> None:
        stub: Any = health_pb2_grpc.HealthStub(self._health)
        while True:
            state = "no answer"
            with suppress(grpc.RpcError):
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
                state = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            self.looks.append(Look(time.monotonic(), state))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _verify(self) -> None:
        claimed, shown = self._draw.choice(list(PEOPLE)), self._draw.choice(list(PEOPLE))
        answer = await self._client.verify(GALLERY, claimed, self._photos[shown][1], scope="claim")
        wanted = Outcome.MATCH if claimed == shown else Outcome.NO_MATCH
        if answer.decision.outcome != wanted:
            self._violated("wrong", f"{shown} as {claimed} is {answer.decision.outcome.name}")

    async def _verify_over_http(self) -> None:
        claimed = self._draw.choice(list(PEOPLE))
        photo = base64.b64encode(self._photos[claimed][1]).decode()
        began = time.monotonic()
        try:
            answer = await self._web.post(
                f"/v1/galleries/{GALLERY}/identities/{claimed}:verify",
                json={"sample": {"photo": photo}, "scope": "SCOPE_CLAIM"},
            )
        except httpx.TimeoutException:
            told = "no answer in time"
        except httpx.HTTPError as error:
            told = f"no answer ({type(error).__name__})"
        else:
            told = OK if answer.status_code == 200 else f"{answer.status_code} {_reason(answer)}".strip()
            if answer.status_code == 200 and answer.json()["decision"]["outcome"] != "OUTCOME_MATCH":
                self._violated("wrong", f"{claimed} over HTTP is {answer.json()['decision']['outcome']}")
        self.attempts.append(Attempt(Road.HTTP, began, time.monotonic(), told))

    async def _enrol(self) -> None:
        self._number += 1
        one = Operation(f"f{self._number}", "enrol", f"p{self._number}", (f"p{self._number}",))
        photo = self._draw.choice(list(self._photos.values()))[0]
        await self._change(
            one,
            self._client.enroll(
                GALLERY, one.identity, photo, consent_reference=one.identity, request_id=_uuid(self._draw)
            ),
        )

    async def _delete(self) -> None:
        free = [one for one in self.ledger.state if not self.ledger.busy(one) and one not in self._unknown]
        if len(free) > KEPT:
            self._number += 1
            one = Operation(f"f{self._number}", "delete", self._draw.choice(free))
            await self._change(one, self._client.delete_identity(GALLERY, one.identity, force=True))
        else:
            await self._get()

    async def _change(self, operation: Operation, call: Awaitable[object]) -> None:
        self.ledger.begin(operation)
        try:
            await call
        except BaseException:
            # Nobody knows what it did.
            self.ledger.open.pop(operation.number)
            self._unknown.add(operation.identity)
            raise
        self.ledger.done(operation.number)

    async def _get(self) -> None:
        known = [one for one in self.ledger.state if not self.ledger.busy(one) and one not in self._unknown]
        gone = [one for one in self.ledger.removed if one not in self._unknown]
        identity = self._draw.choice(known or list(PEOPLE)) if not gone or self._draw.random() < 0.8 else gone[-1]
        changes = self.ledger.changes[identity]
        try:
            await self._client.get_identity(GALLERY, identity)
            there = True
        except ServiceError as error:
            if error.reason != "IDENTITY_NOT_FOUND":
                raise
            there = False
        if self.ledger.changes[identity] == changes and there != (identity in self.ledger.state or identity in PEOPLE):
            self._violated("lost" if not there else "back", identity)


def _reason(answer: httpx.Response) -> str:
    with suppress(ValueError, AttributeError):
        for detail in answer.json().get("details", ()):
            if "reason" in detail:
                return str(detail["reason"])
    return ""


def _uuid(draw: random.Random) -> str:
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))
