"""The names of `sameface_qdrant` are imported when they are used, and they are the ones that type checkers see."""

import ast
import asyncio
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import sameface_qdrant
from sameface_qdrant import Attached, Contract, Operation, Store, blocking
from sameface_qdrant.errors import InvalidArgument


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


def test_no_public_function_takes_any_keyword() -> None:
    """A misspelt option is then a TypeError."""
    homes = [getattr(sameface_qdrant, name) for name in sameface_qdrant.__all__]
    homes += [one for one in vars(blocking).values() if inspect.isclass(one) and one.__module__ == blocking.__name__]
    functions: list[Any] = [one for one in homes if inspect.isfunction(one)]
    # Reached as store.galleries and the like.
    homes += [inspect.get_annotations(Store)[name] for name in ("galleries", "identities", "templates", "erasures")]
    for kind in filter(inspect.isclass, homes):
        if issubclass(kind, Exception) or kind.__name__.startswith("_"):
            continue
        functions += [one for name, one in inspect.getmembers(kind, callable) if not name.startswith("_")]
    assert len(functions) > 60
    loose = []
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except ValueError:  # Built in, as str.upper of an enum.
            continue
        if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
            loose.append(function)
    assert loose == []


async def awaited(call: Callable[[], Coroutine[Any, Any, object]]) -> None:
    await call()


@pytest.mark.parametrize("misspelt", [{"bogus": True}, {"aply": True}, {"max_comparison": 5}])
def test_a_misspelt_option_of_a_calibration_is_a_type_error(misspelt: dict[str, Any]) -> None:
    (name,) = misspelt
    for call in (
        lambda: Store.calibrate(None, "staff", **misspelt),  # type: ignore[arg-type]
        lambda: Store.what_if(None, "staff", Operation.VERIFICATION, **misspelt),  # type: ignore[arg-type]
        lambda: Attached.calibrate(None, **misspelt),  # type: ignore[arg-type]
        lambda: Attached.what_if(None, Operation.VERIFICATION, **misspelt),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=name):
            asyncio.run(awaited(call))
    with blocking.Store.open(":memory:") as store, pytest.raises(TypeError, match=name):
        store.calibrate("staff", **misspelt)


def test_a_misspelt_field_of_a_change_is_refused() -> None:
    voices = Contract("voices", version=1, sha256="0" * 64, dimension=4, preprocessing="none")
    misspelt: Any = {"displayname": "Ada", "target_fm": 0.1}
    with blocking.Store.open(":memory:") as store:
        store.galleries.create("staff", voices)
        store.identities.create("staff", "ada")
        for change in (
            lambda: store.identities.update("staff", "ada", misspelt),
            lambda: store.galleries.update("staff", policy=misspelt),
        ):
            with pytest.raises(InvalidArgument, match="no field 'displayname'; expected one of") as refused:
                change()
            assert refused.value.metadata["field"] == "displayname"


@pytest.mark.parametrize("name", ["Stores", "_private", "conversions"])
def test_an_unknown_name_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"'sameface_qdrant' has no attribute '{name}'"):
        getattr(sameface_qdrant, name)
    with pytest.raises(ImportError, match=name):
        exec(f"from sameface_qdrant import {name}")
