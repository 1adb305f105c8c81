"""What several suites share: the portraits, the shared evaluation data, and one real service."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sameface.client import connect
from sameface.client.connection import Connection
from sameface.inference.defaults import chosen_version
from sameface.launcher import Service, served
from sameface.settings import model_repository_source

ROOT = Path(__file__).resolve().parents[1]
PORTRAITS = ROOT / "tests" / "data" / "portraits"

# Stores flush with every write, which a slow disk makes most of the time of a run. A process that is killed loses no
# more on a file system in memory than on a disk.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def default_version() -> int:
    """Return the version of the embedder that the repository binds new galleries to."""
    source = model_repository_source()
    return chosen_version(None, source, source).version


@pytest.fixture(scope="session")
def portraits() -> Path:
    """Folder of the six licensed portraits."""
    return PORTRAITS


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the evaluation data, which is not part of the repository."""
    folder = Path(os.environ.get("SAMEFACE_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data in {folder}; name its folder with SAMEFACE_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real `sameface serve`: tritonserver, Qdrant Edge on disk, gRPC on a free port."""
    folder = tmp_path_factory.mktemp("service")
    with served(folder / "data", folder / "serve.log") as running:
        yield running


@pytest.fixture(scope="session")
def connection(service: Service) -> Iterator[Connection]:
    """A client of that service."""
    with connect(service.address) as opened:
        yield opened
