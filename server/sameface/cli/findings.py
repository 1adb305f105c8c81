"""What the guards of a gallery found at an enrolment, in words."""

from collections import Counter
from collections.abc import Iterable

from sameface.client import Finding
from sameface.resource_names import last_part

NOUNS = {"COLLISION": "collision", "DUPLICATE": "duplicate", "OUTLIER": "outlier", "REPLACED": "replacement"}


def finding_text(finding: Finding) -> str:
    """Return what a guard found, as text."""
    kind = finding.kind
    sentence = {
        "COLLISION": "looks like another identity",
        "DUPLICATE": "is enrolled already",
        "OUTLIER": "is unlike the identity's other photos",
        "REPLACED": "replaces an older template",
        "NOT_CHECKED": "no threshold to check against",
    }.get(kind, kind)
    if finding.identity and kind in ("COLLISION", "DUPLICATE"):
        sentence += f": {last_part(finding.identity)}"
    return sentence + (f" ({finding.score:.3f})" if finding.score is not None else "")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "identity"), counted(2, "identity"), counted(0, "collision")
    ('1 identity', '2 identities', '0 collisions')
    """
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def findings_summary(kinds: Iterable[tuple[str, ...]]) -> str:
    """Return how many photos have findings, and how many of each kind; empty for none.

    Args:
        kinds: the kinds of the findings of each photo.

    >>> findings_summary([(), ("COLLISION", "OUTLIER"), ("COLLISION",), ("NOT_CHECKED",)])
    '3 with findings (2 collisions, 1 outlier, 1 not checked)'
    """
    found = [of_photo for of_photo in kinds if of_photo]
    each = Counter(kind for of_photo in found for kind in of_photo)
    told = [
        counted(number, NOUNS[kind]) if kind in NOUNS else f"{number} {kind.replace('_', ' ').lower()}"
        for kind, number in each.items()
    ]
    return f"{len(found)} with findings ({', '.join(told)})" if found else ""
