"""Prepares fine-tuning: centres the pretrained network, and computes the teacher's embedding of every sample."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sameface_train import checkpoint, fine_tune
from sameface_train.embedding import embed, unit
from sameface_train.errors import UnusableData, WrongCheckpoint
from sameface_train.samples import Samples
from sameface_train.sface import centre_output

# Cosine to the mean of an identity's other samples below which a sample is left out of fine-tuning as mislabelled.
LEAST_AGREEMENT = 0.25


def prepare(
    network: nn.Sequential,
    samples: Samples,
    folder: Path,
    side: tuple[int, int],
    device: str,
    note: Callable[[str], None],
) -> tuple[Samples, Tensor]:
    """Centre the network's output and return the samples to learn from with their teacher's embeddings [N, D].

    Embedding them takes minutes, so ``teacher.pt`` of the run's folder keeps the result.

    Raises:
        UnusableData: no sample resembles the others of its identity.
        WrongCheckpoint: the folder's teacher is of other data.
    """
    path = folder / "teacher.pt"
    if path.is_file():
        content = checkpoint.load(path)
    else:
        note(f"embedding {2 * len(samples)} images (each and its mirror image) for the teacher")
        moved = network.to(device, memory_format=torch.channels_last)
        plain, mirrored = (embed(moved, samples.images, side, device, mirrored=flag) for flag in (False, True))
        content = {
            "data": samples.digest,
            "plain": torch.from_numpy(unit(plain)),
            "mirrored": torch.from_numpy(unit(mirrored)),
            "norm": float(np.linalg.norm(plain, axis=1).mean()),
        }
        checkpoint.save(path, content)
    if content.get("data") != samples.digest:
        raise WrongCheckpoint(f"{path} is of other data; choose another folder", metadata={"path": path})
    plain, mirrored = content["plain"], content["mirrored"]
    teacher = fine_tune.centred(nn.functional.normalize(plain + mirrored))
    centre_output(network, plain.numpy(), content["norm"])
    keep = fine_tune.agreeing(teacher, torch.from_numpy(samples.labels), LEAST_AGREEMENT).numpy()
    note(f"{int((~keep).sum())} of {len(keep)} samples do not resemble the others of their identity, and are left out")
    if not keep.any():
        raise UnusableData("no sample resembles the others of its identity; expected one sub-folder for each identity")
    samples = samples.only(keep)
    labels = torch.from_numpy(samples.labels)
    return samples, fine_tune.towards_identity(teacher[torch.from_numpy(keep)], labels)
