"""Words and bars for expected answers, in reports and on the command line.

`draw_expected` needs axes of matplotlib. Nothing is imported from there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sameface_qdrant.calibration.expected import ExpectedAnswer, ExpectedShare
from sameface_qdrant.values.decision import Operation, Scope

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTCOMES = ("MATCH", "AMBIGUOUS", "NO_MATCH", "MATCH of another")
"""The names of shares, in the order in which they are shown."""
_COLOURS = {"right MATCH": "#1b7f79", "AMBIGUOUS": "#e0b252", "NO_MATCH": "#b8c1cc", "false MATCH": "#c8553d"}


def call_name(answer: ExpectedAnswer) -> str:
    """Return what kind of call an answer is for, for example ``verify mated, scope GALLERY``."""
    mated = "mated" if answer.mated else "non-mated"
    if answer.operation is Operation.IDENTIFICATION:
        return f"identify {mated}"
    return f"verify {mated}, scope {answer.scope}"


def named_shares(answer: ExpectedAnswer) -> dict[str, ExpectedShare]:
    """Return the shares by the name of their outcome, without those that cannot be.

    No claim with scope CLAIM is AMBIGUOUS, and only a mated search can give ``MATCH of another``.
    """
    shares = {"MATCH": answer.match, "AMBIGUOUS": answer.ambiguous, "NO_MATCH": answer.no_match}
    if answer.scope is Scope.CLAIM:
        del shares["AMBIGUOUS"]
    return shares if answer.wrong_match is None else {**shares, "MATCH of another": answer.wrong_match}


def draw_expected(axes: "Axes", answers: Sequence[ExpectedAnswer]) -> None:
    """Draw one bar for each kind of call, with its shares in percent. Black lines are the intervals of MATCH.

    A MATCH of a non-mated probe, or of another identity, has the colour of a false match.
    """
    names = [f"{call_name(one)}\n{one.probes:,} calls, {one.identities:,} identities" for one in answers]
    starts = [0.0] * len(answers)
    for outcome, colour in _COLOURS.items():
        shares = [100 * _drawn_shares(one).get(outcome, 0.0) for one in answers]
        if any(shares):
            axes.barh(names, shares, left=starts, color=colour, label=outcome, height=0.62)
        starts = [start + share for start, share in zip(starts, shares, strict=True)]
    for position, one in enumerate(answers):
        interval = one.match.interval
        # The false matches of a bar are at its end.
        low, high = (interval.low, interval.high) if one.mated else (1.0 - interval.high, 1.0 - interval.low)
        axes.plot([100 * low, 100 * high], [position] * 2, color="#1f2933", linewidth=2)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of calls in percent; black line: interval of MATCH")
    axes.set_title("Expected answers", loc="left", color="#1f2933", fontsize=12)


def _drawn_shares(answer: ExpectedAnswer) -> dict[str, float]:
    shares = {name: found.share for name, found in named_shares(answer).items()}
    match, other = shares.pop("MATCH"), shares.pop("MATCH of another", 0.0)
    return {**shares, **({"right MATCH": match, "false MATCH": other} if answer.mated else {"false MATCH": match})}
