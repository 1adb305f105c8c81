"""`sameface` as a process: how it ends, and what it prints to pipes and terminals of another encoding."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import process

CRASH = """
from sameface.cli import doctor, main
def examine():
    raise {error}
doctor.examine = examine
main.main()
"""

FORKS = """
import json, os, sys
from pydantic import BaseModel
from sameface import client
from sameface.cli import decide, detect, enroll, identities
from sameface.cli.main import main
for number, arguments in enumerate(json.loads(sys.argv[1])):
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for stream, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{sys.argv[2]}/{number}.{name}", os.O_WRONLY | os.O_CREAT, 0o600), stream)
    sys.argv = ["sameface", *arguments]
    main()
"""
"""Runs each command in a process of its own, which has imported everything already, for typer too: that takes most
of the time."""


def processes(*commands: list[str], folder: Path, encoding: str) -> list[subprocess.CompletedProcess[bytes]]:
    """Run `sameface` once for each list of arguments, as processes whose streams have an encoding."""
    folder.mkdir()
    program = [sys.executable, "-c", FORKS, json.dumps(commands), str(folder)]
    ended = subprocess.run(program, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": encoding})
    return [
        subprocess.CompletedProcess(
            command, int(code), *((folder / f"{number}.{name}").read_bytes() for name in ("stdout", "stderr"))
        )
        for number, (command, code) in enumerate(zip(commands, ended.stdout.split(), strict=True))
    ]


def crash(error: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CRASH.format(error=error), "doctor"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_a_package_that_a_command_lacks_is_named_with_what_to_install() -> None:
    """Somebody has installed the client, and typer by chance."""
    program = CRASH.format(error="ModuleNotFoundError('No module named anyascii', name='anyascii')")
    program = program.replace("main.main()", "from sameface.cli.start import main as start\nstart()")
    command = [sys.executable, "-c", program, "doctor"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr == (
        "sameface: the command line needs more packages (anyascii is not installed); run: "
        "pip install 'sameface[server]'\n"
    )


@pytest.mark.parametrize("error", ["RuntimeError('one\\ntwo')", "KeyError('one two')", "ZeroDivisionError('one two')"])
def test_a_crash_is_one_line_and_no_decision(error: str) -> None:
    result = crash(error)
    assert result.returncode == 3
    (line,) = result.stderr.splitlines()
    assert "one two" in line
    assert "SAMEFACE_DEBUG=1" in line


def test_a_crash_is_traced_for_whoever_wants_to_know() -> None:
    result = crash("RuntimeError('one')", SAMEFACE_DEBUG="1")
    assert result.returncode == 3
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["model", "list"], ["model", "list", "--json"]])
def test_a_reader_that_has_gone_is_no_decision_and_no_complaint(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = process(*arguments, stdout=writer)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("wb") as full:
        result = process("version", stdout=full.fileno())
    assert result.returncode == 3
    assert result.stderr.splitlines() == [b"sameface: [Errno 28] No space left on device"]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_names_of_any_bytes_are_printed(encoding: str, gallery: str, portraits: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/people/Jos\xe9 [red] \xe6\x9d\x8e["
    os.makedirs(folder)
    photo = folder + b"/x]\xff.jpg"
    shutil.copy(os.fsencode(portraits / "barack_obama.jpg"), photo)
    photo_name = os.fsdecode(photo)
    people = str(tmp_path / "people")
    commands: tuple[list[str], ...] = (
        ["enroll", gallery, people],
        ["detect", people],
        ["identify", gallery, people],
        ["identity", "list", gallery],
        ["compare", photo_name, photo_name],
    )
    # Twice each: for people, and for programs.
    ended = processes(
        *(one for command in commands for one in (command, [*command, "--json"])),
        folder=tmp_path / "output",
        encoding=encoding,
    )
    for command, result, printed in zip(commands, ended[::2], ended[1::2], strict=True):
        assert (result.returncode, b"Traceback" in result.stderr) == (0, False), result.stderr
        assert printed.returncode == 0, printed.stderr
        (record,) = map(json.loads, printed.stdout.decode("utf-8").splitlines())
        if command[0] == "detect":
            assert b"[/x]" in result.stdout
        if command[0] != "identity":
            # Byte for byte the name that was given.
            assert photo_name in record["photo"]
    assert process("compare", photo, photo, PYTHONIOENCODING=encoding).returncode == 0


def test_results_go_where_they_are_sent_while_a_terminal_shows_progress(gallery: str, portraits: Path) -> None:
    terminal, errors = pty.openpty()
    try:
        command = [sys.executable, "-m", "sameface.cli", "detect", str(portraits), "--json"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, check=False, timeout=60)
    finally:
        os.close(errors)
        os.close(terminal)
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 6
