"""The CLI says when the service returned fewer faces than it found."""

import pytest

from sameface.cli.output import note_cut


def test_a_cut_is_noted_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    note_cut("crowd.jpg", 32, 300)
    note_cut("pair.jpg", 2, 2)
    assert capsys.readouterr().err.splitlines() == ["crowd.jpg: 32 of 300 faces"]
