"""How a command line names a source of photos.

Another package adds a source with an entry point of the group ``sameface.sample_sources``. Its name is the scheme of
the addresses, its value a function that takes the address and returns a `sameface.samples.source.SampleSource`:

    [project.entry-points."sameface.sample_sources"]
    vault = "our_photos:open_vault"

`sameface enroll staff vault://people` then enrols what that source has.
"""

import re
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sameface.samples.folder import FolderSource
from sameface.samples.source import SampleSource
from sameface_qdrant.errors import InvalidArgument

GROUP = "sameface.sample_sources"
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://.*", re.DOTALL)


def scheme_of(text: str) -> str:
    """Return the scheme of an address; empty if the text is none.

    >>> scheme_of("s3://bucket/people"), scheme_of("people"), scheme_of("./s3:/people")
    ('s3', '', '')
    """
    found = _ADDRESS.fullmatch(text)
    return "" if found is None else found[1]


def source_of(address: str) -> SampleSource:
    """Return the source of an address: ``file:///folder``, ``s3://bucket/prefix``, or one that another package adds.

    Raises:
        InvalidArgument: no source has this scheme, the address has another form, or a package is missing.
    """
    scheme = scheme_of(address)
    if scheme == "file":
        parts = urlsplit(address)
        if parts.netloc or not parts.path:
            raise InvalidArgument(
                f"{address[:80]!r} names no folder; expected file:///folder", metadata={"field": "photo"}
            )
        return FolderSource(Path(unquote(parts.path)))
    if scheme == "s3":
        # Its libraries take long to import, and are an extra.
        from sameface.samples.s3 import open_s3

        return open_s3(address)
    for one in entry_points(group=GROUP, name=scheme):
        try:
            opened = one.load()
        except (ImportError, AttributeError) as error:
            raise InvalidArgument(
                f"the source of {scheme}:// is {one.value}, which cannot be imported: {error}; repair the package that "
                "adds it",
                metadata={"field": "photo"},
            ) from error
        source: SampleSource = opened(address)
        return source
    known = ", ".join(sorted({"file", "s3", *(one.name for one in entry_points(group=GROUP))}))
    raise InvalidArgument(
        f"no source of photos has the scheme {scheme}://; expected a folder, or one of {known}. A package adds one "
        f"with an entry point of the group {GROUP}",
        metadata={"field": "photo"},
    )
