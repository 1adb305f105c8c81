"""griffe extension: shows what callers of the packages need, and hides what only their authors need."""

import importlib
import re
from collections.abc import Iterator
from typing import Any

import griffe

# A line that begins with >>>, and all lines to the next empty one.
EXAMPLE = re.compile(r"^ *>>> .*(?:\n.*\S.*)*", re.MULTILINE)
PLUGIN = "sameface_qdrant"


class Docstrings(griffe.Extension):
    """Changes the packages after griffe has read them and before the site is rendered."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Fence the examples of a docstring, because Markdown would read them as quotations."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Change one package."""
        if pkg.path == PLUGIN:
            _show_blocking_methods(pkg)
            _link_errors(pkg)
        for owner in _walk(pkg):
            for name, member in list(owner.members.items()):
                if _is_internal(member):
                    owner.del_member(name)

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Hide private base classes."""
        cls.bases = [base for base in cls.bases if not str(base).startswith("_")]

    def on_attribute(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Hide the expression from which ``__init__`` computes an attribute."""
        if attr.labels == {"instance-attribute"}:
            attr.value = None

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        """Show what a client's method returns; describe only the options of a TypedDict that have a description."""
        if isinstance(func.returns, griffe.ExprSubscript):
            decorators = {str(decorator.value) for decorator in func.decorators}
            if "Rpc" in decorators:  # declared as Call[Result], returns Result
                func.returns = func.returns.slice
            elif "Listing" in decorators:
                func.returns = griffe.ExprSubscript(griffe.ExprName("Iterator"), func.returns.slice)
        has_options = any(parameter.default == "..." for parameter in func.parameters)
        sections = func.docstring.parsed if func.docstring and has_options else []
        for section in list(sections):
            if isinstance(section, griffe.DocstringSectionParameters):
                section.value = [parameter for parameter in section.value if parameter.description]
                for parameter in section.value:
                    parameter.value = None if parameter.value == "..." else parameter.value
                if not section.value:
                    sections.remove(section)


def _fenced(example: re.Match[str]) -> str:
    return f"\n```pycon\n{re.sub('  # doctest: .*', '', example[0])}\n```\n"


def _walk(owner: griffe.Module | griffe.Class) -> Iterator[griffe.Module | griffe.Class]:
    yield owner
    for member in owner.members.values():
        if isinstance(member, griffe.Module | griffe.Class):
            yield from _walk(member)


def _is_internal(member: griffe.Object | griffe.Alias) -> bool:
    """Return whether callers do not need this: type variables, and special methods without a docstring."""
    if isinstance(member, griffe.Attribute) and str(member.value).startswith(("TypeVar(", "ParamSpec(")):
        return True
    is_special = isinstance(member, griffe.Function | griffe.Attribute) and member.name.startswith("__")
    # A list of exported names is needed to show them.
    return is_special and member.name != "__all__" and not member.docstring


def _link_errors(package: griffe.Module) -> None:
    """Make the errors known in every module, because docstrings name them without their module."""
    errors = package["errors"]
    for module in _walk(package):
        if isinstance(module, griffe.Module):
            for name, error in errors.classes.items():
                if name not in module.members:
                    module.set_member(name, griffe.Alias(name, error))
                    module.imports[name] = error.path


def _show_blocking_methods(package: griffe.Module) -> None:
    """Turn the attributes of the blocking classes into functions, with the parameters and results of their coroutines.

    The source says ``verify = wrapper(coroutine)``, which griffe reads as an attribute. The imported module has the
    coroutine.
    """
    running = importlib.import_module(f"{PLUGIN}.blocking")
    for exported in package["blocking"].classes.values():
        owner = exported.final_target if isinstance(exported, griffe.Alias) else exported
        for name in list(owner.attributes):
            coroutine = getattr(getattr(getattr(running, owner.name), name, None), "__wrapped__", None)
            if coroutine is None:
                continue
            source = package.modules_collection[f"{coroutine.__module__}.{coroutine.__qualname__}"]
            method = griffe.Function(name, parameters=griffe.Parameters(*source.parameters), returns=source.returns)
            if text := source.docstring:
                method.docstring = griffe.Docstring(text.value, parent=method, parser=text.parser)
            owner.set_member(name, method)
