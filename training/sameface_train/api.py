"""Training from Python: `train` makes or continues a run, `load_run` opens a finished one."""

import json
import logging
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sameface_qdrant.errors import InvalidArgument
from sameface_train.checkpoint import Trained, alone, load_trained
from sameface_train.data import training_samples
from sameface_train.embedding import embed, unit
from sameface_train.errors import WrongCheckpoint
from sameface_train.image_map import draw_map
from sameface_train.leakage import refuse_leakage
from sameface_train.monitor import Reading, read_log
from sameface_train.options import check_device, check_mirrored, check_whole
from sameface_train.recipes import Recipe
from sameface_train.recipes import recipe as choose
from sameface_train.samples import Images, Samples
from sameface_train.samples import mirrored as with_mirror_images
from sameface_train.trainer import Options, Run
from sameface_train.validation import Measured, read_measured

Note = Callable[[str], None]
_LOGGER = logging.getLogger("sameface_train")


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run with its network, its log and its figures."""

    folder: Path
    trained: Trained = field(repr=False)
    """The network of ``network.pt`` with its recipe: the best step, or the last one if nothing was measured."""
    log: tuple[Reading, ...] = field(repr=False)
    """One reading for each step."""
    measured: tuple[Measured, ...] = field(repr=False)
    """The figures on held-out identities, in the order of the steps; empty if none were held out."""
    record: dict[str, Any] = field(repr=False)
    """``run.json``."""

    @property
    def recipe(self) -> Recipe:
        """The recipe of the run."""
        return self.trained.recipe

    @property
    def step(self) -> int:
        """The step that the network is of."""
        return self.trained.step

    @property
    def best(self) -> Measured | None:
        """The figures of the network's step on held-out identities; None if it was not measured."""
        return next((one for one in self.measured if one.step == self.step), None)

    def embed(self, images: Images) -> NDArray[np.float32]:
        """Return unit embeddings [N, D] of images uint8 [N, C, H, W], which are cut to the network's middle pixels.

        Raises:
            InvalidArgument: the images have another type, other channels, or are too small.
        """
        given = self._checked(images)
        return unit(embed(self.trained.network, given, self.trained.side))

    def draw_map(self, samples: Samples, target: Path | str) -> None:
        """Write a picture of ``samples`` at the places of their embeddings.

        Raises:
            InvalidArgument: the images have another type, other channels, or are too small.
            UnusableData: there are fewer than two images.
        """
        vectors = embed(self.trained.network, self._checked(samples.images), self.trained.side)
        title = f"{self.recipe.name}, step {self.step}"
        draw_map(vectors, samples.images, samples.labels.tolist(), Path(target), title, samples.identities)

    def _checked(self, images: Images) -> Images:
        wanted = (self.trained.channels, *self.trained.side)
        given = np.asarray(images)
        if given.ndim != 4 or given.dtype != np.uint8 or given.shape[1] != wanted[0] or _smaller(given, wanted):
            raise InvalidArgument(
                f"images of {given.dtype} {list(given.shape)} were given; expected uint8 [N, {wanted[0]}, {wanted[1]}, "
                f"{wanted[2]}] or larger ones: read them by read_data",
                metadata={"field": "images"},
            )
        return given


