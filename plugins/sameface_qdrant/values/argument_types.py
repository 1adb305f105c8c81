"""Checks the types of what callers give to public methods, by the methods' own annotations.

So an argument of a wrong type is an InvalidArgument that names it, and not an AttributeError from deep inside. What has
no check here, such as arrays and protocols, is checked where it is used.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.scalars import article, is_number, is_whole
from sameface_qdrant.values.settings import is_setting

Kind = TypeVar("Kind", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])
Check = Callable[[Any], str]
"""Returns what is wrong with a value; empty if nothing is."""

SHOWN = 80
TEXTS = (str, bytes, bytearray)
WRITTEN = {
    "Enrolment": "Enrolment(identity, [NewTemplate(vector, contract)])",
    "NewTemplate": "NewTemplate(vector, contract)",
    "Probe": "Probe(vector, contract)",
    "datetime": "a datetime with a time zone",
}
"""How to write a value of a class."""
INPUTS = {
    *("Contract", "Enrolment", "NewTemplate", "OperatingPoint", "Policy", "Probe", "Provenance", "Quota"),
    "TemplateFilter",
}
"""Values whose fields are checked too."""


def checks_arguments(kind: Kind) -> Kind:
    """Make every public method of a class raise InvalidArgument for an argument of a wrong type.

    Methods whose annotations name a ``Tenant``, an inner key of the store, are not for callers.
    """
    for name, member in list(vars(kind).items()):
        function = member.__func__ if isinstance(member, classmethod) else member
        if name.startswith("_") or not inspect.isfunction(function) or "Tenant" in str(inspect.signature(function)):
            continue
        checked = checks(function)
        setattr(kind, name, classmethod(checked) if isinstance(member, classmethod) else checked)
    return kind


def checks(function: Function) -> Function:
    """Return a function that checks its arguments; `checks_arguments` does this to methods."""
    names = [one.name for one in inspect.signature(function).parameters.values()]

    # Made at the first call: then every module that an annotation names can be imported.
    made: dict[str, tuple[Check, frozenset[type]]] = {}
    unmade = True

    def check(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal unmade
        if unmade:
            made.update(_checks(function, names))
            unmade = False
        # The default of an option has the right type.
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in made:
                check_one, plain = made[name]
                if type(value) not in plain and (text := check_one(value)):
                    raise _invalid(name, text)

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return function(*args, **kwargs)

    # A coroutine function itself, as frameworks ask for.
    @functools.wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        check(args, kwargs)
        return await function(*args, **kwargs)

    return cast(Function, awaited if inspect.iscoroutinefunction(inspect.unwrap(function)) else called)


def check_type(value: object, expected: type, name: str) -> None:
    """Raise InvalidArgument if a value is not of a class, or a field of it has another type."""
    if wrong := _check_of(expected)(value):
        raise _invalid(name, wrong)


def _invalid(name: str, wrong: str) -> InvalidArgument:
    separator = "" if wrong.startswith("[") else " "
    return InvalidArgument(f"{name}{separator}{wrong}", metadata={"field": name})


def _checks(function: Callable[..., Any], names: Sequence[str]) -> dict[str, tuple[Check, frozenset[type]]]:
    """Return the check of each parameter that has one."""
    plain = inspect.unwrap(function)
    found: dict[str, tuple[Check, frozenset[type]]] = {}
    for name in names:
        annotation = plain.__annotations__.get(name)
        if annotation is None:
            continue
        try:
            hint = typing.get_type_hints(types.SimpleNamespace(__annotations__={name: annotation}), plain.__globals__)
        except NameError:  # imported for type checkers alone
            continue
        if (check := _check_of(hint[name])) is not _anything:
            found[name] = check, _plain(hint[name])
    return found


def _anything(value: Any) -> str:
    return ""


@functools.cache
def _check_of(hint: Any) -> Check:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union([_check_of(part) for part in parts])
    if hint is None or hint is type(None):
        return lambda value: "" if value is None else _wrong(value, "None")
    if origin in (Sequence, tuple, list, frozenset):
        return _sequence(_check_of(parts[0]) if parts else _anything, _name(parts[0]) if parts else "values")
    if typing.is_typeddict(hint):
        return _named({name: _check_of(kind) for name, kind in typing.get_type_hints(hint).items()})
    if origin is Mapping:
        return _mapping(*map(_check_of, parts))
    if origin in (Iterable, AsyncIterable):
        return lambda value: (
            ""
            if hasattr(value, "__iter__" if origin is Iterable else "__aiter__") and not isinstance(value, TEXTS)
            else _wrong(value, f"an iterable of {_name(parts[0])}")
        )
    return _simple(hint) if isinstance(hint, type) and not getattr(hint, "_is_protocol", False) else _anything


@functools.cache
def _plain(hint: Any) -> frozenset[type]:
    """Return the types whose values always fit. Most values have one of them, and need no further check."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return frozenset().union(*map(_plain, typing.get_args(hint)))
    if hint is None or hint is type(None):
        return frozenset({type(None)})
    if hint is float:
        return frozenset({float, int})
    is_plain = isinstance(hint, type) and typing.get_origin(hint) is None and hint.__name__ not in INPUTS
    known = is_plain and (hint in (str, int, bool) or issubclass(hint, Enum) or dataclasses.is_dataclass(hint))
    return frozenset({hint}) if known else frozenset()


