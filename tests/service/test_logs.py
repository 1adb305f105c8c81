"""The log has nothing of a photo, at no level."""

import asyncio
import contextlib
import gc
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from sameface.errors import ImageUndecodable
from sameface.logs import LONGEST, MOST_LINES, OWN, PERIOD_S, FewLines, Format, JsonLine, Level, OneLine, log_to_stderr
from sameface.tracing.context import TraceContext
from sameface.tracing.spans import Span, Tracer, present_ids
from sameface.vision import ImageLimits
from sameface.vision.decode import decode_image

TEXT = "Ward 7, bed 2"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, set up again after the test."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = before
    for name, number in (("", level), *((own, logging.NOTSET) for own in OWN)):
        logging.getLogger(name).setLevel(number)


def photo(name: str, *, cut: bool = False) -> bytes:
    """A photo with a text in its metadata."""
    buffer, exif, texts = io.BytesIO(), Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x010E] = exif[0x013B] = TEXT
    texts.add_text("Comment", TEXT)
    more = {"pnginfo": texts} if name == "PNG" else {}
    Image.new("RGB", (200, 200), "white").save(buffer, name, exif=exif, **more)
    content = buffer.getvalue()
    return content[: len(content) // 2] if cut else content


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_texts_of_a_photo_are_not_logged(
    level: Level, form: Format, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(level, form)
    for name in ("TIFF", "JPEG", "PNG", "WEBP"):
        for cut in (False, True):
            with contextlib.suppress(ImageUndecodable):
                decode_image(photo(name, cut=cut), ImageLimits())
    logging.getLogger("sameface.test").error("of our own")
    said = capsys.readouterr().err
    assert "of our own" in said
    assert TEXT not in said


def test_the_test_would_notice(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sameface.logs.MOST_LINES", 1000)
    log_to_stderr("debug")
    root.setLevel(logging.DEBUG)
    Image.open(io.BytesIO(photo("TIFF"))).load()
    assert TEXT in capsys.readouterr().err


@pytest.mark.parametrize(("level", "own", "others"), [("debug", True, False), ("info", False, False)])
def test_debug_is_for_the_own_modules(
    level: Level, own: bool, others: bool, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr(level)
    for name in ("sameface.x", "sameface_qdrant.y", "library"):
        logging.getLogger(name).debug("%s says", name)
    said = capsys.readouterr().err
    assert ("sameface.x says" in said) is ("sameface_qdrant.y says" in said) is own
    assert ("library says" in said) is others


class Clock:
    """Tells the seconds that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def few() -> tuple[logging.Logger, io.StringIO, Clock]:
    """A logger that writes few lines of a kind."""
    written, clock = io.StringIO(), Clock()
    handler = FewLines(written, clock)
    handler.setFormatter(OneLine("%(levelname)s %(name)s: %(message)s"))
    logger = logging.Logger("library")
    logger.addHandler(handler)
    return logger, written, clock


def test_a_repeated_line_is_counted(few: tuple[logging.Logger, io.StringIO, Clock]) -> None:
    logger, written, clock = few
    for number in range(317):
        logger.warning("refused %s", number)
    logger.warning("another line")
    assert written.getvalue().splitlines() == [
        *(f"WARNING library: refused {number}" for number in range(MOST_LINES)),
        "WARNING library: another line",
    ]
    clock.now = PERIOD_S
    logger.warning("yet another one")
    assert written.getvalue().splitlines()[-2:] == [
        f"WARNING library: … and {317 - MOST_LINES} more like this in 10 s",
        "WARNING library: yet another one",
    ]


def test_what_was_left_out_is_told_at_the_end(few: tuple[logging.Logger, io.StringIO, Clock]) -> None:
    logger, written, _ = few
    for _ in range(MOST_LINES + 2):
        logger.error("broken")
    logger.handlers[0].close()
    assert written.getvalue().splitlines()[-1] == "ERROR library: … and 2 more like this in 10 s"


def test_an_exception_is_one_line_that_names_its_places(few: tuple[logging.Logger, io.StringIO, Clock]) -> None:
    logger, written, _ = few
    for _ in range(20):
        try:
            raise ValueError("a\nb\x1b[31m")
        except ValueError:
            logger.exception("it failed")
    lines = written.getvalue().splitlines()
    assert len(lines) == MOST_LINES
    assert lines[0].startswith(r"ERROR library: it failed | ValueError: a\nb\x1b[31m | ")
    assert "test_an_exception_is_one_line" in lines[0]


def test_what_asyncio_says_of_a_lost_exception_is_one_line(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_to_stderr("info")

    async def lose() -> None:
        async def broken() -> None:
            raise StopAsyncIteration

        lost = [asyncio.ensure_future(broken()) for _ in range(30)]
        await asyncio.wait(lost)
        lost.clear()
        gc.collect()

    asyncio.run(lose())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MOST_LINES
    assert all(" ERROR asyncio: Task exception was never retrieved" in line for line in lines)


def test_the_own_messages_at_info_are_written_whole(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr("info")
    for number in range(30):
        logging.getLogger("sameface.service").info("step %d", number)
    assert len(capsys.readouterr().err.splitlines()) == 30


def record(message: object, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error is not None else None
    made = logging.LogRecord("sameface.test", logging.WARNING, "file.py", 3, message, args, exc_info)
    made.created = 1_800_000_000.25
    return made


def test_a_json_line_has_time_level_logger_message_and_what_it_belongs_to() -> None:
    line = JsonLine(lambda: {"trace_id": "ab", "span_id": "cd"}).format(record("refused %s", 7))
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.250Z",
        "level": "warning",
        "logger": "sameface.test",
        "trace_id": "ab",
        "span_id": "cd",
        "message": "refused 7",
    }


def test_a_json_line_has_an_exception_as_fields() -> None:
    try:
        raise ValueError("a\nb\x1b[31m")
    except ValueError as error:
        said = json.loads(JsonLine().format(record("it failed", error=error)))
    assert said["error"] == "ValueError: a\nb\x1b[31m"
    assert "test_a_json_line_has_an_exception_as_fields" in said["places"]


@given(st.text(st.sampled_from('a"\\\n\u2028é😀\ud800\x00'), max_size=30), st.integers(0, 300), st.booleans())
@settings(max_examples=60)
def test_a_json_line_is_one_line_of_bounded_length_in_ascii(text: str, times: int, failed: bool) -> None:
    line = JsonLine(lambda: {"trace_id": "ab"}).format(
        record(text * times, error=KeyError(text * times) if failed else None)
    )
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= LONGEST
    said = json.loads(line)["message"]
    assert said == text * times or (said.endswith("…") and (text * times).startswith(said[:-1]))


def test_arguments_that_do_not_fit_their_message_still_make_a_json_line() -> None:
    assert json.loads(JsonLine().format(record("%d of them", "x")))["message"] == "%d of them"


def test_what_a_thread_does_not_catch_is_a_json_line(
    root: logging.Logger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in ((threading, "excepthook"), (sys, "excepthook"), (sys, "unraisablehook")):
        monkeypatch.setattr(module, name, getattr(module, name))
    log_to_stderr("info", "json")

    class Broken:
        def __del__(self) -> None:
            raise ValueError("a\nb")

    def broken() -> None:
        Broken()
        raise KeyError("c\nd")

    thread = threading.Thread(target=broken)
    thread.start()
    thread.join()
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(line["level"], line["error"]) for line in said] == [
        ("error", "ValueError: a\nb"),
        ("error", "KeyError: 'c\\nd'"),
    ]


def test_a_json_line_names_the_trace_of_its_call() -> None:
    class Kept:
        def add(self, span: Span) -> None:
            """Keep nothing."""

    tracer = Tracer(Kept(), sample_ratio=1, follow_callers=True, methods={}, code_of=str, on_triton=True)
    caller = TraceContext(0xAB, 0xCD, True)
    call = tracer.begin_call("VerifyFace", caller.metadata)
    formatter = JsonLine(present_ids)
    inside = json.loads(formatter.format(record("inside")))
    written, clock = io.StringIO(), Clock()
    handler = FewLines(written, clock)
    handler.setFormatter(formatter)
    for _ in range(MOST_LINES + 2):
        handler.emit(record("of this call"))
    clock.now = PERIOD_S
    handler.emit(record("of this call"))
    of_call = [json.loads(line) for line in written.getvalue().splitlines()]
    told = [line for line in of_call if "2 more" in line["message"]]
    call.ended("")
    assert [line.get("trace_id") for line in told] == [None]
    assert {line.get("trace_id") for line in of_call if line not in told} == {f"{0xAB:032x}"}
    outside = json.loads(formatter.format(record("outside")))
    assert inside["trace_id"] == f"{0xAB:032x}"
    assert inside["span_id"] not in (f"{0xCD:016x}", f"{0:016x}")
    assert "trace_id" not in outside
