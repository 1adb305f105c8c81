"""Many photos: in order, as results come, a few at a time; and no more once no service answers."""

import io
import sys
import threading

import grpc
import pytest

from sameface.cli.output import GrowingTable, coloured, print_json
from sameface.cli.work import WINDOW, NotTried, work_on
from sameface.client import ServiceError


def failure(code: grpc.StatusCode, reason: str = "") -> ServiceError:
    return ServiceError(code, reason, "", {}, None)


def test_results_come_in_order_and_few_are_held() -> None:
    begun: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            begun.append(item)
        return item * item

    for item, result in work_on(range(100), work, "counting"):
        assert result == item * item
        assert len(begun) <= item + 1 + WINDOW
    assert len(begun) == 100


def test_refusals_are_given_and_surprises_raised() -> None:
    refused = failure(grpc.StatusCode.UNAVAILABLE, "MODEL_UNAVAILABLE")

    def work(item: int) -> int:
        if item == 1:
            raise refused
        if item == 30:
            raise KeyError(item)
        return item

    results = work_on(range(100), work, "counting")
    assert [next(results)[1] for _ in range(30)] == [0, refused, *range(2, 30)]
    with pytest.raises(KeyError):
        next(results)


def test_a_service_that_cannot_be_reached_is_not_asked_a_thousand_times(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[int] = []

    def work(item: int) -> int:
        asked.append(item)
        if item >= 10:
            raise failure(grpc.StatusCode.UNAVAILABLE)
        return item

    results = list(work_on(range(1000), work, "asking"))
    assert [item for item, _ in results] == list(range(1000))
    assert [result for _, result in results[:10]] == list(range(10))
    assert len(asked) <= 10 + 1 + WINDOW
    untried = sum(isinstance(result, NotTried) for _, result in results)
    assert untried == 1000 - len(asked)
    assert f"{untried} photos were not tried" in capsys.readouterr().err


def test_rows_are_printed_as_they_come_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    table = GrowingTable(("photo", "outcome", ""), ["a.jpg", "[b]long.jpg"])
    assert capsys.readouterr().out == ""
    table.add(("a.jpg", coloured("MATCH"), "1"))
    assert capsys.readouterr().out.splitlines() == ["photo        outcome", "a.jpg        MATCH    1"]
    table.add(("[b]long.jpg", coloured("NO_MATCH", "no [face]"), "2"))
    assert capsys.readouterr().out == "[b]long.jpg  NO_MATCH no [face]  2\n"
    table.add(("a.jpg", "", "3"))
    assert capsys.readouterr().out == "a.jpg                            3\n"


def test_json_is_json_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, written in (("utf-8", '{"é😀": "\\udce9"}'), ("ascii", '{"\\u00e9\\ud83d\\ude00": "\\udce9"}')):
        buffer = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace"))
        print_json({"é😀": "\udce9"})
        assert buffer.getvalue().decode() == written + "\n"
