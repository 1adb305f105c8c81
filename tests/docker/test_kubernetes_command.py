"""`make kubernetes` does not end as if it had tested something where it has no cluster."""

import os
import subprocess
import sys
from pathlib import Path


def test_without_a_cluster_nothing_is_said_to_have_passed(tmp_path: Path) -> None:
    made = subprocess.run(
        ["make", "--old-file=install-dev", "kubernetes", "KUBE_BIN="], capture_output=True, text=True, check=False
    )
    assert made.returncode
    assert "NOT RUN: KUBE_BIN is not set" in made.stderr
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kubernetes/test_objects.py"]
    environment = {**os.environ, "KUBE_BIN": str(tmp_path)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 3
    assert f"NOT RUN: KUBE_BIN is {tmp_path}, which lacks " in ran.stdout + ran.stderr