def train(
    recipe: Recipe | str,
    data: Path | str | Samples,
    run: Path | str,
    *,
    seed: int = 0,
    device: str = "cpu",
    hold_out: float = 0.0,
    validate_every: int = 0,
    mirrored: bool = False,
    judged_on: Sequence[Path | str] = (),
    allow_leakage: bool = False,
    on_collapse: Literal["stop", "continue"] = "stop",
    tensorboard: bool = False,
    on_step: Callable[[Reading], None] | None = None,
    on_measured: Callable[[Measured], None] | None = None,
    on_read: Callable[[int, int], None] | None = None,
    note: Note | None = None,
) -> FinishedRun:
    """Train an embedder and return the finished run. An interrupted run is continued by the same call.

    Args:
        recipe: a name, or a changed recipe, for instance ``recipe("triplet", task="drawings", steps=500)``.
        data: a folder of ``<identity>/<image>``, ``omniglot28.npz``, or samples in memory.
        run: the folder of the run; it is made.
        seed: of all random choices.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        hold_out: share of the identities to keep out of training and measure on, 0 to 0.9.
        validate_every: steps between two measurements; 0 measures at the end alone.
        mirrored: add the mirror image of each identity as another identity.
        judged_on: folders of test images; training is refused if the data shares some of them.
        allow_leakage: note what is shared with test images, and train.
        on_collapse: what to do if all embeddings become one point.
        tensorboard: also write TensorBoard events, in the folder ``tensorboard`` of the run.
        on_step: is called with the reading of every step.
        on_measured: is called with the figures on held-out identities.
        on_read: is called with the number of images read and their total.
        note: is called with lines of text for a person; without it they go to the logger ``sameface_train``.

    Raises:
        InvalidArgument: there is no such recipe, or an option is not what is expected.
        UnusableData: the data cannot be trained on; the message says what to do.
        LeakedData: training data and test images share something.
        WrongCheckpoint: the folder holds a run of another recipe, seed or data.
        BusyRun: another process trains in the folder.
        CollapsedRun: the embeddings are one point, or not finite.
    """
    if on_collapse not in ("stop", "continue"):
        raise InvalidArgument(
            f"on_collapse is {on_collapse!r}; expected stop or continue", metadata={"field": "on_collapse"}
        )
    if not isinstance(hold_out, numbers.Real) or not 0.0 <= hold_out <= 0.9:
        raise InvalidArgument(f"hold_out is {hold_out!r}; expected 0 to 0.9", metadata={"field": "hold_out"})
    if isinstance(judged_on, (str, Path)):
        raise InvalidArgument(
            f"judged_on is {str(judged_on)!r}; expected a list of folders: give [{str(judged_on)!r}]",
            metadata={"field": "judged_on"},
        )
    if not isinstance(recipe, (str, Recipe)):
        raise InvalidArgument(f"recipe is {recipe!r}; expected a name or a Recipe", metadata={"field": "recipe"})
    seed, validate_every = check_whole("seed", seed), check_whole("validate_every", validate_every)
    check_device(device)
    said = note or _LOGGER.info
    chosen = choose(recipe) if isinstance(recipe, str) else recipe
    folder = Path(run)
    samples = _samples(data, chosen, mirrored, on_read, said)
    for judging in judged_on:
        if isinstance(data, Samples):
            raise InvalidArgument(
                "judged_on needs a folder to compare with, and samples in memory were given; give data as a folder",
                metadata={"field": "judged_on"},
            )
        refuse_leakage(Path(data), Path(judging), allow=allow_leakage, note=said)
    options = Options(
        seed=seed,
        device=device,
        validation_share=hold_out,
        validate_every=validate_every,
        on_collapse=on_collapse,
        tensorboard=tensorboard,
        report=True,
    )
    with alone(folder):
        training = Run(chosen, samples, folder, options, said)
        said(f"{len(training.samples)} images of {len(training.samples.identities)} identities; the run is in {folder}")
        training.train(_Callbacks(on_step, on_measured))
    return load_run(folder)


def load_run(run: Path | str) -> FinishedRun:
    """Return a finished run.

    Raises:
        WrongCheckpoint: it is no folder of a finished run, damaged, or of another release.
    """
    folder = Path(run)
    trained = load_trained(folder)
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        raise WrongCheckpoint(
            f"{path} is damaged: it is no JSON; make the run again with the same call", metadata={"path": path}
        ) from None
    log = tuple(read_log(folder / "log.csv"))
    return FinishedRun(folder, trained, log, tuple(read_measured(folder / "validation.csv")), record)


def _samples(
    data: Path | str | Samples,
    recipe: Recipe,
    mirror: bool,
    on_read: Callable[[int, int], None] | None,
    note: Note,
) -> Samples:
    if mirror:
        check_mirrored([recipe])
    if isinstance(data, Samples):
        samples = with_mirror_images(data) if mirror else data
    else:
        samples = training_samples(data, recipe.backbone, mirror=mirror, progress=on_read)
    for reason, names in sorted(samples.skipped.items()):
        note(f"{reason}: {len(names)}, for instance {names[0]}")
    return samples


def _smaller(images: NDArray[Any], wanted: tuple[int, ...]) -> bool:
    return images.shape[2] < wanted[1] or images.shape[3] < wanted[2]


@dataclass(frozen=True, slots=True)
class _Callbacks:
    """Passes what a run tells on to the caller's functions."""

    on_step: Callable[[Reading], None] | None
    on_measured: Callable[[Measured], None] | None

    def see(self, reading: Reading) -> None:
        """Pass a reading on."""
        if self.on_step is not None:
            self.on_step(reading)

    def validated(self, measured: Measured) -> None:
        """Pass figures on."""
        if self.on_measured is not None:
            self.on_measured(measured)
