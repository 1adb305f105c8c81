"""The command line's options for a policy, and how a policy is shown. Both follow from `POLICY_SETTINGS`."""

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sameface_qdrant.values.gallery import POLICY_SETTINGS
from sameface_qdrant.values.settings import Setting

if TYPE_CHECKING:
    from sameface.client import Policy


def policy_options(*, reset: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each setting of a policy, in the place of its parameter ``policy``.

    The command gets the given options as one dictionary, which the client takes. ``reset`` adds the option ``--reset``;
    the fields that it names are None in the dictionary.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            given = {setting.name: values.pop(setting.name) for setting in POLICY_SETTINGS}
            policy = {name: value for name, value in given.items() if value is not None}
            policy |= {option.replace("-", "_"): None for option in values.pop("reset", ())}
            command(policy=policy, **values)

        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.name != "policy":
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            parameters += [_option(setting.name, _kind(setting), setting.help, None) for setting in POLICY_SETTINGS]
            if reset:
                help_text = "policy field to set back to its default; may be repeated"
                parameters.append(_option("reset", list.__class_getitem__(_option_names()), help_text, []))
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # typer reads it
        return run

    return decorate


def policy_text(policy: "Policy", setting: Setting, absent: str = "–") -> str:
    """Return a setting of a policy as text."""
    value = getattr(policy, setting.name)
    if value is None:
        return absent
    return value.lower() if isinstance(value, StrEnum) else f"{value:g}"


def _option(name: str, kind: Any, help_text: str, default: Any) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(help=help_text, show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _kind(setting: Setting) -> Any:
    if issubclass(setting.kind, StrEnum):
        names: Any = Literal.__getitem__(tuple(choice.lower() for choice in setting.kind))
        return names | None
    return setting.kind | None


def _option_names() -> Any:
    # An enum, because typer takes no list of literals.
    make: Any = StrEnum
    return make("PolicyField", {setting.name: setting.name.replace("_", "-") for setting in POLICY_SETTINGS})
