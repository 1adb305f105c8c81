"""Commands are imported when they are asked for, and are listed as if they had been imported before."""

import subprocess
import sys

import pytest
import typer
from typer.core import TyperGroup

from sameface.cli import main
from sameface.cli.deferred import DeferredGroup
from tests.cli.conftest import Run


def groups(group: TyperGroup, context: typer.Context) -> list[TyperGroup]:
    """A group, and every group below it."""
    below = [group.get_command(context, name) for name in group.list_commands(context)]
    return [group, *(found for one in below if isinstance(one, TyperGroup) for found in groups(one, context))]


def test_every_name_is_a_command_that_says_what_it_does() -> None:
    top = typer.main.get_command(main.app)
    assert isinstance(top, TyperGroup)
    context = typer.Context(top)
    found = groups(top, context)
    assert sum(isinstance(group, DeferredGroup) for group in found) >= 2
    for group in found:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            assert command.name == name
            assert command.help, f"{group.name} {name}"
            assert isinstance(command, TyperGroup) or command.callback is not None


def test_a_misspelt_command_is_told_the_right_one(sameface: Run) -> None:
    assert "Did you mean 'gallery'?" in sameface("galery").stderr
    assert "Did you mean 'calibrate'?" in sameface("gallery", "calibrat").stderr
    assert sameface("galery").returncode == 3


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (["version"], ("numpy", "grpc", "pydantic_settings", "cv2", "qdrant_client")),
        (["health", "--help"], ("numpy", "pydantic_settings", "cv2", "qdrant_client")),
        (["verify", "--help"], ("pydantic_settings", "cv2", "onnxruntime", "qdrant_client")),
        (["gallery", "--help"], ("pydantic_settings", "cv2", "onnxruntime", "qdrant_client")),
    ],
)
def test_what_a_command_does_not_use_is_not_imported(arguments: list[str], unused: tuple[str, ...]) -> None:
    program = f"""
import sys
from sameface.cli.main import main
sys.argv = ["sameface", *{arguments!r}]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
    found = set({unused!r}) & set(sys.modules)
    assert not found, found
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
