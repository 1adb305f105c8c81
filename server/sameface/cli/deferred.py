"""Groups whose commands are imported when they are asked for: most of a command's time is the import of libraries."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class DeferredGroup(TyperGroup):
    """A group with commands of its own and, after them, commands that it imports on demand."""

    places: ClassVar[Mapping[str, str]] = {}
    """Each name of the second kind, and where its function or its group is: ``sameface.cli.serve:serve``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._to_import = dict(self.places)
        # A name needs a command to be listed, suggested for a misspelt one, and so on.
        for name in self.places:
            self.add_command(TyperCommand(name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none of this name."""
        if place := self._to_import.pop(cmd_name, None):
            self.add_command(_imported(cmd_name, place))
        return super().get_command(ctx, cmd_name)


def _imported(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    found = getattr(import_module(module), attribute)
    app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name)(found)
    return get_group(app).commands[name]
