"""Draws the generated pictures of docs/images; with --check fails if one is not current.

decisions.svg shows the decision table. parts.svg shows the parts of the product and which part calls which.
data-flow.svg shows where data goes, and across which boundaries of trust. migration.svg shows which templates a
gallery keeps and decides with in each state of a migration.
"""

import sys
from pathlib import Path

from sameface_qdrant.policy import Threshold, decide_verification
from sameface_qdrant.values.decision import Candidate, Scope, ThresholdSource

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
INK, GREY, LINE, BLUE, WHITE = "#1c2330", "#5d6778", "#c4ccd8", "#2f6fed", "#ffffff"
THRESHOLD, MARGIN = 0.45, 0.15
CASES = (
    ("the claim is nearest, and well ahead", 0.72, 0.28),
    ("the claim is nearest, another is close behind", 0.72, 0.64),
    ("another is nearer than the claim", 0.60, 0.78),
    ("the claim does not reach the threshold", 0.32, 0.20),
)
COLOURS = {"MATCH": "#12805c", "AMBIGUOUS": "#b7791f", "NO_MATCH": "#b3363e"}
LEFT, WIDTH, ROW, TOP = 40, 460, 96, 56
# Left, top, width, height, fill, and the lines of text of each part.
PARTS = (
    (20, 40, 180, 64, WHITE, ("your embeddings", "of voices, products, …")),
    (20, 140, 180, 64, WHITE, ("your photos", "gRPC, Python or shell")),
    (290, 20, 260, 204, WHITE, ("sameface, the gRPC service",)),
    (310, 56, 220, 64, "#e7effd", ("the Qdrant plugin", "keeps templates and decides")),
    (310, 140, 220, 64, "#e7effd", ("the photo pipeline", "finds, checks and aligns a face")),
    (630, 56, 170, 64, WHITE, ("Qdrant", "embedded, or a server")),
    (630, 140, 170, 64, WHITE, ("Triton", "or ONNX in process")),
    (290, 264, 260, 64, WHITE, ("sameface-train", "trains and exports an embedder")),
    (630, 264, 170, 64, WHITE, ("model_repository/", "detector and embedder")),
)
# Start, end and label of each arrow.
ARROWS = (
    (200, 80, 310, 80, "Python"),
    (200, 172, 290, 172, "gRPC"),
    (530, 88, 630, 88, "vectors"),
    (530, 172, 630, 172, "pixels"),
    (420, 140, 420, 120, ""),
    (550, 296, 630, 296, "ONNX"),
    (715, 264, 715, 204, ""),
)
# The same for data-flow.svg. Its arrows have numbers, which docs/security.md explains.
ZONES = (
    (16, 40, 176, 364, "outside"),
    (250, 40, 330, 364, "one machine or pod, one user"),
    (628, 40, 176, 364, "other machines"),
)
HOLDERS = (
    (34, 146, 140, 64, WHITE, ("callers", "programs and people")),
    (34, 320, 140, 64, WHITE, ("operator", "shell, deployment")),
    (
        274,
        84,
        282,
        188,
        "#e7effd",
        (
            "sameface",
            "checks who calls and what they may",
            "decodes photos, in memory alone",
            "decides, and answers as the role allows",
        ),
    ),
    (274, 316, 88, 72, WHITE, ("secrets", "keys,", "certificates")),
    (371, 316, 88, 72, WHITE, ("audit log", "pseudonyms,", "decisions")),
    (468, 316, 88, 72, WHITE, ("store", "embedded,", "on disk")),
    (644, 84, 144, 44, WHITE, ("OpenID", "public keys")),
    (644, 134, 144, 44, WHITE, ("Triton", "pixels, embeddings")),
    (644, 184, 144, 44, WHITE, ("Qdrant", "embeddings, names")),
    (644, 234, 144, 44, WHITE, ("log collector", "log, audit mirror")),
    (644, 330, 144, 44, WHITE, ("backups", "encrypted exports")),
)
FLOWS = (
    (174, 178, 274, 178, "1"),
    (556, 106, 644, 106, "2"),
    (556, 156, 644, 156, "3"),
    (556, 206, 644, 206, "4"),
    (556, 256, 644, 256, "5"),
    (318, 316, 318, 272, "6"),
    (415, 272, 415, 316, "7"),
    (512, 272, 512, 316, "8"),
    (174, 352, 274, 352, "9"),
    (556, 352, 644, 352, "10"),
)

