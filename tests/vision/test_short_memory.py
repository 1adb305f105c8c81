"""A photo for which the memory is short is decoded as ever, or refused for a while: it is not called broken."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sameface.api.status import ERRORS
from tests.vision.hostile import saved
from tests.vision.writers import in_space, profile

SIDE = 1500
# Decodes a file again and again, each time with a little more memory than before, and prints what came of it.
PROGRAM = """
import hashlib, json, resource, sys
from sameface.errors import ServerBusy
from sameface.vision import ImageLimits, decode_image

content = open(sys.argv[1], "rb").read()
decode_image(open(sys.argv[2], "rb").read(), ImageLimits())
for more in range(0, 64, 2):
    with open("/proc/self/statm") as counts:
        used = int(counts.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (more << 20), resource.RLIM_INFINITY))
    try:
        outcome = hashlib.sha256(decode_image(content, ImageLimits()).pixels.tobytes()).hexdigest()
    except ServerBusy as error:
        outcome = [error.reason, error.retry_after_s, error.message]
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(json.dumps(outcome))
"""


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "JPEG"])
def test_a_photo_that_finds_no_memory_is_not_called_broken(file_format: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (SIDE // 4, SIDE // 4, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    options = {}
    if file_format in ("PNG", "TIFF", "JPEG"):
        pixels = (in_space(pixels, "display-p3") * 255 + 0.5).astype(np.uint8)
        options = {"icc_profile": profile("display-p3")}
    (tmp_path / "photo").write_bytes(saved(Image.fromarray(pixels), file_format, **options))
    # Loads what the first photo needs.
    (tmp_path / "small").write_bytes(saved(Image.fromarray(pixels[:64, :64]), file_format, **options))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "photo"), str(tmp_path / "small")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    outcomes = [json.loads(line) for line in result.stdout.splitlines()]
    refused = [outcome for outcome in outcomes if isinstance(outcome, list)]
    decoded = {outcome for outcome in outcomes if isinstance(outcome, str)}
    assert len(decoded) == 1
    assert refused
    for reason, retry_after_s, message in refused:
        assert reason in ERRORS
        assert retry_after_s > 0
        assert f"not enough memory at the moment to decode the {file_format} image" in message
