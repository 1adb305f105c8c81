"""The settings of protected galleries, and where their keys come from."""

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr

from sameface_qdrant.errors import InvalidArgument

if TYPE_CHECKING:
    from sameface_qdrant.store.protection.keys import ProtectionKeys

VARIABLE = "SAMEFACE_PROTECTION__KEYS"


@dataclass(frozen=True, slots=True)
class ProtectionOptions:
    """Keys of protected galleries. At most one of the three sources may be set; without one no gallery is protected."""

    keys_file: Path | None = None
    """File of the keys, which `sameface protection create` makes."""
    keys: SecretStr = field(default=SecretStr(""), repr=False)
    """The content of such a file, where the environment holds secrets."""
    provider: str = ""
    """``module:function`` that returns the keys, for a key management service: docs/template-protection.md."""
    new_galleries: bool = True
    """Whether new galleries are protected, if there are keys."""

    @property
    def file(self) -> Path | None:
        """The file of the keys; an empty variable names none."""
        return None if self.keys_file == Path() else self.keys_file

    def opened(self) -> "ProtectionKeys | None":
        """Return the keys; None if no source is set.

        Raises:
            InvalidArgument: two sources are set, or the keys cannot be read.
        """
        from sameface_qdrant.store.protection.keys import KeyFile, KeyRing

        content = self.keys.get_secret_value()
        if sum(map(bool, (self.file, content, self.provider))) > 1:
            raise InvalidArgument(
                "several of protection.keys_file, protection.keys and protection.provider are set; expected one",
                metadata={"field": "protection"},
            )
        if self.file is not None:
            file = KeyFile(self.file)
            _ = file.ring  # a start with a file that cannot be used is refused
            return file
        if content:
            return KeyRing.parsed(content, VARIABLE)
        return _provided(self.provider) if self.provider else None


def _provided(provider: str) -> "ProtectionKeys":
    module, _, name = provider.partition(":")
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument(
            f"protection.provider is {provider!r}, which cannot be imported: {error}; expected module:function",
            metadata={"field": "protection.provider"},
        ) from error
    return cast("ProtectionKeys", make())
