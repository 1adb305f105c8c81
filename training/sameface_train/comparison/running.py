"""Trains and measures recipes one after the other. Each result is kept, so that a comparison can continue."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sameface_train.checkpoint import Trained, alone, load_trained
from sameface_train.errors import CollapsedRun
from sameface_train.lines import complete_lines, drop_torn_line
from sameface_train.monitor import live_view
from sameface_train.recipes import Recipe
from sameface_train.samples import Samples
from sameface_train.trainer import Options, Run


class Judge(Protocol):
    """Measures a trained network."""

    def __call__(self, trained: Trained, *, kind: str = "") -> dict[str, float]:
        """Return figures, 0..1, by name."""
        ...


def compare(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    samples: Samples,
    judge: Judge,
    folder: Path,
    *,
    device: str = "cpu",
    ways: Mapping[str, str] | None = None,
    baselines: Mapping[str, Callable[[], Trained]] | None = None,
    note: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Train every recipe under every seed and return what was measured; ``results.jsonl`` of ``folder`` keeps it.

    A run that has a result there is not repeated. A run that collapses is a result too. ``ways`` names a second way of
    comparing for a loss: the judge's ``kind``. ``baselines`` are measured without training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "results.jsonl"
    drop_torn_line(path)
    results = [json.loads(line) for line in complete_lines(path)]
    # Results of other data or of a recipe that has changed since stay in the file and are not shown.
    wanted = {"": samples.digest[:12]} | {recipe.name: f"{recipe.digest}-{samples.digest[:12]}" for recipe in recipes}
    results = [row for row in results if row["made_of"] == wanted.get(row["recipe"].split("+")[0], wanted[""])]
    known = {(row["recipe"], row["seed"]) for row in results}
    collapsed = {(row["recipe"], row["seed"]) for row in results if "collapsed" in row}

    def keep(rows: list[dict[str, Any]]) -> None:
        rows = [row for row in rows if (row["recipe"], row["seed"]) not in known]
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        results.extend(rows)
        for row in rows:
            note(json.dumps(row))

    for name, make in (baselines or {}).items():
        if (name, 0) not in known:
            keep([{"recipe": name, "seed": 0, "steps": 0, "made_of": wanted[""], **judge(make())}])
    for seed in seeds:
        for recipe in recipes:
            names = [recipe.name]
            if recipe.loss in (ways or {}) and (recipe.name, seed) not in collapsed:
                names.append(f"{recipe.name}+{(ways or {})[recipe.loss]}")
            if all((name, seed) in known for name in names):
                continue
            made_of = wanted[recipe.name]
            keep(
                _one(
                    recipe,
                    seed,
                    samples,
                    judge,
                    folder / f"{recipe.name}-{seed}-{made_of}",
                    made_of,
                    device,
                    ways or {},
                    note,
                )
            )
    return results


def _one(
    recipe: Recipe,
    seed: int,
    samples: Samples,
    judge: Judge,
    folder: Path,
    made_of: str,
    device: str,
    ways: Mapping[str, str],
    note: Callable[[str], None],
) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"recipe": recipe.name, "seed": seed, "steps": recipe.schedule.steps, "made_of": made_of}
    try:
        with alone(folder), live_view(f"{recipe.name} seed {seed}", recipe.schedule.steps) as view:
            Run(recipe, samples, folder, Options(seed=seed, device=device), note).train(view)
    except CollapsedRun as error:
        return [{**row, "collapsed": error.message}]
    trained = load_trained(folder)
    rows = [{**row, **judge(trained)}]
    if recipe.loss in ways:
        kind = ways[recipe.loss]
        rows.append({**row, "recipe": f"{recipe.name}+{kind}", **judge(trained, kind=kind)})
    return rows


def measures_of(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of what was measured."""
    return [name for name in (results[0] if results else {}) if name not in ("recipe", "seed", "steps", "made_of")]


def summary(results: Sequence[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows of a table: each recipe's mean over its seeds ± standard deviation, in percent."""
    named = [row for row in results if "collapsed" not in row]
    measures = measures_of(named)
    rows = []
    for recipe in dict.fromkeys(row["recipe"] for row in results):
        own = [row for row in named if row["recipe"] == recipe]
        collapsed = sum("collapsed" in row for row in results if row["recipe"] == recipe)
        cells = [_mean([100.0 * row[name] for row in own]) for name in measures]
        rows.append((recipe, f"{len(own)}" + (f" (+{collapsed} collapsed)" if collapsed else ""), *cells))
    return ("recipe", "seeds", *measures), rows


def _mean(values: list[float]) -> str:
    if not values:
        return "–"
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")
