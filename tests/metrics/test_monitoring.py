"""The alerts fire when they should, and dashboard and rules can be read by what they are for."""

import os
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from sameface.access.ends import CERTIFICATE_SOON, KEY_SOON
from sameface.api.status import ERRORS, FAULTS_OF_SERVICE
from tests.metrics.queries import MONITORING, panels, parsed, queries, rules, selectors

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
RULES_TEST = Path(__file__).with_name("rules_test.yaml")
ALERTS = [rule for rule in rules() if "alert" in rule]
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool; set PROMTOOL to its path, or install Prometheus, which has it"
)


def promtool(*arguments: str) -> str:
    assert PROMTOOL is not None
    result = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False, timeout=150)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_otherwise() -> None:
    promtool("test", "rules", str(RULES_TEST))


@needs_promtool
def test_prometheus_takes_the_example() -> None:
    promtool("check", "config", str(MONITORING / "prometheus.yaml"))


def test_each_alert_is_among_those_that_promtool_tests_as_fired() -> None:
    cases = yaml.safe_load(RULES_TEST.read_text())["tests"]
    fired = {one["alertname"] for case in cases for one in case["alert_rule_test"] if one["exp_alerts"]}
    assert fired == {rule["alert"] for rule in ALERTS}


def test_each_alert_leads_to_its_own_place_in_the_runbook() -> None:
    for rule in ALERTS:
        anchor = re.sub(r"(?<!^)(?=[A-Z])", "-", rule["alert"]).lower()
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{anchor}"
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_each_query_can_be_parsed_and_selects_something() -> None:
    for where, query in queries().items():
        assert list(selectors(parsed(query))), where


def test_what_alerts_use_of_recorded_rules_is_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {one.metric for query in queries().values() for one in selectors(parsed(query)) if ":" in one.metric}
    assert used == recorded


def test_reasons_in_queries_are_reasons_of_the_service() -> None:
    for where, query in queries().items():
        for named in re.findall(r'reason=~?"([^"]*)"', query):
            assert set(named.split("|")) <= ERRORS.keys(), where


def test_the_alert_of_errors_counts_every_reason_that_is_a_fault_of_the_service() -> None:
    (expression,) = [rule["expr"] for rule in rules() if rule.get("record") == "sameface:errors:share5m"]
    (named,) = re.findall(r'reason=~"([^"]*)"', expression)
    assert set(named.split("|")) == set(FAULTS_OF_SERVICE)
    assert not {"SERVER_BUSY", "FACE_NOT_FOUND", "SERVER_STOPPING"} & set(FAULTS_OF_SERVICE)
    assert {"INTERNAL", "MODEL_UNAVAILABLE", "STORE_TOO_NEW", "PROTECTION_KEY_REFUSED"} <= set(FAULTS_OF_SERVICE)


@pytest.mark.parametrize(("alert", "soon"), [("CertificateEnds", CERTIFICATE_SOON), ("ApiKeyEnds", KEY_SOON)])
def test_the_alerts_of_ends_have_the_days_of_the_command_that_names_them(alert: str, soon: timedelta) -> None:
    (rule,) = [rule for rule in ALERTS if rule["alert"] == f"Sameface{alert}"]
    assert rule["expr"].endswith(f"- time() < {soon.days} * 86400")


def test_panels_do_not_cover_each_other() -> None:
    places = [tuple(panel["gridPos"][key] for key in "xyhw") for panel in panels()]
    taken = [(x + dx, y + dy) for x, y, h, w in places for dx in range(w) for dy in range(h)]
    assert len(taken) == len(set(taken))
    assert len({panel["id"] for panel in panels()}) == len(panels())
