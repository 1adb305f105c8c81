"""The demo's report: one self-contained HTML page, and the same as JSON for programs."""

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image, ImageOps

from sameface.demo.run import DecisionRecord, EnrollmentRecord
from sameface.v1 import face_pb2
from sameface.vision import align

PREVIEW_SIDE = 360


@dataclass(frozen=True, slots=True)
class Figure:
    """A photo as the page shows it: a smaller copy with the face and its landmarks."""

    photo: str
    """data: URI"""
    width: int
    height: int
    box: tuple[float, float, float, float] | None
    points: tuple[tuple[float, float], ...]
    crop: str
    """data: URI of the aligned crop, empty without a face."""


def write_report(
    folder: Path,
    enrolled: list[EnrollmentRecord],
    decided: list[DecisionRecord],
    system: dict[str, Any],
    credits_text: str,
) -> None:
    """Write report.html and report.json into ``folder``.

    ``system`` holds versions and inference counts and is shown and stored as it is; ``credits_text`` names the
    authors and licences of the photos.
    """
    folder.mkdir(parents=True, exist_ok=True)
    as_expected = sum(record.as_expected for record in decided)
    summary = {"decisions": len(decided), "as_expected": as_expected, **system}
    rows = [decision_row(record) for record in decided]
    (folder / "report.json").write_text(
        json.dumps({**summary, "results": rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sameface.demo", "."), autoescape=True, undefined=jinja2.StrictUndefined
    )
    figures = [_figure(record.photo, record.face) for record in enrolled]
    references = {(record.gallery, record.identity): figure for record, figure in zip(enrolled, figures, strict=True)}
    page = environment.get_template("report.html.j2").render(
        summary=summary,
        system=system,
        enrolled=list(zip(enrolled, figures, strict=True)),
        decided=[
            (record, row, _figure(record.photo, record.face), references.get((row["gallery"], _compared_with(row))))
            for record, row in zip(decided, rows, strict=True)
        ],
        credits_text=credits_text,
    )
    (folder / "report.html").write_text(page, encoding="utf-8")


def decision_row(record: DecisionRecord) -> dict[str, Any]:
    """Return one decision as plain values, rounded as they are shown."""
    case = record.case
    numbers = {name: round(value, 4) if isinstance(value, float) else value for name, value in record.decision.items()}
    return {
        "title": case.title,
        "photo": case.photo,
        "given_as": "embedding" if case.as_embedding else "photo",
        "gallery": case.gallery,
        "claim": case.claim or None,
        "outcome": record.outcome,
        "expected": case.expect,
        "as_expected": record.as_expected,
        "milliseconds": round(record.milliseconds, 1),
        "message": record.message,
        **numbers,
    }


def _compared_with(row: dict[str, Any]) -> str:
    """Return the identity to show beside the probe: the claimed one, else the nearest."""
    return str(row["claim"] or row.get("best", ""))


def _figure(photo: bytes, face: face_pb2.Face | None) -> Figure:
    with Image.open(io.BytesIO(photo)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    shrink = min(1.0, PREVIEW_SIDE / max(image.size))
    preview = image.resize((max(1, round(image.width * shrink)), max(1, round(image.height * shrink))))
    if face is None:
        return Figure(_uri(preview), preview.width, preview.height, None, (), "")
    box = face.bounding_box
    marks = face.landmarks
    landmarks = [
        (point.x, point.y)
        for point in (marks.right_eye, marks.left_eye, marks.nose_tip, marks.mouth_right, marks.mouth_left)
    ]
    crop = align(np.asarray(image), np.array(landmarks, dtype=np.float32))
    return Figure(
        photo=_uri(preview),
        width=preview.width,
        height=preview.height,
        box=(box.x * shrink, box.y * shrink, box.width * shrink, box.height * shrink),
        points=tuple((x * shrink, y * shrink) for x, y in landmarks),
        crop=_uri(Image.fromarray(crop)),
    )


def _uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
