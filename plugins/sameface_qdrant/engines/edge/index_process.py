"""Builds the index of a shard that no process has open. Run as a program, because Edge holds Python's interpreter lock
for the whole time, which may be an hour.

    python index_process.py FOLDER PARENT '{"dimension": 128, "m": 32, "ef_construct": 200, "threads": 0}' '["/path"]'

PARENT is the process id of the caller, the last argument the folders that modules are imported from.

It leaves one indexed segment with 8-bit copies of the vectors, without any removed point, and makes the files durable.
It must not be imported: `sameface_qdrant.engines.edge.index` starts it on a copy of the open shard.
"""

import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[4])

import qdrant_edge as edge

VECTOR_NAME, TENANT_FIELD = "embedding", "gallery"
PR_SET_PDEATHSIG = 1
UNLIMITED_KB = 1 << 40


def main(folder: Path, parent: int, settings: dict[str, int]) -> None:
    """Build the index; print nothing."""
    _end_with(parent)
    with contextlib.suppress(OSError):
        os.nice(19)
    shard = edge.EdgeShard.load(str(folder), _config(settings))
    # Read from the files, so that the serving process opens the shard in a moment.
    for name, found in shard.info().payload_schema.items():
        if getattr(found.params, "memory", None) == edge.Memory.Cached:
            continue
        on_disk = (
            edge.FloatIndexParams(memory=edge.Memory.Cached)
            if found.data_type == edge.PayloadSchemaType.Float
            else edge.KeywordIndexParams(is_tenant=name == TENANT_FIELD, memory=edge.Memory.Cached)
        )
        shard.update(edge.UpdateOperation.delete_field_index(name))
        shard.update(edge.UpdateOperation.create_field_index(name, on_disk))
    shard.optimize()
    shard.flush()
    shard.close()
    for path in [folder, *folder.rglob("*")]:
        _sync(path)


def _config(settings: dict[str, int]) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors={VECTOR_NAME: edge.EdgeVectorParams(size=settings["dimension"], distance=edge.Distance.Cosine)},
        hnsw_config=edge.HnswIndexConfig(
            m=settings["m"],
            ef_construct=settings["ef_construct"],
            full_scan_threshold=1,
            max_indexing_threads=settings["threads"],
        ),
        quantization_config=edge.ScalarQuantizationConfig(type=edge.ScalarType.Int8, always_ram=True),
        optimizers=edge.EdgeOptimizersConfig(
            # Every vector is indexed, and every segment with a removed point is written again.
            indexing_threshold=1,
            deleted_threshold=1e-12,
            vacuum_min_vector_number=1,
            default_segment_number=1,
            max_segment_size=UNLIMITED_KB,
        ),
        id_tracker_memory=edge.Memory.Cached,
        wal_enabled=False,
    )


def _end_with(parent: int) -> None:
    """End this process when the process that started it ends, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
