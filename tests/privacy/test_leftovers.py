"""What a service leaves when it ends has no photo, no embedding and no name, except in its store."""

import base64
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sameface.client import Client, ServiceError
from sameface.inference.local.metrics import read_metrics
from sameface.inference.local.process import SHARED_MEMORY
from sameface.launcher import served
from sameface.settings import cache_folder
from sameface.v1 import face_pb2
from tests.processes import descendants, regions, until

ID, NAME, LABEL, CONSENT, TEXT = "quillon-7731", "Zephyrine Quillon", "ward-xylo", "consent-qx-55", "Bed 9, Zyx ward"
NAMES = (ID, NAME, LABEL, CONSENT, TEXT)
WINDOW = 24


def windows(content: bytes, count: int) -> list[bytes]:
    """Parts of a content that occur nowhere by chance."""
    draw = random.Random(5)
    found: list[bytes] = []
    while len(found) < count:
        start = draw.randrange(max(1, len(content) - WINDOW))
        if len(set(part := content[start : start + WINDOW])) > WINDOW // 2:
            found.append(part)
    return found


def needles_of(photos: Sequence[bytes], embeddings: Sequence[Sequence[float]]) -> dict[str, list[bytes]]:
    """What must be nowhere, by its kind."""
    pixels = [Image.open(io.BytesIO(photo)).convert("RGB").tobytes() for photo in photos]
    parts = [part for content in (*photos, *pixels) for part in windows(content, 20)]
    numbers = [np.asarray(values) for values in embeddings]
    vectors = [
        array.astype(kind)[start : start + 4].tobytes()
        for array in numbers
        for kind in ("<f4", "<f8", "<f2")
        for start in range(0, 124, 5)
    ]
    return {
        "photo": parts,
        "photo in hex": [part.hex().encode() for part in parts],
        # Each of the three ways in which base64 may cut.
        "photo in base64": [base64.b64encode(part[cut : cut + 18])[:24] for part in parts for cut in range(3)],
        "embedding": vectors,
        "embedding in text": [f"{abs(value):.12f}"[:9].encode() for array in numbers for value in array if value],
        "name": [
            form for name in NAMES for form in (name.encode(), name.encode("utf-16-le"), name.encode().hex().encode())
        ],
    }


def found_in(content: bytes, needles: dict[str, list[bytes]]) -> set[str]:
    """The kinds of needles in a content."""
    return {kind for kind, ones in needles.items() if any(one in content for one in ones)}


def files_in(*folders: Path) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def photo_with_texts(path: Path) -> bytes:
    """A photo whose metadata name a person."""
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x010E] = exif[0x013B] = f"{NAME}, {TEXT}"
    with Image.open(path) as image:
        image.convert("RGB").save(buffer, "JPEG", exif=exif, comment=TEXT, quality=92)
    return buffer.getvalue()


