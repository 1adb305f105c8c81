"""The queries of docker/monitoring, and what they name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import yaml

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docker" / "monitoring"
VARIABLES = {"$__rate_interval": "5m", "$job": ".*"}
"""What Grafana puts into queries."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One selection of series: the metric, and the labels that it compares or groups by."""

    metric: str
    labels: dict[str, str]
    """Label → value; "" where it is compared with something else than one value."""


def rules() -> list[dict[str, Any]]:
    """Return every rule, recorded ones and alerts."""
    groups = yaml.safe_load((MONITORING / "rules.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard."""
    found: list[dict[str, Any]] = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return found


def queries() -> dict[str, str]:
    """Return every query by where it is."""
    found = {f"rule {rule.get('alert', rule.get('record'))}": rule["expr"] for rule in rules()}
    for panel in panels():
        for target in panel["targets"]:
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    return found


def parsed(query: str) -> Any:
    """Return the syntax tree of a query."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return promql_parser.parse(query)


def selectors(node: Any) -> Iterator[Selector]:
    """Yield every selection in a query."""
    if isinstance(node, promql_parser.VectorSelector):
        matchers = node.matchers.matchers
        equal = promql_parser.MatchOp.Equal
        yield Selector(node.name or "", {one.name: one.value if one.op == equal else "" for one in matchers})
    for part in parts(node):
        yield from selectors(part)


def grouped(node: Any) -> Iterator[str]:
    """Yield every label that a query groups by."""
    modifier = getattr(node, "modifier", None)
    if isinstance(node, promql_parser.AggregateExpr) and modifier is not None:
        yield from modifier.labels
    for part in parts(node):
        yield from grouped(part)


def parts(node: Any) -> Iterator[Any]:
    """Yield the queries of which a query consists."""
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        one = getattr(node, name, None)
        if one is not None and not isinstance(one, str):
            yield one
    yield from getattr(node, "args", ())
