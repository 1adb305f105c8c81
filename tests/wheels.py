"""Wheels of what this environment holds, from which pip makes other environments without the network."""

import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
WRITTEN_BY_INSTALLERS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout and return its path."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, cwd=folder)
    return next(folder.glob("sameface-*.whl"))


def fill(folder: Path, *requirements: str) -> None:
    """Write a wheel of each installed package that the requirements name, directly or not; sameface's own is built."""
    for name in _named(requirements) - {"sameface"}:
        _write_wheel(distribution(name), folder)
    build_wheel(folder)


def _named(requirements: tuple[str, ...]) -> set[str]:
    environment = {key: str(value) for key, value in default_environment().items()}
    waiting = [Requirement(requirement) for requirement in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                for needed in map(Requirement, distribution(name).requires or ()):
                    if needed.marker is None or needed.marker.evaluate(environment | {"extra": extra}):
                        waiting.append(needed)
    return {name for name, _ in seen}


def _write_wheel(installed: Distribution, folder: Path) -> None:
    """Put an installed package back into a wheel. pip makes its commands again; other scripts are left out."""
    files = [file for file in installed.files or () if ".." not in file.parts and file.suffix != ".pyc"]
    record = next(file for file in files if file.match("*.dist-info/RECORD"))
    files = [file for file in files if file.parent != record.parent or file.name not in WRITTEN_BY_INSTALLERS]
    tags = [
        line.split()[1].split("-") for line in (installed.read_text("WHEEL") or "").splitlines() if line[:4] == "Tag:"
    ]
    tag = "-".join(".".join(sorted(set(parts))) for parts in zip(*tags, strict=True))
    with ZipFile(folder / f"{record.parent.name.removesuffix('.dist-info')}-{tag}.whl", "w") as wheel:
        for file in files:
            wheel.write(str(file.locate()), str(file))
        wheel.writestr(str(record), "".join(f"{file},,\n" for file in [*files, record]))
