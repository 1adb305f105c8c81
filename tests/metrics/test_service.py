"""A real service exports what it did, in few series, and names nobody."""

import asyncio
import json
import os
import re
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import Any

import pytest

from sameface.access.roles import RULES
from sameface.audit.chain import entry_of
from sameface.audit.files import lines_of
from sameface.client import ServiceError
from sameface.health.parts import PARTS
from sameface.inference.embedders import VERSIONS_SETTING
from sameface.metrics.definitions import METRICS
from tests.conftest import SINGLE_PASS, default_version
from tests.metrics.conftest import DAY_S, LISTED, NAMES, UNLISTED, Scraped, samples_of, scrape
from tests.metrics.queries import grouped, parsed, queries, selectors

NOT_HERE = {
    "sameface_triton_restarts_total",
    "sameface_triton_reloads_total",
    "sameface_golden_check_failures_total",
    "sameface_oldest_pending_erasure_timestamp_seconds",
    "sameface_migration_estimated_end_timestamp_seconds",
}
"""Without a local Triton, pending erasures and migrations, these have no series."""

ADDED = {"job", "instance"}
"""Prometheus adds these labels."""


def names_in(text: str) -> set[str]:
    """Names of the series, a histogram's without its ending."""
    found = {name for name, _ in samples_of(text)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found if name.startswith("sameface_")}


def test_every_metric_is_exported_and_no_other(scraped: Scraped) -> None:
    assert names_in(scraped.text) == {metric.exported for metric in METRICS} - NOT_HERE
    # Those without a series have their meaning all the same.
    assert {f"# HELP {metric.exported} " for metric in METRICS} <= {
        line[: len(f"# HELP {line.split()[2]} ")] for line in scraped.text.splitlines() if line.startswith("# HELP ")
    }


def test_every_label_is_defined(scraped: Scraped) -> None:
    defined = {metric.exported: set(metric.labels) for metric in METRICS}
    for name, labels in scraped.samples:
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        if base in defined:
            assert {label for label, _ in labels} - {"le"} == defined[base], name


def test_process_metrics_are_exported(scraped: Scraped) -> None:
    assert scraped.value("process_open_fds") > 0
    assert scraped.value("process_resident_memory_bytes") > 1 << 20


def test_calls_are_counted_by_rpc_and_reason(scraped: Scraped) -> None:
    counted = {
        (labels["rpc"], labels["reason"]): value
        for (name, pairs), value in scraped.samples.items()
        if name == "sameface_requests_total" and value and (labels := dict(pairs))
    }
    assert counted == {
        ("CreateGallery", "OK"): 2,
        ("EnrollTemplate", "OK"): 3,
        ("VerifyFace", "OK"): 3,
        ("VerifyFace", "FACE_NOT_FOUND"): 1,
        ("VerifyFace", "IMAGE_UNDECODABLE"): 1,
        ("VerifyFace", "IDENTITY_NOT_FOUND"): 1,
        ("IdentifyFaces", "OK"): 1,
        ("StreamIdentifyFaces", "OK"): 1,
    }
    for rpc in ("CreateGallery", "VerifyFace"):
        ended = sum(value for (of, _), value in counted.items() if of == rpc)
        assert scraped.value("sameface_request_seconds_count", rpc=rpc) == ended
    assert scraped.value("sameface_stream_answers_total", rpc="StreamIdentifyFaces", reason="OK") == 1
    assert scraped.value("sameface_stream_answers_total", rpc="StreamIdentifyFaces", reason="FACE_NOT_FOUND") == 1


def test_decisions_and_failures_to_acquire_are_counted(scraped: Scraped) -> None:
    assert scraped.value("sameface_decisions_total", rpc="VerifyFace", outcome="MATCH") == 2
    assert scraped.value("sameface_decisions_total", rpc="VerifyFace", outcome="NO_MATCH") == 1
    assert scraped.value("sameface_decisions_total", rpc="IdentifyFaces", outcome="MATCH") == 1
    assert scraped.value("sameface_decisions_total", rpc="StreamIdentifyFaces", outcome="MATCH") == 1
    # 3 enrolments, 4 claims (one of nobody), 1 search, 1 sample of a stream.
    assert scraped.value("sameface_acquisitions_total", reason="OK") == 9
    assert scraped.value("sameface_acquisitions_total", reason="FACE_NOT_FOUND") == 2
    assert scraped.value("sameface_acquisitions_total", reason="IMAGE_UNDECODABLE") == 1


def test_claims_are_counted_by_the_band_of_their_score(scraped: Scraped) -> None:
    claims = {
        dict(labels)["band"]: value
        for (name, labels), value in scraped.samples.items()
        if name == "sameface_claims_total" and value
    }
    assert claims.pop("below") == 1
    assert sum(claims.values()) == 2
    compared = [value for (name, _), value in scraped.samples.items() if name == "sameface_others_compared_total"]
    assert sum(compared) >= 2


