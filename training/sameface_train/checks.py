"""Checks before a run that data, recipe and options fit each other."""

from collections.abc import Callable

from sameface_train.backbones import BACKBONES
from sameface_train.batches import draw, members
from sameface_train.errors import UnusableData
from sameface_train.recipes import Recipe
from sameface_train.samples import Samples, nesting_hint
from sameface_train.validation import check_held_out


def check_images(samples: Samples, recipe: Recipe) -> None:
    """Check that the recipe's backbone takes the images.

    Raises:
        UnusableData: they have other channels, or are smaller.
    """
    backbone = BACKBONES[recipe.backbone]
    channels, height, width = samples.images.shape[1:]
    wanted = backbone.side
    if channels != backbone.channels or height < wanted[0] or width < wanted[1]:
        raise UnusableData(
            f"the images are {channels}x{height}x{width}; {recipe.backbone} takes "
            f"{backbone.channels}x{wanted[0]}x{wanted[1]} or larger ones, which are cut to their middle",
            metadata={"field": "data"},
        )


def check_batch(samples: Samples, recipe: Recipe, seed: int) -> None:
    """Check that the samples fill a batch.

    Raises:
        UnusableData: there are fewer identities than a batch takes, or no groups where it is drawn by groups.
    """
    try:
        draw(members(samples, recipe.sampling.groups > 0), recipe.sampling, seed, 0)
    except UnusableData as error:
        raise UnusableData(error.message + nesting_hint(samples), metadata=error.metadata) from None


def check_held_out_share(
    held_out: Samples | None, recipe: Recipe, validate_every: int, note: Callable[[str], None]
) -> None:
    """Check that there is something to measure on, and note if the recipe will look worse than it is.

    Raises:
        UnusableData: measurements are asked for without held-out identities, or these are too few.
    """
    if held_out is None:
        if validate_every:
            raise UnusableData(
                "--validate-every needs held-out identities, and there are none; give --hold-out a share that "
                "keeps out at least two",
                metadata={"field": "hold_out"},
            )
        return
    check_held_out(held_out)
    if not recipe.by_cosine:
        note(
            f"held-out identities are compared by cosine. {recipe.name} compares in another way, and will look worse "
            "than it is"
        )
