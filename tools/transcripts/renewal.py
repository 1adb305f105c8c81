"""Puts what a command printed now in the place of what a document shows.

Only numbers and the width of columns change by themselves. If a command prints other words than the document shows,
a person must look: a decision may have another outcome.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

ELLIPSIS = "…"
TOKEN = re.compile(r"(?<![\w.])-?\d+\.\d+(?:…|(?![\w.]))|(?<![\w.:-])\d+(?![\w.:-])|…|\s+")
WHOLE_NUMBER = re.compile(r"(?<![\w.:-])\d+(?![\w.:-])")


class Changed(Exception):
    """A command prints something else than the document shows, so that numbers alone do not renew it."""


def renewed_lines(shown: str, printed: str) -> str:
    """Return the lines of ``shown`` with the numbers of ``printed``, in which they come in this order.

    A line without ``…`` becomes the printed one. In a line with ``…``, which stands for any text, numbers alone change;
    a number that ends in ``…`` keeps its count of digits. A line that is ``…`` alone stays.

    Raises:
        Changed: a line is not printed with any numbers.

    >>> renewed_lines("score  0.51\\n…", "before\\nscore  -0.625\\nafter")
    'score  -0.625\\n…'
    >>> renewed_lines("…score 0.5…", "a score 0.7251 b")
    '…score 0.7…'
    """
    lines: Iterator[str] = iter(printed.splitlines())
    return "\n".join(line if line.strip() in ("", ELLIPSIS) else _renewed(line, lines) for line in shown.split("\n"))


def renewed_fields(shown: str, printed: str) -> str:
    """Return a part of a JSON answer with the numbers of ``printed``, a text with that answer and others.

    The n-th ``"name": number`` gets the n-th number of that name below ``decision``.

    Raises:
        Changed: none is an answer with a decision, its outcome is another one, or a number is missing.
    """
    decision = next((one["decision"] for one in _objects(printed) if "decision" in one), None)
    if decision is None or f'"outcome": "{decision["outcome"]}"' not in shown:
        raise Changed(f"expected an answer with a decision and the outcome of {shown}; found {printed}")
    found: dict[str, list[float]] = {}
    _collect(decision, found)

    def number(match: re.Match[str]) -> str:
        values = found.get(match[1])
        if not values:
            raise Changed(f"the answer has no further number {match[1]!r}: {decision}")
        return f'"{match[1]}": {values.pop(0)}'

    return re.sub(r'"(\w+)": -?\d+\.\d+', number, shown)


def renewed_whole(shown: str, printed: str) -> str:
    """Return the lines of ``printed`` from the first line of ``shown`` on, up to an empty line or the end.

    Raises:
        Changed: no line is like the first one.
    """
    heading, *_ = shown.split("\n")
    lines = [line.rstrip() for line in printed.splitlines()]
    start = next((number for number, line in enumerate(lines) if line.split() == heading.split()), None)
    if start is None:
        raise Changed(f"{heading!r} is not printed; found\n{printed}")
    end = next((number for number in range(start, len(lines)) if not lines[number]), len(lines))
    return "\n".join(lines[start:end])


def renewed_part(shown: str, printed: str) -> str:
    """Return ``printed``, wrapped where ``shown`` is."""
    width = max(map(len, shown.split("\n")))
    lines = [""]
    for word in printed.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width and "\n" in shown:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".lstrip()
    return "\n".join(lines)


def replaced(text: str, region: re.Pattern[str], renew: Callable[[str], str]) -> str:
    """Return a document whose one ``region``, the first group of the pattern, is renewed.

    Raises:
        Changed: the document has no such region, or several.
    """
    found = list(region.finditer(text))
    if len(found) != 1:
        raise Changed(f"{len(found)} places are like {region.pattern!r}; expected one")
    (match,) = found
    return text[: match.start(1)] + renew(match[1]) + text[match.end(1) :]


def without_times(text: str) -> str:
    """Return a document without whole numbers and spaces, which differ from run to run: milliseconds, columns."""
    return " ".join(WHOLE_NUMBER.sub("", text).split())


def _renewed(line: str, lines: Iterator[str]) -> str:
    pattern, at = "", 0
    for token in TOKEN.finditer(line.rstrip()):
        pattern += re.escape(line[at : token.start()])
        text, at = token[0], token.end()
        if text == ELLIPSIS:
            pattern += ".*?"
        elif text.isspace():
            pattern += r"\s+" if token.start() else r"\s*"
        else:
            pattern += r"(-?\d+\.\d+)" + (".*?" if text.endswith(ELLIPSIS) else "") if "." in text else r"(\d+)"
    pattern += re.escape(line.rstrip()[at:])
    for candidate in lines:
        if match := re.fullmatch(pattern, candidate.rstrip()):
            return _filled(line, match.groups()) if ELLIPSIS in line else candidate.rstrip()
    raise Changed(f"this line is not printed any more, with any numbers:\n{line}")


def _filled(line: str, values: tuple[str, ...]) -> str:
    following = iter(values)

    def fill(token: re.Match[str]) -> str:
        text = token[0]
        if text == ELLIPSIS or text.isspace():
            return text
        value = next(following)
        if not text.endswith(ELLIPSIS):
            return value
        digits = len(text.partition(".")[2]) - 1
        return f"{value[: value.index('.') + 1 + digits]}{ELLIPSIS}"

    return TOKEN.sub(fill, line)


def _objects(printed: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text, which may follow each other without a line break."""
    decoder, at = json.JSONDecoder(), 0
    while (start := printed.find("{", at)) >= 0:
        try:
            found, at = decoder.raw_decode(printed, start)
        except ValueError:
            at = start + 1
            continue
        yield found


def _collect(value: object, found: dict[str, list[float]]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if isinstance(inner, float):
                found.setdefault(name, []).append(inner)
            _collect(inner, found)
    elif isinstance(value, list):
        for inner in value:
            _collect(inner, found)
