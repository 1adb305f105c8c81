"""A few kills of the loop that `make chaos` runs at length."""

from pathlib import Path

from tests.chaos.loop import chaos


async def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    landings = await chaos(tmp_path / "store", kills=8, seed=20261124)
    assert landings.inside.total() + landings.between.total() == 8
    assert landings.inside.total() > 0
