"""The file of a photo."""

from pathlib import Path

import pytest

from tests.client.photos import PHOTO


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "ada.jpg").write_bytes(PHOTO)
    return tmp_path / "ada.jpg"
