"""How an embedder of other things than faces takes an image: all of it, at one size. It is part of the model card."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

Colour: TypeAlias = Literal["grey", "rgb"]
Fit: TypeAlias = Literal["pad", "stretch"]
Strokes: TypeAlias = Literal["as-is", "bright", "isolated"]

LARGEST_SIDE = 1024
"""Largest height and width of an input in pixels: a batch of 32 such images in RGB takes 96 MiB."""


class WholeImage(BaseModel):
    """How an image becomes the input of an embedder. `sameface.vision.whole_image` does it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Without defaults, so that every card says all of it.
    detection: Literal["none"]
    """Nothing is looked for in the image: its contents are what is embedded."""
    colour: Colour
    """``grey``: one channel, luma of ITU-R BT.601. ``rgb``: three channels."""
    height: int = Field(ge=1, le=LARGEST_SIDE)
    width: int = Field(ge=1, le=LARGEST_SIDE)
    fit: Fit
    """``pad``: the image keeps its aspect, and borders fill the rest. ``stretch``: both sides are scaled alone."""
    strokes: Strokes
    """``as-is``: no change. ``bright``: an image that is brighter than half is inverted, so that strokes are bright on
    dark. ``isolated``: Otsu's threshold removes the paper, then the strokes, bright on black, fill the input."""

    @model_validator(mode="after")
    def _checked(self) -> "WholeImage":
        if self.strokes != "as-is" and self.colour != "grey":
            raise ValueError(f"strokes is {self.strokes} and colour is {self.colour}; expected grey, or strokes as-is")
        if self.strokes == "isolated" and self.fit != "pad":
            raise ValueError(
                f"strokes is isolated and fit is {self.fit}; expected pad, because strokes keep their aspect"
            )
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the input."""
        return (1 if self.colour == "grey" else 3, self.height, self.width)

    @property
    def preprocessing(self) -> str:
        """Name of these steps in embedding contracts. Equal names mean equal steps.

        >>> WholeImage(
        ...     detection="none", colour="grey", height=28, width=28, fit="pad", strokes="bright"
        ... ).preprocessing
        'whole-grey-28x28-pad-bright-v1'
        """
        return f"whole-{self.colour}-{self.height}x{self.width}-{self.fit}-{self.strokes}-v1"
