"""The environment of the local tritonserver: a venv in the cache folder, built once.

tritonserver 2.51.0 comes from the nvidia-pytriton wheel and is the version of image 24.10. The native backend of that
image has about ONNX Runtime 1.19. Here a newer ONNX Runtime is pinned, which needs about four fifths of the time for
the embedder. The tests load every model in 1.19 too. OpenVINO is there for `face_embedder_openvino`. numpy must be
below 2: with a newer one, Triton's python backend silently passes zeros to the models.

Three locks beside this file have every package with its hashes, and nothing else is installed: ``tritonserver.lock``,
and what the python-based backends import, ``backend.lock`` and ``openvino.lock``. `make lock` writes them.
"""

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from sameface.errors import RuntimeMissing
from sameface.libraries import NO_TELEMETRY

TRITON_VERSION = "2.51.0"
LOCKS = tuple(Path(__file__).with_name(name) for name in ("tritonserver.lock", "backend.lock", "openvino.lock"))
BACKEND_SOURCE = Path(__file__).with_name("triton_backend") / "model.py"
BACKENDS = ("onnxruntime", "openvino")
GLIBC = (2, 35)


@dataclass(frozen=True, slots=True)
class Runtime:
    """Paths of a runtime."""

    root: Path

    @property
    def python(self) -> Path:
        """The Python interpreter, which Triton's stub processes use too."""
        return self.root / "venv" / "bin" / "python"

    @property
    def _site_packages(self) -> Path:
        return self.root / "venv" / "lib" / f"python{_python_version()}" / "site-packages"

    @property
    def server(self) -> Path:
        """The tritonserver binary."""
        return self._site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        """The folder of the backends: `python`, and the python-based `onnxruntime` and `openvino`."""
        return self.root / "backends"

    def environment(self) -> dict[str, str]:
        """Return the environment variables of tritonserver. It inherits none from the service."""
        libraries = f"{self._site_packages / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
        return {
            # The venv must be first. Otherwise the stub uses another interpreter, and the start hangs.
            "PATH": f"{self.python.parent}:/usr/bin:/bin",
            "LD_LIBRARY_PATH": libraries,
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **NO_TELEMETRY,
        }


def runtime_folder(cache: Path) -> Path:
    """Return the folder of the runtime. Other locks or another Python give another folder."""
    files = (file.read_text(encoding="utf-8") for file in (*LOCKS, BACKEND_SOURCE))
    recipe = "\n".join([*files, _python_version(), sys.base_prefix])
    return cache / f"triton-{TRITON_VERSION}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def find_runtime(cache: Path) -> Runtime | None:
    """Return the runtime in the cache folder, or None if it was not prepared."""
    runtime = Runtime(runtime_folder(cache))
    return runtime if runtime.server.is_file() and runtime.python.exists() else None


def require_runtime(cache: Path) -> Runtime:
    """Return the runtime in the cache folder.

    Raises:
        RuntimeMissing: it was not prepared. The message names the command that prepares it.
    """
    runtime = find_runtime(cache)
    if runtime is None:
        raise RuntimeMissing(
            f"there is no Triton runtime in {cache}; prepare it with `sameface triton install`, name a running Triton "
            "with --triton-url, or run the models in process with --inference onnx",
            metadata={"path": cache},
        )
    return runtime


def install_runtime(cache: Path, progress: Callable[[str], None]) -> Runtime:
    """Return the runtime; build it first if it is missing.

    It is built in a temporary folder that is renamed at the end, so an incomplete build is never used. A lock file
    prevents two builds at the same time.

    Raises:
        RuntimeMissing: this machine cannot run it, or pip failed. The message says what is missing.
    """
    if found := find_runtime(cache):
        return found
    check_machine()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "triton.lock").open("w") as lock:
        progress("waiting for another build to end, if there is one")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := find_runtime(cache):
            return found
        target = runtime_folder(cache)
        for leftover in cache.glob(f"{target.name}.building-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        building = Path(mkdtemp(prefix=f"{target.name}.building-", dir=cache))
        try:
            _build(Runtime(building), progress)
            shutil.rmtree(target, ignore_errors=True)
            building.rename(target)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return Runtime(target)


def _build(runtime: Runtime, progress: Callable[[str], None]) -> None:
    progress("creating its environment")
    venv.create(runtime.root / "venv", with_pip=False, symlinks=True)
    progress(f"fetching tritonserver {TRITON_VERSION} (53 MB), ONNX Runtime and OpenVINO (59 MB)")
    _install(runtime)
    progress("installing the backends")
    wheel = runtime.server.parents[1]
    python = runtime.backends / "python"
    python.mkdir(parents=True)
    # Real copies: Triton refuses a symlinked library ("escapes backend directory").
    for item in (wheel / "backends" / "python").iterdir():
        if item.is_file():
            shutil.copy2(item, python)
    stub = wheel / "python_backend_stubs" / _python_version() / "triton_python_backend_stub"
    if not stub.is_file():
        raise RuntimeMissing(
            f"tritonserver {TRITON_VERSION} does not support Python {_python_version()}; use another Python, or run "
            "the models in process with --inference onnx"
        )
    shutil.copy2(stub, python)
    shutil.rmtree(wheel / "python_backend_stubs")
    (python / stub.name).chmod(0o755)
    runtime.server.chmod(0o755)
    for backend in BACKENDS:
        (runtime.backends / backend).mkdir()
        shutil.copy2(BACKEND_SOURCE, runtime.backends / backend / "model.py")


def _install(runtime: Runtime) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(runtime.python), "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--only-binary=:all:", "--no-deps", "--require-hashes"]
    for lock in LOCKS:
        command += ["--requirement", str(lock)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeMissing(
            f"pip cannot install the packages of the Triton runtime; pip says:\n{result.stderr[-800:]}",
            metadata={"packages": ", ".join(lock.name for lock in LOCKS)},
        )


def check_machine() -> None:
    """Check that tritonserver can run on this machine.

    Raises:
        RuntimeMissing: it cannot. The message names the alternatives.
    """
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise RuntimeMissing(
            f"there is no tritonserver for {system} {machine}, only for Linux x86_64; run the models in process with "
            "--inference onnx, or name a running Triton with --triton-url"
        )
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < GLIBC:
        raise RuntimeMissing(
            f"tritonserver needs glibc {GLIBC[0]}.{GLIBC[1]} or newer, but this machine has {name or 'another libc'} "
            f"{version}; run the models in process with --inference onnx, or name a running Triton with --triton-url"
        )


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"
