"""The names of `sameface_qdrant` are imported when they are used, and they are the ones that type checkers see."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sameface_qdrant


def test_every_public_name_is_the_one_that_type_checkers_see() -> None:
    tree = ast.parse(Path(sameface_qdrant.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {name.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert sorted(seen) == sorted(sameface_qdrant.__all__)
    for name, module in seen.items():
        assert module is not None
        assert getattr(sameface_qdrant, name) is getattr(importlib.import_module(module), name)
    assert set(sameface_qdrant.__all__) <= set(dir(sameface_qdrant))


def test_a_module_of_the_package_needs_no_import_of_its_own() -> None:
    program = """
import sys, sameface_qdrant
assert not {"numpy", "qdrant_client", "qdrant_edge", "grpc"} & set(sys.modules), "more is imported than is used"
assert sameface_qdrant.errors.SamefaceError and sameface_qdrant.metrics.error_rates
assert sameface_qdrant.Policy().runner_up_margin >= 0
from sameface_qdrant import *
assert Store.__module__ == "sameface_qdrant.store.store"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["Stores", "_private", "conversions"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'sameface_qdrant' has no attribute '{name}'"):
        getattr(sameface_qdrant, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from sameface_qdrant import {name}")