# The states of migration.svg, with what the templates under the old and the new contract are for.
STATES = (
    ("before", "decides", ""),
    ("MAPPING", "decides", "being made"),
    ("MAPPED", "decides", "kept"),
    ("PROMOTED", "kept", "decides"),
    ("FINISHED", "", "decides"),
)
STEPS = ("create", "", "promote", "finish")
CELLS = {"decides": BLUE, "kept": "#c9dafb", "being made": "#e7effd", "": WHITE}


def decisions() -> str:
    """Return the picture of the decision table. The plugin's policy decides each case."""
    height = TOP + ROW * len(CASES) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 {height}" font-family="system-ui, sans-serif">',
        f'<rect width="820" height="{height}" rx="10" fill="#f6f7fa"/>',
        _text(LEFT, 30, "scores of the claimed identity and the best other; outcome by scope", GREY),
        _text(580, 30, "CLAIM", INK, bold=True),
        _text(690, 30, "GALLERY", INK, bold=True),
    ]
    for number, (title, claim, other) in enumerate(CASES):
        parts += _row(TOP + ROW * number, title, claim, other)
    return "\n".join([*parts, "</svg>", ""])


def parts() -> str:
    """Return the picture of the parts."""
    drawn = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 348" font-family="system-ui, sans-serif">',
        '<rect width="820" height="348" rx="10" fill="#f6f7fa"/>',
    ]
    for box in PARTS:
        drawn += _box(*box, first=28, second=48)
    for x1, y1, x2, y2, label in ARROWS:
        drawn += _arrow(x1, y1, x2, y2)
        if label:
            drawn.append(_text((x1 + x2) // 2 - 4, y1 - 7, label, GREY, anchor="middle", size=11))
    return "\n".join([*drawn, "</svg>", ""])


def data_flow() -> str:
    """Return the picture of where data goes."""
    drawn = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 20 820 420" font-family="system-ui, sans-serif">',
        '<rect y="20" width="820" height="420" rx="10" fill="#f6f7fa"/>',
    ]
    for left, top, width, height, name in ZONES:
        drawn.append(
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="12" fill="none" stroke="{GREY}" '
            'stroke-width="1.5" stroke-dasharray="6 5"/>'
        )
        drawn.append(_text(left + 12, top + 24, name, GREY, size=13))
    for box in HOLDERS:
        first, gap = (72, 28) if box[3] > 100 else (26, 20) if box[3] > 60 else (19, 17)
        drawn += _box(*box, first=first, second=first + gap)
    for x1, y1, x2, y2, number in FLOWS:
        drawn += _arrow(x1, y1, x2, y2)
        # In the middle; on a short arrow behind it, so that the tip is free.
        x, y = (x1 + x2) // 2, y1 + (y2 - y1) * 2 // 5
        drawn.append(f'<circle cx="{x}" cy="{y}" r="10" fill="{BLUE}"/>')
        drawn.append(_text(x, y + 4, number, WHITE, anchor="middle", bold=True, size=11))
    drawn.append(_text(16, 426, "Dashed: boundaries of trust. The table below explains the numbers.", GREY, size=12))
    return "\n".join([*drawn, "</svg>", ""])


def migration() -> str:
    """Return the picture of the states of a migration."""
    drawn = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 820 268" font-family="system-ui, sans-serif">',
        '<rect width="820" height="268" rx="10" fill="#f6f7fa"/>',
        _text(20, 86, "templates under", GREY, size=12),
        _text(20, 104, "the old contract", INK, bold=True, size=13),
        _text(20, 150, "templates under", GREY, size=12),
        _text(20, 168, "the new contract", INK, bold=True, size=13),
    ]
    for number, (state, *uses) in enumerate(STATES):
        left = 156 + 132 * number
        drawn.append(_text(left + 50, 38, state, INK, anchor="middle", bold=True))
        for top, use in zip((70, 134), uses, strict=True):
            dashes = "" if use else ' stroke-dasharray="4 4"'
            place = f'x="{left}" y="{top}" width="100" height="44" rx="8"'
            drawn.append(f'<rect {place} fill="{CELLS[use]}" stroke="{LINE}"{dashes}/>')
            colour = WHITE if use == "decides" else GREY
            drawn.append(
                _text(left + 50, top + 27, use or "–", colour, anchor="middle", bold=use == "decides", size=13)
            )
    for number, step in enumerate(STEPS):
        left = 156 + 132 * number
        drawn += _arrow(left + 102, 124, left + 130, 124)
        drawn.append(_text(left + 116, 62, step, BLUE, anchor="middle", size=11))
    start, end = 156 + 132 * 3 + 50, 156 + 50
    for x1, y1, x2, y2 in ((start, 178, start, 206), (start, 206, end, 206)):
        drawn.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{BLUE}" stroke-width="2"/>')
    drawn += _arrow(end, 206, end, 180)
    drawn.append(
        _text((start + end) // 2, 222, "roll back; before the promotion: cancel", BLUE, anchor="middle", size=11)
    )
    drawn.append(
        _text(
            20, 252, "The new templates are MAPPED at first. Each becomes NATIVE when a photo renews it.", GREY, size=12
        )
    )
    return "\n".join([*drawn, "</svg>", ""])


def _box(
    left: int, top: int, width: int, height: int, fill: str, lines: tuple[str, ...], *, first: int, second: int
) -> list[str]:
    """Draw a box with its name and lines of smaller text, the first of each some pixels below its top."""
    name, *more = lines
    middle = left + width // 2
    return [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{LINE}"/>',
        _text(middle, top + (first if more else 24), name, INK, anchor="middle", bold=True),
        *(
            _text(middle, top + second + 16 * number, line, GREY, anchor="middle", size=12)
            for number, line in enumerate(more)
        ),
    ]


def _arrow(x1: int, y1: int, x2: int, y2: int) -> list[str]:
    """Draw a horizontal or vertical arrow."""
    across, down = (x2 > x1) - (x2 < x1), (y2 > y1) - (y2 < y1)
    # Two corners behind the tip, either side of the line.
    corners = f"{x2 - 8 * across - 5 * down},{y2 - 8 * down - 5 * across}"
    corners += f" {x2 - 8 * across + 5 * down},{y2 - 8 * down + 5 * across}"
    return [
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{BLUE}" stroke-width="2"/>',
        f'<polygon points="{x2},{y2} {corners}" fill="{BLUE}"/>',
    ]


def _row(top: int, title: str, claim: float, other: float) -> list[str]:
    axis = top + 52
    middle = round(LEFT + WIDTH * THRESHOLD)
    ahead = round(LEFT + WIDTH * (claim - MARGIN))
    parts = [
        _text(LEFT, top + 14, title, INK, bold=True),
        f'<line x1="{LEFT}" y1="{axis}" x2="{LEFT + WIDTH}" y2="{axis}" stroke="#c4ccd8" stroke-width="2"/>',
        f'<line x1="{middle}" y1="{axis - 18}" x2="{middle}" y2="{axis + 14}" stroke="{INK}" stroke-width="2"/>',
        _text(middle, axis + 28, "threshold", GREY, anchor="middle", size=11),
        # The margin below the claim: another identity must not score in it.
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
    """Write the pictures, or compare them."""
    pictures = {
        "decisions.svg": decisions(),
        "parts.svg": parts(),
        "data-flow.svg": data_flow(),
        "migration.svg": migration(),
    }
    for name, picture in pictures.items():
        target = FOLDER / name
        if "--check" not in sys.argv:
            target.write_text(picture, encoding="utf-8")
        elif not target.is_file() or target.read_text(encoding="utf-8") != picture:
            sys.exit(f"docs/images/{name} is not what tools/pictures.py draws; run: make docs")


main()
