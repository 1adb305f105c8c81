"""Helm runs apart: what it brings with it must not change the process of the tests."""

import signal
from pathlib import Path

import pytest

from tests.docker import helm


def ignored_signals() -> set[int]:
    (mask,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "SigIgn" in line]
    return {number for number in range(1, 65) if int(mask, 16) >> (number - 1) & 1}


def test_signals_stay_as_python_sets_them() -> None:
    assert "sameface/templates/services.yaml" in helm.Chart.load("docker/chart").render(values={}, name="mine")
    assert signal.SIGPIPE in ignored_signals()


def test_refusals_come_back_as_errors() -> None:
    with pytest.raises(helm.HelmError, match="release name"):
        helm.validate_release_name("Not A Name")
