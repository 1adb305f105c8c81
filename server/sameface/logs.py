"""What the service logs: one stamped line for each message, and few lines of one kind.

Libraries may log what they read: at level debug, Pillow writes the texts of a photo's metadata. So debug is for the
service's own modules, which log nothing of a photo. Whoever can make the service log a line can make it log thousands,
so of one kind only the first few of each period are written, and the others are counted.
"""

import contextlib
import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal, TextIO, TypeAlias

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
ExcInfo: TypeAlias = "tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]"

OWN = ("sameface", "sameface_qdrant")
MOST_LINES, PERIOD_S = 5, 10.0
MOST_KINDS = 1000
LONGEST = 2000
"""Characters of a line."""
CUT = r"\u2026"
"""What marks a text that was cut, as it is in JSON."""


class OneLine(logging.Formatter):
    """Formats a record as one line. A traceback becomes the places that it went through, innermost last."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = super().format(record).replace("\n| ", " | ", 1)
        escaped = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
        return escaped if len(escaped) <= LONGEST else f"{escaped[:LONGEST]}…"

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  # of logging.Formatter
        """Return the type, the message and the places of an exception."""
        _, error, trace = ei
        return f"| {type(error).__name__}: {error} | {' > '.join(_places(trace))}"


class JsonLine(logging.Formatter):
    """Formats a record as one JSON object on one line, in ASCII: time (RFC 3339, UTC), level, logger and message.

    With an exception it also has ``error`` (its type and message) and ``places``, through which it went, innermost
    last. ``current`` adds fields that say what the record belongs to, for instance the ids of a trace.
    """

    def __init__(self, current: Callable[[], Mapping[str, str]] = dict) -> None:
        super().__init__()
        self._current = current

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. A long message is cut, so that the line has at most `LONGEST` characters."""
        time_of = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": time_of.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._current(),
        }
        texts = {"message": _message(record)}
        if record.exc_info and record.exc_info[1] is not None:
            _, error, trace = record.exc_info
            texts["error"] = f"{type(error).__name__}: {error}"
            texts["places"] = " > ".join(_places(trace))
        for name, text in texts.items():
            room = LONGEST - len(json.dumps({**fields, name: ""}))
            if room >= len(CUT):
                fields[name] = _fitting(text, room)
        return json.dumps(fields)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):  # a defect of whoever logs: the arguments do not fit
        return str(record.msg)


def _fitting(text: str, room: int) -> str:
    """Return as much of a text as takes at most ``room`` characters in JSON, which is enough for `CUT`."""
    if len(text) <= room and len(json.dumps(text)) - 2 <= room:
        return text
    kept, size = 0, len(CUT)
    for char in text[:room]:
        size += len(json.dumps(char)) - 2
        if size > room:
            break
        kept += 1
    return f"{text[:kept]}…"


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


@dataclass(slots=True)
class _Kind:
    """Records of one kind in one period."""

    name: str
    level: int
    until: float
    written: int = 0
    left_out: int = 0


class FewLines(logging.StreamHandler[TextIO]):
    """Writes few records of one kind in a period, and after the period how many it left out.

    Records are of one kind if the same place logs them with an exception of the same type. What the service says about
    itself at level info or debug is written whole.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to ``stream``. ``clock`` tells seconds."""
        super().__init__(stream)
        self._clock = clock
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write or count a record."""
        if record.levelno <= logging.INFO and record.name.partition(".")[0] in OWN:
            super().emit(record)
            return
        self.tell()
        error = record.exc_info[0] if record.exc_info else None
        key = (record.name, record.levelno, record.pathname, record.lineno, error)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MOST_KINDS:
                self.tell(all_kinds=True)
            kind = self._kinds[key] = _Kind(record.name, record.levelno, self._clock() + PERIOD_S)
        if kind.written < MOST_LINES:
            kind.written += 1
            super().emit(record)
            return
        if not kind.left_out:
            teller = threading.Timer(PERIOD_S, self.tell)
            teller.daemon = True
            teller.start()
        kind.left_out += 1

    def tell(self, *, all_kinds: bool = False) -> None:
        """Write how many records were left out in periods that have ended, or until now."""
        # In a context of its own: what was left out belongs to other calls than the one that logs at the moment.
        emit = super().emit
        with self.lock or contextlib.nullcontext():
            now = self._clock()
            for key in [key for key, kind in self._kinds.items() if all_kinds or kind.until <= now]:
                kind = self._kinds.pop(key)
                if kind.left_out:
                    more = f"… and {kind.left_out} more like this in {PERIOD_S:g} s"
                    Context().run(emit, logging.LogRecord(kind.name, kind.level, "", 0, more, None, None))

    def close(self) -> None:
        """Write what is still to be told, and end."""
        self.tell(all_kinds=True)
        super().close()


def _log_what_nobody_catches() -> None:
    """Log exceptions that Python itself would write to stderr, on several lines."""
    log = logging.getLogger(__name__)

    def of_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.error("not caught", exc_info=(kind, error, trace))

    def of_thread(args: "threading.ExceptHookArgs") -> None:
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            log.error("not caught in a thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        if args.exc_value is not None:
            log.error("not caught, and ignored", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_main, of_thread, unraisable


def quiet_grpc() -> None:
    """Keep gRPC's core from writing lines of its own to stderr, unstamped and as many as callers cause.

    Call it before gRPC is imported, which reads ``GRPC_VERBOSITY`` then. That variable brings the lines back.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def log_to_stderr(level: Level, form: Format = "text", current: Callable[[], Mapping[str, str]] = dict) -> None:
    """Log the service's own messages from ``level`` on, and those of libraries from the same level or info on.

    ``current`` returns what the lines of format json have besides, see `JsonLine`.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = FewLines(sys.stderr)
    text = OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLine(current) if form == "json" else text)
    if form == "json":
        _log_what_nobody_catches()
    logging.basicConfig(level=max(number, logging.INFO), handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in OWN:
        logging.getLogger(name).setLevel(number)
