"""A mixed load on a service: every kind of call, bad photos, calls that are given up, connections that come and go.

What is enrolled is erased again, so the gallery keeps its size. Calls begin at random times (a Poisson process),
whatever happened to earlier ones. The answer to each call is checked: what is not expected is counted apart.
"""

import asyncio
import io
import random
import socket
import struct
import time
import zlib
from array import array
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.verification import photo_250
from sameface.client import ServiceError
from sameface.client.aio import AsyncClient

GALLERY = "soak"
PEOPLE = 24
"""Enrolled for the whole run, by default."""
PASSING = 8
"""Enrolled at a time, and erased after others have come."""
EXPIRES_S = 20
MOST_OPEN = 16
"""More calls than this are not begun, only counted."""
MOST_TOLD = 20
BUSY = "SERVER_BUSY"


@dataclass(frozen=True, slots=True)
class Photos:
    """What is sent."""

    portraits: dict[str, bytes]
    bad: dict[str, list[bytes]]
    """By the reason of the answer."""

    @classmethod
    def of(cls, folder: Path) -> "Photos":
        """Read the portraits of a folder, each as a photo of 250×250 pixels, and make the bad ones."""
        portraits = {path.stem: photo_250(path) for path in sorted(folder.glob("*.jpg"))}
        whole = next(iter(portraits.values()))
        noise = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "PNG")
        bad = {
            "IMAGE_UNDECODABLE": [b"not a photo", whole[: len(whole) // 3]],
            "IMAGE_TOO_LARGE": [_bomb(30_000)],
            "FACE_NOT_FOUND": [buffer.getvalue()],
        }
        return cls(portraits, bad)


def _bomb(side: int) -> bytes:
    """Return a small PNG file that says it has so many rows and columns."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@dataclass(slots=True)
class Counts:
    """What became of the calls."""

    calls: Counter[str] = field(default_factory=Counter)
    """That ended as expected, by kind."""
    busy: Counter[str] = field(default_factory=Counter)
    """Refused because the service had too much to do, by kind."""
    latencies_s: dict[str, "array[float]"] = field(default_factory=dict)
    """Of those that ended as expected, by kind; some are several calls."""
    not_begun: int = 0
    """Because too many were open."""
    unexpected: Counter[str] = field(default_factory=Counter)
    """By kind and answer; at most `MOST_TOLD` different ones."""

    def note(self, told: str) -> None:
        """Count an unexpected answer."""
        if told in self.unexpected or len(self.unexpected) < MOST_TOLD:
            self.unexpected[told] += 1
        else:
            self.unexpected["others"] += 1


class Unexpected(Exception):
    """An answer was not as it should be."""


class Load:
    """The calls."""

    def __init__(self, client: AsyncClient, address: str, photos: Photos, seed: int, people: int = PEOPLE) -> None:
        self.counts = Counts()
        self._people = people
        self._client, self._address, self._photos = client, address, photos
        self._random = random.Random(seed)  # calls, no secret
        self._passing: deque[str] = deque()
        self._numbers = iter(range(10**9))
        self._kinds: dict[str, tuple[int, Callable[[], Awaitable[None]]]] = {
            "verify": (30, self._verify),
            "identify": (12, self._identify),
            "enrol, and erase an older one": (5, self._pass_through),
            "enrol until a time": (2, self._expire),
            "stream": (6, self._stream),
            "list": (13, self._list),
            "compare": (4, self._compare),
            "detect and embed": (6, self._detect),
            "bad photo": (8, self._bad),
            "who is not enrolled": (3, self._unknown),
            "given up": (7, self._give_up),
            "a new connection": (3, self._reconnect),
            "a connection that breaks off": (2, self._break_off),
            "a gallery made and erased": (1, self._gallery),
        }
        """Each kind with its share of 102."""

    async def prepare(self) -> None:
        """Make the gallery, and all threads of the pool that reads and encodes photos."""
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.05) for _ in range(64)))
        await self._client.create_gallery(GALLERY, on_collision="warn", on_duplicate="warn")
        names = sorted(self._photos.portraits)
        for number in range(self._people):
            photo = self._photos.portraits[names[number % len(names)]]
            await self._client.enroll(GALLERY, f"person-{number}", photo)

    async def each_once(self) -> None:
        """Make a call of each kind, one after another."""
        for kind, (_, call) in self._kinds.items():
            await self._counted(kind, call)

    async def crowd(self, times: int) -> None:
        """Make a call of each kind at the same time, so often. Everything then has the size that many calls need."""
        for _ in range(times):
            await asyncio.gather(*(self._counted(kind, call) for kind, (_, call) in self._kinds.items()))

    async def run(self, seconds: float, rate: float) -> None:
        """Begin ``rate`` calls per second at random times; return when the last one has ended."""
        loop, open_calls = asyncio.get_running_loop(), set[asyncio.Task[None]]()
        kinds, weights = list(self._kinds), [weight for weight, _ in self._kinds.values()]
        due = loop.time()
        ends = due + seconds
        while (due := due + self._random.expovariate(rate)) < ends:
            await asyncio.sleep(max(0.0, due - loop.time()))
            (kind,) = self._random.choices(kinds, weights)
            if len(open_calls) >= MOST_OPEN:
                self.counts.not_begun += 1
                continue
            task = asyncio.create_task(self._counted(kind, self._kinds[kind][1]))
            open_calls.add(task)
            task.add_done_callback(open_calls.discard)
        await asyncio.gather(*open_calls)

    async def _counted(self, kind: str, call: Callable[[], Awaitable[None]]) -> None:
        began = time.monotonic()
        try:
            await call()
        except ServiceError as error:
            if error.reason == BUSY:
                self.counts.busy[kind] += 1
            else:
                self.counts.note(f"{kind}: {error.reason or error.code.name}")
        except Unexpected as error:
            self.counts.note(f"{kind}: {error}")
        else:
            self.counts.calls[kind] += 1
            self.counts.latencies_s.setdefault(kind, array("d")).append(time.monotonic() - began)

    def _photo(self) -> bytes:
        return self._photos.portraits[self._random.choice(sorted(self._photos.portraits))]

    def _person(self) -> str:
        return f"person-{self._random.randrange(self._people)}"

    async def _verify(self) -> None:
        await self._client.verify(GALLERY, self._person(), self._photo())

    async def _identify(self) -> None:
        found = await self._client.identify(GALLERY, self._photo())
        _expect(len(found.faces) == 1, f"{len(found.faces)} faces")

    async def _pass_through(self) -> None:
        person = f"passing-{next(self._numbers)}"
        await self._client.enroll(GALLERY, person, self._photo())
        self._passing.append(person)
        if len(self._passing) > PASSING:
            oldest = self._passing.popleft()
            try:
                receipt = await self._client.delete_identity(GALLERY, oldest, force=True)
            except ServiceError:
                self._passing.appendleft(oldest)  # the next one tries again
                raise
            _expect(bool(receipt.name), "no receipt")

    async def _expire(self) -> None:
        """Enrol somebody whom a sweep will erase. An identity does not expire with its templates."""
        ends = datetime.now(UTC) + timedelta(seconds=EXPIRES_S)
        person = f"expiring-{next(self._numbers)}"
        await self._client.create_identity(GALLERY, person, expire_time=ends)
        await self._client.enroll(GALLERY, person, self._photo())

    async def _stream(self) -> None:
        photos = [self._photo(), b"not a photo", self._photo()]
        answers = [answer async for answer in self._client.identify_stream(GALLERY, photos)]
        errors = [answer.error.reason if answer.error is not None else "" for answer in answers]
        # A stream whose turn does not come says so in the answer of that sample.
        _expect(len(errors) == 3 and {errors[0], errors[2]} <= {"", BUSY}, f"answers {errors}")
        _expect(errors[1] == "IMAGE_UNDECODABLE", f"answers {errors}")

    async def _list(self) -> None:
        people = [one async for one in self._client.identities(GALLERY)]
        _expect(len(people) >= self._people, f"{len(people)} identities")
        _expect(bool([one async for one in self._client.templates(GALLERY, self._person())]), "no templates")
        _expect(bool([one async for one in self._client.galleries()]), "no galleries")
        await self._client.server_info()

    async def _compare(self) -> None:
        await self._client.compare(self._photo(), self._photo(), target_fmr=1e-3)

    async def _detect(self) -> None:
        found = await self._client.detect(self._photo())
        _expect(found.faces_found == 1, f"{found.faces_found} faces")
        embedded = await self._client.embed(self._photo())
        _expect(embedded.faces_found == 1, f"{embedded.faces_found} faces")

    async def _bad(self) -> None:
        reason = self._random.choice(sorted(self._photos.bad))
        photo = self._random.choice(self._photos.bad[reason])
        await _refused(reason, self._client.verify(GALLERY, self._person(), photo))

    async def _unknown(self) -> None:
        await _refused("IDENTITY_NOT_FOUND", self._client.verify(GALLERY, "nobody", self._photo()))

    async def _give_up(self) -> None:
        """Cancel a call after a time in which it may have ended already."""
        if self._random.random() < 0.3:
            call = asyncio.create_task(self._endless_stream())
        else:
            call = asyncio.create_task(self._verify())
        await asyncio.wait([call], timeout=self._random.uniform(0, 0.06))
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call

    async def _endless_stream(self) -> None:
        async def photos() -> AsyncIterator[bytes]:
            while True:
                yield self._photo()
                await asyncio.sleep(0.02)

        async for _ in self._client.identify_stream(GALLERY, photos()):
            pass

    async def _reconnect(self) -> None:
        async with AsyncClient(self._address) as client:
            await client.verify(GALLERY, self._person(), self._photo())

    async def _break_off(self) -> None:
        """Connect, send the beginning of HTTP/2 or less of it, and leave without a word."""
        host, _, port = self._address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[: self._random.randrange(25)])
        await writer.drain()
        # Closing so sends a reset.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def _gallery(self) -> None:
        name = f"short-{next(self._numbers)}"
        await self._client.create_gallery(name)
        await self._client.enroll(name, "someone", self._photo())
        await self._client.delete_gallery(name, force=True)


def _expect(right: bool, told: str) -> None:
    if not right:
        raise Unexpected(told)


async def _refused(reason: str, call: Awaitable[object]) -> None:
    """Check that a call is refused with a reason."""
    try:
        await call
    except ServiceError as error:
        if error.reason != reason:
            raise
        return
    raise Unexpected(f"answered, not refused with {reason}")