def _is_unchanging(hint: Any) -> bool:
    """Return whether values of a type cannot be changed."""
    parts = typing.get_args(hint)
    return hint in (str, int, float, bool) or (typing.get_origin(hint) is frozenset and all(map(_is_unchanging, parts)))


def _simple(kind: type) -> Check:
    if kind is str:
        return _text
    if kind is bool:
        return lambda value: "" if isinstance(value, bool | np.bool_) else _wrong(value, "True or False")
    if kind is int:
        return _whole
    if kind is float:
        return _number
    if issubclass(kind, Enum):
        return lambda value: "" if isinstance(value, kind) else _wrong(value, _choices(kind))
    if dataclasses.is_dataclass(kind) and kind.__name__ in INPUTS:
        return _fields(kind)
    if dataclasses.is_dataclass(kind) or issubclass(kind, datetime | Path):
        return lambda value: "" if isinstance(value, kind) else _wrong(value, _written(kind))
    return _anything


def _text(value: Any) -> str:
    return "" if isinstance(value, str) else _wrong(value, "a text")


def _whole(value: Any) -> str:
    return "" if is_whole(value) else _wrong(value, "a whole number")


def _number(value: Any) -> str:
    return "" if is_number(value) else _wrong(value, "a number")


def _union(checks: list[Check]) -> Check:
    if _anything in checks:
        return _anything

    def check(value: Any) -> str:
        found = [one(value) for one in checks]
        if not all(found):
            return ""
        # What is wrong inside a value says more than that the value is wrong.
        inside = [text for text in found if not text.startswith("is ") or " whose " in text]
        return (inside or [_wrong(value, " or ".join(text.partition("; expected ")[2] for text in found))])[0]

    return check


def _sequence(item: Check, name: str) -> Check:
    def check(value: Any) -> str:
        if type(value) not in (tuple, list):  # these need no slower test
            if isinstance(value, Iterator):
                return ""  # looking would use it up
            if isinstance(value, TEXTS) or not isinstance(value, Sequence | frozenset):
                return _wrong(value, f"a sequence of {name}")
        wrong = next(((number, text) for number, one in enumerate(value) if (text := item(one))), None)
        return "" if wrong is None else f"[{wrong[0]}] {wrong[1]}"

    return check


def _mapping(key: Check, content: Check) -> Check:
    def check(value: Any) -> str:
        if type(value) is not dict and not isinstance(value, Mapping):
            return _wrong(value, "a mapping")
        for name, one in value.items():
            if wrong := key(name):
                return f"has a key that {wrong}"
            if wrong := content(one):
                return f"[{ascii(name)[:SHOWN]}] {wrong}"
        return ""

    return check


def _named(checks: Mapping[str, Check]) -> Check:
    """Return the check of a mapping with known keys."""

    def check(value: Any) -> str:
        if not isinstance(value, Mapping):
            return _wrong(value, "a mapping")
        for name, one in value.items():
            # What is misspelt is refused where the fields are known, see `check_fields`.
            if name in checks and (wrong := checks[name](one)):
                return f"[{name!r}] {wrong}"
        return ""

    return check


def _fields(kind: type) -> Check:
    hints = typing.get_type_hints(kind)
    # A setting checks its own type, because a choice may be given by its name.
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(kind) if not is_setting(field)}
    checks = [(name, _check_of(hint), _plain(hint)) for name, hint in kinds.items() if _check_of(hint) is not _anything]
    stays_right = all(map(_is_unchanging, kinds.values()))
    latest: Any = None  # that was right: very many values share one contract

    def check(value: Any) -> str:
        nonlocal latest
        if value is latest and value is not None:
            return ""
        if not isinstance(value, kind):
            return _wrong(value, _written(kind))
        for name, check, plain in checks:
            content = getattr(value, name)
            if type(content) not in plain and (wrong := check(content)):
                return f"is {article(kind.__name__)} whose {name} {wrong}"
        if stays_right:
            latest = value
        return ""

    return check


def _wrong(value: Any, expected: str) -> str:
    scalar = isinstance(value, str | int | float | None)
    given = f"{ascii(value)[:SHOWN]} ({type(value).__name__})" if scalar else article(type(value).__name__)
    return f"is {given}; expected {expected}"


def _written(kind: type) -> str:
    return WRITTEN.get(kind.__name__, article(kind.__name__))


def _choices(kind: type[Enum]) -> str:
    return " or ".join(f"{kind.__name__}.{one.name}" for one in kind)


def _name(hint: Any) -> str:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choices(hint)
    if isinstance(hint, type):
        return {str: "text", int: "whole number", float: "number", type(None): "None"}.get(hint) or _written(hint)
    return str(hint).replace("typing.", "").replace("collections.abc.", "")