def test_stages_runs_of_models_and_requests_to_the_store_are_timed(scraped: Scraped) -> None:
    def count(name: str) -> float:
        return sum(value for (found, _), value in scraped.samples.items() if found == f"sameface_{name}_count")

    photos = scraped.value("sameface_stage_seconds_count", stage="acquire")
    assert photos == 12
    assert scraped.value("sameface_stage_seconds_count", stage="decode") >= photos
    assert scraped.value("sameface_stage_seconds_count", stage="enroll") == 3
    assert scraped.value("sameface_stage_seconds_count", stage="audit") > 0
    assert scraped.value("sameface_stage_seconds_count", stage="queue") >= 12
    assert count("inference_seconds") >= 2 * 9
    assert count("store_request_seconds") > 0
    versions = [str(version) for version in json.loads(os.environ[VERSIONS_SETTING])]
    counts = (scraped.value("sameface_inference_seconds_count", model="face_embedder", version=one) for one in versions)
    assert sum(counts) == 9


def test_what_is_in_the_store_is_counted(scraped: Scraped) -> None:
    assert scraped.value("sameface_galleries") == 2
    assert scraped.value("sameface_identities") == 3
    assert scraped.value("sameface_templates") == 3
    assert scraped.value("sameface_gallery_identities", gallery=LISTED) == 2
    assert scraped.value("sameface_erasures_pending") == 0
    assert scraped.value("sameface_sweeps_total", result="ok") > 0
    assert scraped.value("sameface_sweeps_total", result="failed") == 0
    assert [scraped.value("sameface_part_up", part=part) for part in ("store", "writes", "audit")] == [1, 1, 1]
    assert (
        0
        < scraped.value("sameface_disk_free_bytes", use="data")
        <= scraped.value("sameface_disk_size_bytes", use="data")
    )


def test_the_ends_of_certificates_and_keys_are_told(scraped: Scraped) -> None:
    certificate = scraped.value("sameface_certificate_expiry_timestamp_seconds", use="SAMEFACE_HTTP__TLS__CERTIFICATE")
    assert certificate == pytest.approx(time.time() + 2 * DAY_S, abs=3700)
    assert scraped.value("sameface_api_key_expiry_timestamp_seconds") == pytest.approx(time.time() + 3 * DAY_S, abs=600)


def test_nothing_names_a_person_or_a_gallery_that_is_not_listed(scraped: Scraped) -> None:
    assert LISTED in scraped.text
    for name in (*NAMES, "nobody-8812", "someone-else", UNLISTED, "127.0.0.1"):
        assert name not in scraped.text


async def test_callers_make_no_series(scraped: Scraped) -> None:
    """Names of people and galleries that do not exist, and calls of every kind that fails."""

    async def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
        return set(samples_of(await asyncio.to_thread(scrape, scraped.metrics_address)))

    async def ask(number: int) -> None:
        for call in (scraped.client.get_identity(f"g{number}", f"p{number}"), scraped.client.get_gallery(f"h{number}")):
            with suppress(ServiceError):
                await call

    await ask(0)
    before = await series()
    await asyncio.gather(*(ask(number) for number in range(1, 100)))
    assert await series() - before == set()


@pytest.mark.parametrize("path", ["/", "/metrics?name[]=up", "/metrics/", "/../etc/passwd"])
async def test_only_one_path_is_answered(scraped: Scraped, path: str) -> None:
    url = f"http://{scraped.metrics_address}{path}"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        await asyncio.to_thread(urllib.request.urlopen, url, timeout=20)


def test_every_rpc_has_its_series_from_the_start(scraped: Scraped) -> None:
    assert {
        rpc
        for rpc in RULES
        if ("sameface_requests_total", frozenset({("rpc", rpc), ("reason", "OK")})) in scraped.samples
    } == set(RULES)


def test_queries_of_alerts_and_dashboard_name_what_the_service_exports(scraped: Scraped) -> None:
    exported: dict[str, dict[str, set[str]]] = {}
    for name, labels in scraped.samples:
        for label, value in labels:
            exported.setdefault(name, {}).setdefault(label, set()).add(value)
        exported.setdefault(name, {})
    defined = {metric.exported: metric for metric in METRICS}
    for where, query in queries().items():
        tree = parsed(query)
        known = set(ADDED)
        for one in selectors(tree):
            if ":" in one.metric:
                continue  # recorded by another rule, see test_monitoring
            if one.metric in NOT_HERE:
                assert set(one.labels) - ADDED <= set(defined[one.metric].labels), where
                known |= set(defined[one.metric].labels)
                continue
            assert one.metric in exported or one.metric == "up", (where, one.metric)
            values = exported.get(one.metric, {})
            assert set(one.labels) - ADDED <= values.keys(), (where, one)
            for label, value in one.labels.items():
                known_values = PARTS.keys() if label == "part" else values.get(label, set())
                assert not value or label in {*ADDED, "reason"} or value in known_values, (where, one)
            known |= values.keys()
        recorded = any(":" in one.metric for one in selectors(tree))
        assert recorded or set(grouped(tree)) <= known, where


async def test_the_audit_log_says_what_a_migration_did_without_a_call(scraped: Scraped) -> None:
    await scraped.client.create_gallery("moving", embedder_version=SINGLE_PASS)
    begun = await scraped.client.create_migration("moving", embedder_version=default_version())
    found: list[dict[str, Any]] = []
    while not found:
        await asyncio.sleep(0.05)
        entries = [entry_of(line) for _, line in lines_of(scraped.audit)]
        found = [one for one in entries if one["rpc"] == "migration"]
    (told,) = found
    assert {name: told[name] for name in ("caller", "outcome", "gallery", "migration", "state")} == {
        "caller": "",
        "outcome": "OK",
        "gallery": "moving",
        "migration": begun.id,
        "state": "MAPPED",
    }
