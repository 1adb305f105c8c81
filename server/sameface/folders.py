"""Folders: of what can be made again, of the user's store, and of the model repository."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


def cache_folder() -> Path:
    """Return the folder of files that can be made again: ``$SAMEFACE_CACHE_DIR`` or the user's cache folder."""
    chosen = os.environ.get("SAMEFACE_CACHE_DIR")
    return Path(chosen) if chosen else user_cache_path("sameface", appauthor=False)


def default_data_dir() -> Path:
    """Return the folder of the embedded store if none is chosen: the user's data folder."""
    return user_data_path("sameface", appauthor=False)


def model_repository_source() -> Path:
    """Return the folder of committed configs and cards, in the checkout or in the installed package."""
    root = _checkout()
    return root / "model_repository" if root else Path(__file__).resolve().parent / "model_repository"


def default_model_repository() -> Path:
    """Return the model repository that is served if none is chosen.

    An installed package may be read-only, so its weights are built in the cache folder.
    """
    return model_repository_source() if _checkout() else cache_folder() / "model_repository"


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "model_repository").is_dir() else None
