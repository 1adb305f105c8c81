"""What the start of a service waits for, for how long, and how it counts CPUs."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from sameface.errors import ModelUnavailable
from sameface.inference.triton import TritonInference
from sameface.service import open_store, until_available
from sameface.settings import Settings, available_cpus, cache_folder
from sameface_qdrant.errors import InvalidArgument, StoreUnavailable
from sameface_qdrant.store.store import Store
from tests.client import proxies
from tests.plugin.wire import Double


def serve(tmp_path: Path, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sameface.cli", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path)]
    env = {**os.environ, **environment}
    return subprocess.run([*command, *flags], capture_output=True, text=True, check=False, env=env, timeout=60)


async def test_a_qdrant_that_starts_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, refusals = await Store.open(":memory:"), iter(range(2))

    async def refuse_twice(url: str, **options: Any) -> Store:
        if next(refusals, None) is not None:
            raise StoreUnavailable("Qdrant starts", retry_after_s=0.01)
        return opened

    monkeypatch.setattr(Store, "open", refuse_twice)
    settings = Settings(qdrant_url="http://qdrant:6334")
    assert await open_store(settings, time.monotonic() + 30) is opened
    await opened.aclose()


async def test_an_embedded_store_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(url: str, **options: Any) -> Store:
        raise StoreUnavailable("the folder cannot be written", retry_after_s=0.01)

    monkeypatch.setattr(Store, "open", refuse)
    with pytest.raises(StoreUnavailable, match=r"^the folder cannot be written$"):
        await open_store(Settings(), time.monotonic() + 30)


async def test_other_errors_end_the_wait_at_once() -> None:
    async def refuse() -> None:
        raise PermissionError("no")

    with pytest.raises(PermissionError):
        await until_available("Qdrant", refuse, time.monotonic() + 30)


async def test_a_wait_is_told_and_ends_with_the_time_for_a_start(caplog: pytest.LogCaptureFixture) -> None:
    now = time.monotonic()
    asked = 0

    async def refuse() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            ended.set()
        raise StoreUnavailable("Qdrant does not answer", retry_after_s=0.01)

    ended = asyncio.Event()
    waiting = asyncio.create_task(until_available("Qdrant", refuse, now + 1000))
    await ended.wait()
    waiting.cancel()
    assert {record.getMessage() for record in caplog.records} == {"waiting for Qdrant: Qdrant does not answer"}
    caplog.clear()
    # However late the first answer comes, the error says why the start ended.
    with pytest.raises(StoreUnavailable, match=r"^Qdrant does not answer; gave up after the time .*SAMEFACE_STARTUP_S"):
        await until_available("Qdrant", refuse, now)
    assert not caplog.records


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--qdrant-url", "http://127.0.0.1:9"], "STORE_UNAVAILABLE"),
        (["--triton-url", "127.0.0.1:9"], "MODEL_UNAVAILABLE"),
    ],
)
def test_a_part_that_never_answers_ends_the_start_with_its_name(tmp_path: Path, flags: list[str], reason: str) -> None:
    result = serve(tmp_path, *flags, SAMEFACE_STARTUP_S="0.5", SAMEFACE_TRITON_RECOVERY_S="0")
    assert result.returncode == 3
    assert result.stdout == ""
    last = result.stderr.splitlines()[-1]
    assert last.startswith(f"sameface: {reason}: ")
    assert "127.0.0.1:9" in last
    assert "SAMEFACE_STARTUP_S" in last
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("triton_url", "http://triton:8001", "write triton:8001"),
        ("triton_url", "https://triton", "write triton:8001, and set SAMEFACE_TRITON_TLS__ENABLED=true"),
        ("triton_url", "triton", "write triton:8001"),
        ("triton_url", "triton:99999", "from 1 to 65535"),
        ("triton_url", "unix:", "names no path"),
        ("qdrant_url", "qdrant:6334", "expected http(s)://host:port"),
        ("qdrant_url", "http://qdrant:99999", "no valid port"),
        ("qdrant_url", "http://qdrant:0", "no valid port"),
        ("qdrant_url", "http://", "is not a URL"),
        ("qdrant_url", "http://qdrant:6334/collections", "is not a URL"),
        ("qdrant_url", "http://reader:secret@qdrant:6334", "is not a URL"),
        ("qdrant_url", "http://qdrant:6334?api-key=secret", "is not a URL"),
        ("qdrant_url", "http://[qdrant]:6334", "is not a URL"),
        ("qdrant_url", "http://a,https://b", "mixes http and https"),
        ("qdrant_url", "http://a,http://a/", "names a node twice"),
    ],
)
def test_the_address_of_a_part_is_checked_with_the_settings(setting: str, value: str, told: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings.model_validate({setting: value})
    problem = refused.value.errors(include_input=False)[0]["msg"]
    assert told in problem
    assert "secret" not in problem


@pytest.mark.parametrize("value", ["", "triton:8001", "unix:/run/triton%20of%20mine.sock", "dns:///triton:8001"])
def test_every_address_of_a_triton_is_taken(value: str) -> None:
    assert Settings(triton_url=value).triton_url == value


def test_a_wrong_address_ends_the_start_at_once(tmp_path: Path) -> None:
    result = serve(tmp_path, "--triton-url", "http://triton:8001")
    assert (result.returncode, result.stdout) == (3, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("sameface: INVALID_ARGUMENT: ")
    assert line.endswith("'http://triton:8001' is a URL, not an address; write triton:8001")
    with pytest.raises(InvalidArgument, match="write triton:8001"):
        # As `sameface model check --triton-url` does.
        TritonInference("http://triton")


async def test_parts_on_this_machine_are_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    double = await Double().start()
    with proxies.listening() as (url, asked):
        proxies.use(monkeypatch, url, *proxies.VARIABLES)
        store = await Store.open(double.url)
        await store.aclose()
        triton = TritonInference("127.0.0.1:9")
        with pytest.raises(ModelUnavailable, match="Connection refused"):
            await triton.server_version()
        await triton.aclose()
        assert asked == []
    await double.stop()


@pytest.mark.parametrize(
    ("quotas", "cpus"),
    [
        ({"": "max 100000"}, 64),
        ({"pods/one": "200000 100000"}, 2),
        ({"pods/one": "50000 100000"}, 1),
        ({"pods/one": "250000 100000"}, 3),
        ({"pods/one": "max 100000", "pods": "400000 100000"}, 4),
        ({"pods/one": "800000 100000", "pods": "300000 100000"}, 3),
        ({"": "150000 100000"}, 2),
        ({"pods/one": "nonsense"}, 64),
        ({}, 64),
    ],
    ids=str,
)
def test_the_cpus_of_a_container_are_those_of_its_group_and_not_the_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quotas: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    membership = tmp_path / "membership"
    membership.write_text("1:cpu:/\n0::/pods/one\n")
    for group, quota in quotas.items():
        (tmp_path / "groups" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / group / "cpu.max").write_text(f"{quota}\n")
    assert available_cpus(tmp_path / "groups", membership) == cpus


def test_affinity_bounds_the_photos_that_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert Settings().vision_threads == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the folders of other systems differ")
def test_cache_and_data_are_in_the_users_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SAMEFACE_CACHE_DIR", "SAMEFACE_DATA_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == Settings().cache_dir == tmp_path / ".cache" / "sameface"
    assert Settings().data_dir == tmp_path / ".local" / "share" / "sameface"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg-data"))
    assert cache_folder() == tmp_path / "xdg-cache" / "sameface"
    assert Settings().data_dir == tmp_path / "xdg-data" / "sameface"
    monkeypatch.setenv("SAMEFACE_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"


def every_setting() -> list[tuple[str, Any]]:
    """Each environment variable, with a value that it must accept: its default, or an example where that is empty."""
    examples: dict[str, Any] = {
        "SAMEFACE_QDRANT__STRICT_MODE": {"enabled": True},
        "SAMEFACE_ACCESS__ISSUERS": [{"issuer": "https://login.test", "audience": "faces", "jwks": "keys.json"}],
    }
    found = []
    for name, value in Settings().model_dump(mode="json").items():
        section = value if isinstance(value, dict) else {"": value}
        for field, default in section.items():
            variable = f"SAMEFACE_{name}__{field}".rstrip("_").upper()
            if default is not None or variable in examples:
                found.append((variable, examples.get(variable, default)))
    return found


@pytest.mark.parametrize(("variable", "value"), every_setting(), ids=[name for name, _ in every_setting()])
def test_every_setting_can_be_given_in_the_environment(
    variable: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value if isinstance(value, str) else json.dumps(value))
    given: Any = Settings().model_dump(mode="json")
    for part in variable.removeprefix("SAMEFACE_").lower().split("__"):
        given = given[part]
    # An issuer has more fields than the example.
    assert given == value or value[0].items() <= given[0].items()
