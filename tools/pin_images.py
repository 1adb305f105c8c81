"""Writes the digests of the images that docker/ builds from and runs: ``name:tag`` becomes ``name:tag@sha256:…``.

The registry is asked with skopeo, or with docker where there is no skopeo. The digest is that of the list of all
platforms. Read what changed before you commit it: a tag that has moved gets its new digest.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

DOCKER = Path(__file__).resolve().parents[1] / "docker"
FILES = (DOCKER / "Dockerfile", DOCKER / "compose.yaml")
# A build argument of the Dockerfile, or an image of the compose file that is not built here.
IMAGE = re.compile(
    r"^(?P<before>ARG \w+_IMAGE=| *image: (?!sameface))"
    r"(?P<image>[\w./-]+(?::\d+/[\w./-]+)?:[\w.-]+)(?:@sha256:[0-9a-f]{64})?$",
    re.M,
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def pinned(text: str, digest_of: Callable[[str], str]) -> str:
    """Return the text with a digest at each image that a Dockerfile builds from or a compose file runs."""
    return IMAGE.sub(lambda found: f"{found['before']}{found['image']}@{digest_of(found['image'])}", text)


def ask_registry(image: str) -> str:
    """Return the digest of ``name:tag``.

    Raises:
        SystemExit: no program can ask the registry, or it does not answer.
    """
    if shutil.which("skopeo"):
        command = ["skopeo", "inspect", "--no-tags", "--format", "{{.Digest}}", f"docker://{image}"]
    elif shutil.which("docker"):
        command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", image]
    else:
        sys.exit("skopeo or docker is needed to ask a registry for a digest; install one of them")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    digest = answer.stdout.strip()
    if answer.returncode != 0 or not DIGEST.fullmatch(digest):
        sys.exit(f"no digest of {image}: {answer.stderr.strip() or digest}")
    return digest


def main() -> None:
    """Ask for every digest first, then write the files."""
    written = {file: pinned(file.read_text(encoding="utf-8"), ask_registry) for file in FILES}
    for file, text in written.items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