def use(client: Client, photos: Sequence[bytes]) -> Sequence[Sequence[float]]:
    """Do what users do, and what goes wrong for them. Return the embeddings of the photos."""
    client.create_gallery("staff", display_name=NAME)
    client.enroll(
        "staff", ID, photos[0], display_name=NAME, labels={"place": LABEL}, consent_reference=CONSENT, purpose=TEXT
    )
    client.verify("staff", ID, photos[1])
    client.identify("staff", photos[1])
    client.search("staff", photos[1])
    client.compare(photos[0], photos[1])
    client.detect(photos[0])
    assert len(list(client.identities("staff", labels={"place": LABEL}))) == 1
    embeddings = [client.embed(photo).faces[0].embedding for photo in photos]
    client.verify("staff", ID, embeddings[1])
    list(client.identify_stream("staff", [photos[1], photos[0][: len(photos[0]) // 3]]))
    for wrong in (
        lambda: client.verify("staff", f"{ID}-2", photos[0]),
        lambda: client.enroll("staff", ID, photos[0][:5000]),
        lambda: client.enroll("staff", ID, b"\x89PNG\r\n\x1a\n" + photos[0]),
        lambda: client.enroll("staff", f"{ID}\n{NAME}", photos[0]),
        lambda: client.verify("staff", ID, face_pb2.Embedding(values=[float("nan"), *embeddings[0].values[1:]])),
        lambda: client.create_gallery(NAME),
        lambda: client.create_identity("staff", ID),
        lambda: client.enroll("staff", ID, photos[0], request_id=NAME),
        lambda: client.delete_identity("staff", ID),
        lambda: client.search("staff", photos[0], labels={NAME: TEXT}),
    ):
        with pytest.raises((ServiceError, ValueError, TypeError)):
            wrong()
    client.move_identity("staff", ID, f"{ID}-moved")
    return [list(one.values) for one in embeddings]


def test_nothing_of_a_person_is_left_outside_of_the_store(
    tmp_path: Path, portraits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, current, data, logs = (tmp_path / name for name in ("home", "current", "data", "logs"))
    for folder in (home, current, logs):
        folder.mkdir()
    # The paths of Triton's sockets must be short.
    temporary = Path(tempfile.mkdtemp(prefix="left"))
    syslog = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    syslog.bind(str(tmp_path / "syslog"))
    syslog.setblocking(False)
    monkeypatch.setenv("SAMEFACE_CACHE_DIR", str(cache_folder()))
    for name, value in {
        "HOME": home,
        "TMPDIR": temporary,
        "XDG_CACHE_HOME": home,
        "SAMEFACE_AUDIT__ENABLED": "true",
        "SAMEFACE_AUDIT__DURABLE_WITHIN_S": "0.01",
        "SAMEFACE_AUDIT__SYSLOG": tmp_path / "syslog",
        "GRPC_VERBOSITY": "info",
    }.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.chdir(current)
    photos = [photo_with_texts(portraits / f"emmanuel_macron_{year}.jpg") for year in (2014, 2025)]
    before = set(os.listdir(SHARED_MEMORY))
    with served(data, logs / "log", ["--log-level", "debug"]) as service:
        with Client(service.address) as client:
            embeddings = use(client, photos)
            metrics = client.server_info().inference_metrics_url.removeprefix("unix:")
        processes = {service.pid} | descendants(service.pid)
        for process in processes:
            assert re.search(r"Max core file size +0 +0 ", Path(f"/proc/{process}/limits").read_text())
            assert int(Path(f"/proc/{process}/coredump_filter").read_text(), 16) == 0
        (logs / "metrics").write_text(read_metrics(Path(metrics)))
        # Whatever crashes, by itself or by a signal, leaves no dump.
        for process in processes - {service.pid}:
            os.kill(process, signal.SIGABRT)
    until(lambda: not regions(service.pid), "the shared memory is gone")
    needles = needles_of(photos, embeddings)

    # The needles would be found: in the store, and in a file that has them.
    assert any(ID.encode() in path.read_bytes() for path in files_in(data / "store"))
    for kind, ones in needles.items():
        assert found_in(b"x" + random.Random(1).choice(ones) + b"y", needles) >= {kind}
    assert {"log", "metrics"} <= {path.name for path in files_in(logs)}
    entries = [json.loads(line) for path in sorted(data.glob("audit/*.jsonl")) for line in path.open()]
    assert {"EnrollTemplate", "VerifyFace", "MoveIdentity"} <= {entry["rpc"] for entry in entries}

    outside = [
        path for path in files_in(home, temporary, current, logs, data) if not path.is_relative_to(data / "store")
    ]
    left = {path: found_in(path.read_bytes(), needles) for path in outside}
    (tmp_path / "mirror").write_bytes(received(syslog))
    left[tmp_path / "mirror"] = found_in((tmp_path / "mirror").read_bytes(), needles)
    assert (tmp_path / "mirror").stat().st_size > 1000
    assert {path: kinds for path, kinds in left.items() if kinds} == {}
    assert not [path for path in left if path.name.startswith("core")]
    new = {name for name in set(os.listdir(SHARED_MEMORY)) - before if name.startswith(f"sameface_{service.pid}")}
    assert new == set()
    shutil.rmtree(temporary)


def received(syslog: socket.socket) -> bytes:
    """Everything that was sent to a syslog."""
    content = b""
    while True:
        try:
            content += syslog.recv(1 << 16) + b"\n"
        except BlockingIOError:
            return content
