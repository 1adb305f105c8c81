"""What a card says of a version's error rates on a set of photos: for everybody, and by group."""

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MeasuredRate(_Record):
    """A rate with its 95 % interval, each 0 to 1."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


class MeasuredFnmr(_Record):
    """The FNMR at the threshold for an FMR."""

    fmr: float = Field(gt=0, lt=1)
    fnmr: MeasuredRate
    """Every comparison counts the same."""
    fnmr_by_identity: MeasuredRate
    """Every identity counts the same."""


class Evaluation(_Record):
    """Error rates over all pairs of photos and of open-set identification, of `python -m benchmarks versions`."""

    measured_on: str
    identities: int = Field(ge=2)
    samples: int = Field(ge=2)
    fnmr: tuple[MeasuredFnmr, ...]
    fpir: float = Field(gt=0, lt=1)
    fnir: MeasuredRate
    """At the threshold for ``fpir``; every identity counts the same."""
    rank_one: MeasuredRate
    pairs: MeasuredRate | None = None
    """Accuracy over the list of pairs; None without a list."""


class GroupFigures(_Record):
    """Error rates of a group of people at one threshold for everybody, of `sameface evaluate groups --write`."""

    measured_on: str
    column: str
    label: str
    identities: int = Field(ge=1)
    mated: int = Field(ge=0)
    """Mated comparisons of two photos of the group."""
    non_mated: int = Field(ge=0)
    """Non-mated comparisons of two photos of the group."""
    threshold: float = Field(ge=-1, le=1)
    fmr: MeasuredRate | None = None
    """Of the group's non-mated comparisons; None if there is none."""
    fnmr_by_identity: MeasuredRate | None = None
    """Of the group's mated comparisons, every identity counts the same; None if there is none."""
    few_identities: bool = False
    """Whether the group has so few people that the figures say more about them than about the group."""
    note: str = ""
    """What a reader has to know about these photos, for instance that the version was trained on them."""
