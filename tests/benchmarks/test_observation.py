"""The cost of metrics and traces is told as ratios to a service without them."""

from typing import Any

import grpc
import pytest

from benchmarks.observation import BOTH, METRICS, PLAIN, TRACES, compared, contenders, sink


def test_each_service_is_compared_with_the_one_without_round_by_round() -> None:
    rounds = [(100.0, 2.0), (50.0, 4.0), (200.0, 1.0)]
    loads = {
        name: [{"per_s": per_s * slower, "cpu_ms": {"service": cpu / slower}} for per_s, cpu in rounds]
        for name, slower in ((PLAIN, 1.0), (METRICS, 0.99), (TRACES, 0.98))
    }
    found = compared(loads)
    assert set(found) == {METRICS, TRACES}
    assert found[TRACES]["throughput"].median == pytest.approx(0.98)
    assert found[METRICS]["processor"].median == pytest.approx(1 / 0.99)


def test_services_with_traces_are_measured_only_where_there_are_traces() -> None:
    assert set(contenders(False)) == {PLAIN, METRICS}
    assert set(contenders(True)) == {PLAIN, METRICS, TRACES, BOTH}
    assert contenders(True)[BOTH] == (True, True)


def test_the_receiver_takes_whatever_comes() -> None:
    with sink() as address, grpc.insecure_channel(address) as channel:
        call: Any = channel.unary_unary("/any.Service/Method")
        assert call(b"spans", wait_for_ready=True, timeout=20) == b""
