"""Where the documents show outputs that depend on the default embedder, and what prints each of them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.transcripts.renewal import (
    Changed,
    renewed_fields,
    renewed_lines,
    renewed_part,
    renewed_whole,
    replaced,
    without_times,
)

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a document, and the output that it shows."""

    document: str
    region: str
    """Pattern whose first group is the part. It is found once in the document."""
    output: str
    """Name of the output, see `tools.transcripts.outputs`."""
    renew: Callable[[str, str], str]
    """Makes the new part from the old one and what is printed."""


PLACES = (
    Place("README.md", r"```\n( photo +claim .*?)\nreport: ", "demo", renewed_lines),
    Place("README.md", r"# (True MATCH: score .*)", "readme", renewed_lines),
    Place("docs/clients.md", r"# (MATCH: score .*)", "clients", renewed_lines),
    Place("docs/http.md", r"```\n(\{\"decision\": .*?)\n```", "http", renewed_fields),
    Place("docs/first-hour.md", r"```\n(photo…claim .*?)\n```", "verify", renewed_lines),
    Place("docs/operations.md", r"\| models: (.*?) on\s", "models", renewed_part),
    Place("docs/models.md", r"```\n(model +version +cosine .*?)\n```", "check", renewed_whole),
)


def renewed(document: str, text: str, outputs: Mapping[str, str]) -> str:
    """Return a document's text with every place renewed whose output is given.

    Raises:
        Changed: an output does not fit what the document shows.
    """
    for place in PLACES:
        if place.document == document and place.output in outputs:
            region = re.compile(place.region, re.S if "```" in place.region or place.renew is renewed_part else 0)
            try:
                text = replaced(text, region, _with(place.renew, outputs[place.output]))
            except Changed as error:
                raise Changed(f"{document}, output {place.output}: {error}") from error
    return text


def stale(document: str, outputs: Mapping[str, str]) -> bool:
    """Return whether a document shows other numbers than these outputs have; times do not count."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return without_times(renewed(document, text, outputs)) != without_times(text)


def _with(renew: Callable[[str, str], str], printed: str) -> Callable[[str], str]:
    return lambda shown: renew(shown, printed)
