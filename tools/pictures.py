"""Draws docs/images/decisions.svg, the decision table as pictures; with --check fails where it is not current."""

import sys
from pathlib import Path

from sameface_qdrant.policy import Threshold, decide_verification
from sameface_qdrant.values.decision import Candidate, Scope, ThresholdSource

TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "decisions.svg"
THRESHOLD, MARGIN = 0.45, 0.15
CASES = (
    ("the claim is nearest, and well ahead", 0.72, 0.28),
    ("the claim is nearest, another is close behind", 0.72, 0.64),
    ("another is nearer than the claim", 0.60, 0.78),
    ("the claim does not reach the threshold", 0.32, 0.20),
)
COLOURS = {"MATCH": "#12805c", "AMBIGUOUS": "#b7791f", "NO_MATCH": "#b3363e"}
LEFT, WIDTH, ROW, TOP = 40, 460, 96, 56


def picture() -> str:
    """Return the picture; what it says of each case is decided by the plugin's own policy."""
    height = TOP + ROW * len(CASES) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {height}" font-family="system-ui, sans-serif">',
        f'<rect width="820" height="{height}" rx="10" fill="#f6f7fa"/>',
        _text(LEFT, 30, "score of the probe with the claimed identity and the best other; outcome by scope", "#5d6778"),
        _text(580, 30, "CLAIM", "#1c2330", bold=True),
        _text(690, 30, "GALLERY", "#1c2330", bold=True),
    ]
    for number, (title, claim, other) in enumerate(CASES):
        parts += _row(TOP + ROW * number, title, claim, other)
    return "\n".join([*parts, "</svg>", ""])


def _row(top: int, title: str, claim: float, other: float) -> list[str]:
    axis = top + 52
    middle = round(LEFT + WIDTH * THRESHOLD)
    ahead = round(LEFT + WIDTH * (claim - MARGIN))
    parts = [
        _text(LEFT, top + 14, title, "#1c2330", bold=True),
        f'<line x1="{LEFT}" y1="{axis}" x2="{LEFT + WIDTH}" y2="{axis}" stroke="#c4ccd8" stroke-width="2"/>',
        f'<line x1="{middle}" y1="{axis - 18}" x2="{middle}" y2="{axis + 14}" stroke="#1c2330" stroke-width="2"/>',
        _text(middle, axis + 28, "threshold", "#5d6778", anchor="middle", size=11),
        # What another identity must stay below for the claim to lead by the margin.
        f'<rect x="{ahead}" y="{axis - 6}" width="{WIDTH * MARGIN:.0f}" height="12" fill="#2f6fed" opacity=".18"/>',
    ]
    for score, name, colour, lift in ((claim, "the claim", "#2f6fed", -14), (other, "the best other", "#4b5a78", 28)):
        x = LEFT + WIDTH * score
        parts.append(f'<circle cx="{x:.0f}" cy="{axis}" r="7" fill="{colour}"/>')
        parts.append(_text(int(x), axis + lift, name, colour, anchor="middle", size=11))
    for x, scope in ((580, Scope.CLAIM), (690, Scope.GALLERY)):
        outcome = decide_verification(
            Candidate("claim", claim, ""),
            Candidate("other", other, ""),
            scope=scope,
            threshold=Threshold(THRESHOLD, ThresholdSource.GALLERY),
            margin=MARGIN,
            policy_revision=1,
            gallery_size=2,
        ).outcome
        parts.append(f'<rect x="{x}" y="{axis - 14}" width="100" height="24" rx="12" fill="{COLOURS[outcome]}"/>')
        parts.append(_text(x + 50, axis + 3, outcome, "#fff", anchor="middle", bold=True, size=12))
    return parts


def _text(x: int, y: int, text: str, colour: str, *, anchor: str = "start", bold: bool = False, size: int = 14) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" font-size="{size}"{weight}>{text}</text>'


def main() -> None:
    """Write the picture, or compare it."""
    if "--check" not in sys.argv:
        TARGET.write_text(picture(), encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != picture():
        sys.exit(f"{TARGET} is not what the policy says; run: make docs")


main()
