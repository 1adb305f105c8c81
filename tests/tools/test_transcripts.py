"""The documents' outputs are renewed in their numbers alone, and what else has changed is told."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from sameface.inference.cards import read_cards
from sameface.inference.golden_set import FILE_NAME, compare_golden_set, read_golden_faces
from sameface.settings import model_repository_source
from tools.transcripts.outputs import served_models_text
from tools.transcripts.places import PLACES, ROOT, stale
from tools.transcripts.renewal import (
    Changed,
    renewed_fields,
    renewed_lines,
    renewed_part,
    renewed_whole,
    replaced,
    without_times,
)

SCORES = st.floats(-1, 1).map(lambda value: f"{value:.3f}")
ROW = " {photo:12} leaders/{claim:8} {score:>7}  {threshold:>7}  MODEL_CARD  {lead:>7}  MATCH  {ms:>5}"


def row(name: tuple[str, str], numbers: tuple[str, str, str, int]) -> str:
    (photo, claim), (score, threshold, lead, ms) = name, numbers
    return ROW.format(photo=photo, claim=claim, score=score, threshold=threshold, lead=lead, ms=ms)


@given(st.lists(st.tuples(SCORES, SCORES, SCORES, st.integers(1, 99_999)), min_size=8, max_size=8))
@limits(max_examples=30)
def test_every_number_becomes_the_printed_one_and_names_stay(numbers: list[tuple[str, str, str, int]]) -> None:
    names = [("ada_2014", "ada"), ("ada_2025", "ada"), ("bo", "bo"), ("bo", "?")]
    then, now = ([*map(row, names, part)] for part in (numbers[:4], numbers[4:]))
    printed = "\n".join(["heading", *now, "end"])
    assert renewed_lines("\n".join(then), printed) == "\n".join(now)
    shown = [then[0], "…", then[3]]
    assert renewed_lines("\n".join(shown), printed) == "\n".join([now[0], "…", now[3]])
    with pytest.raises(Changed, match="not printed any more"):
        renewed_lines(then[1].replace("MATCH", "AMBIGUOUS"), printed)
    with pytest.raises(Changed, match="not printed any more"):
        renewed_lines("\n".join(reversed(then[:2])), printed)


@given(SCORES, st.integers(1, 3))
@limits(max_examples=30)
def test_a_number_that_is_cut_stays_as_short(score: str, digits: int) -> None:
    shown = f"…jacinda  {'0.123'[: digits + 2]}…  CARD  …  MATCH"
    found = renewed_lines(shown, f"x  jacinda {score}  CARD 0.1  MATCH")
    assert found == f"…jacinda  {score[: score.index('.') + digits + 1]}…  CARD  …  MATCH"


def test_the_fields_of_an_answer_get_their_values_in_their_order() -> None:
    decision = {
        "outcome": "OUTCOME_MATCH",
        "score": 0.5,
        "candidates": [{"score": 0.25, "size": "1"}],
        "threshold": 0.75,
    }
    printed = "{}" + json.dumps({"face": {"score": 0.9}}) + json.dumps({"decision": decision}) + "\nend"
    shown = (
        '{"outcome": "OUTCOME_MATCH", "score": 0.1,\n "threshold": 0.2, "size": "1", "candidates": [{"score": 0.3}]}'
    )
    expected = shown.replace("0.1", "0.5").replace("0.2,", "0.75,").replace("0.3", "0.25")
    assert renewed_fields(shown, printed) == expected
    with pytest.raises(Changed, match="no further number 'score'"):
        renewed_fields(shown + '"score": 0.4', printed)
    for other in (printed.replace("_MATCH", "_NO_MATCH"), "", "{"):
        with pytest.raises(Changed, match="outcome of"):
            renewed_fields(shown, other)


def test_a_table_is_replaced_whole_and_a_list_is_wrapped_as_before() -> None:
    assert (
        renewed_whole("model  cosine\na  1", "note\nmodel    cosine\naa  2  \nb  3\n\nend")
        == "model    cosine\naa  2\nb  3"
    )
    with pytest.raises(Changed):
        renewed_whole("model  cosine\na  1", "b 3")
    assert renewed_part("a v1, b v1", "a v1, b v1, b v2 (default)") == "a v1, b v1, b v2 (default)"
    assert renewed_part("aa bb\ncc", "aa bb cc dd") == "aa bb\ncc dd"


def test_a_document_must_show_an_output_once() -> None:
    region = re.compile("<(.*?)>")
    assert replaced("a <b> c", region, str.upper) == "a <B> c"
    for text in ("a", "<a> <b>"):
        with pytest.raises(Changed, match="places are like"):
            replaced(text, region, str.upper)
    for place in PLACES:
        assert Path(ROOT / place.document).is_file()


def test_times_do_not_count() -> None:
    assert without_times("score  0.51  MATCH  61\n") == without_times("score 0.51 MATCH   9\n")
    assert without_times("score 0.51 61") != without_times("score 0.52 61")
    assert without_times("photo_2018 v2") != without_times("photo_2019 v3")


def test_the_documents_show_the_models_that_are_served_and_their_golden_sets() -> None:
    cards = read_cards(model_repository_source())
    faces = read_golden_faces(model_repository_source() / "face_embedder" / FILE_NAME)
    rows = ["model version cosine to golden vector least cosine to golden set mated non-mated"]
    for card in cards:
        spans = "– – –"
        if card.golden_set is not None:
            found = compare_golden_set(card, faces, np.array(card.golden_set.outputs, np.float32))
            spans = "1.0000000 " + " ".join(f"{one[0]:.3f} to {one[-1]:.3f}" for one in (found.mated, found.non_mated))
        rows.append(f"{card.model} {card.version} 1.0000000 {spans}")
    assert not stale("docs/models.md", {"check": "\n".join(rows)})
    assert not stale("docs/operations.md", {"models": served_models_text()})
