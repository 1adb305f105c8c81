"""Runs a command under strace and reads from its system calls whom it contacts and where it writes.

Only system calls show what native libraries do: hooks of Python see nothing of it.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

CONTACTS = ("connect", "sendto", "sendmsg", "sendmmsg")
PATHS = ("mkdir", "mkdirat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "mknod")
OPENS = ("open", "openat", "creat")

_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>.*)$")
_IP = re.compile(r'sin6?_port=htons\((?P<port>\d+)\).*?"(?P<host>[0-9a-f.:]+)"')
_UNIX = re.compile(r'sun_path=(?P<abstract>@?)"(?P<path>(?:[^"\\]|\\.)*)"')
_FAMILY = re.compile(r"sa_family=(?P<family>AF_\w+)")
_OPENED = re.compile(r"^\d+<(?P<path>/[^>]*)>")
_FOLDER = re.compile(r"<(?P<path>/[^>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
NAME_CACHE = Path("/var/run/nscd/socket")
"""glibc asks here first, for users of this machine as well as for hosts, and goes on where nobody answers."""
NO_CONTACT = {"AF_NETLINK", "AF_UNSPEC"}
"""The kernel itself, and the end of a connection."""
_NO_FILE = re.compile(
    r"/dev/(null|tty|pts/)|/proc/(self/|\d+/coredump_filter$|\d+/task/\d+/comm$)|/memfd:|pipe:|socket:|anon_inode:"
)


@dataclass(frozen=True)
class Seen:
    """What a command and everything it started did."""

    returncode: int
    output: str
    contacts: frozenset[str]
    """``host:port`` or ``unix:path`` of everybody it connected or sent to, also in vain; look-ups are port 53."""
    written: frozenset[Path]
    """Files that it opened to write, and what it made or renamed."""

    def contacts_but(self, *expected: str) -> set[str]:
        """Contacts that are none of ``expected`` and do not begin with one that ends in ``/``."""
        folders = tuple(name for name in expected if name.endswith("/"))
        return {name for name in self.contacts if name not in expected and not name.startswith(folders)}

    def written_outside(self, *folders: Path) -> set[Path]:
        """Paths written that lie in none of ``folders``."""
        return {path for path in self.written if not any(path.is_relative_to(folder) for folder in folders)}


def why_not() -> str:
    """Return why nothing can be watched here; empty where it can."""
    if sys.platform != "linux" or not shutil.which("strace"):
        return "strace is not installed, and only it shows what native libraries contact"
    if NAME_CACHE.exists():
        return "nscd runs, and what a process asks it cannot be told apart"
    tried = subprocess.run(["strace", "-f", "--seccomp-bpf", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr[-200:]}" if tried.returncode else ""


def traced(command: Sequence[str], records: Path) -> list[str]:
    """Return the command line that runs ``command`` and leaves what it did in the empty folder ``records``."""
    calls = ",".join(f"?{name}" for name in (*CONTACTS, *PATHS, *OPENS))
    flags = ["-ff", "-y", "--seccomp-bpf", "-qq", "-s", "400", "-e", "signal=none"]
    return ["strace", *flags, "-e", f"trace={calls}", "-o", str(records / "calls"), *command]


def read(records: Path, folder: Path) -> tuple[frozenset[str], frozenset[Path]]:
    """Return contacts and written paths; a relative path is one of ``folder`` where the record does not say more."""
    contacts: set[str] = set()
    written: set[Path] = set()
    for record in records.iterdir():
        for line in record.read_text(errors="replace").splitlines():
            call = _CALL.match(line)
            if call is None:
                continue
            if call["name"] in CONTACTS:
                contacts |= _contacts(call["arguments"])
            elif not call["result"].startswith("-1"):
                written |= _written(call, folder)
    return frozenset(contacts), frozenset(written)


def watch(command: Sequence[str], folder: Path, environment: dict[str, str]) -> Seen:
    """Run a command in ``folder`` to its end and return what it did."""
    records = Path(mkdtemp(dir=folder))
    done = subprocess.run(
        traced(command, records),
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    contacts, written = read(records, folder)
    shutil.rmtree(records)
    return Seen(done.returncode, done.stdout, contacts, written)


def _contacts(arguments: str) -> set[str]:
    found = {f"{match['host'].removeprefix('::ffff:')}:{match['port']}" for match in _IP.finditer(arguments)}
    found |= {f"unix:{match['abstract']}{match['path']}" for match in _UNIX.finditer(arguments)}
    families = set(_FAMILY.findall(arguments)) - NO_CONTACT
    return (found or families) - {f"unix:{NAME_CACHE}"}


def _written(call: re.Match[str], folder: Path) -> set[Path]:
    arguments = call["arguments"]
    if call["name"] in OPENS:
        opened = _OPENED.match(call["result"])
        writes = call["name"] == "creat" or re.search(r"O_WRONLY|O_RDWR|O_CREAT", arguments)
        if not writes or opened is None or _NO_FILE.match(opened["path"]):
            return set()
        return {Path(opened["path"])}
    base = Path(at["path"]) if (at := _FOLDER.search(arguments)) else folder
    paths = _TEXT.findall(arguments)
    if call["name"].startswith("symlink"):
        del paths[0]  # what the link says; nothing is written there
    return {base / text for text in paths}


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment with nothing but a path, an empty home, a folder for temporary files, and ``more``."""
    temporary = home / "tmp"
    for folder in (temporary, home / ".cache"):
        folder.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(temporary),
        # Compiled modules beside their sources are the interpreter's, and made where packages are installed.
        "PYTHONDONTWRITEBYTECODE": "1",
        **more,
    }
