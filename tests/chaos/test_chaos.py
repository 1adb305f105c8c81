"""A few kills of the loop that `make chaos` runs at length."""

from pathlib import Path

from tests.chaos import migration
from tests.chaos.loop import chaos


async def test_what_was_acknowledged_survives_being_killed(tmp_path: Path) -> None:
    landings = await chaos(tmp_path / "store", kills=8, seed=20261124)
    assert landings.inside.total() + landings.between.total() == 8
    assert landings.inside.total() > 0


async def test_a_migration_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    model = await migration.chaos(tmp_path / "store", kills=2, seed=20261124)
    assert model.states.total() == 2
    assert model.erased
    assert len(model.templates) >= migration.POPULATION - 2 * 40  # each kill has 40 victims
