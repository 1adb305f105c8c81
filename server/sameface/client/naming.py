"""What things are called in an error. Nothing of a photo is quoted, nor a text that may be one."""

import os
import re

LONGEST_NAME = 200
"""Longer paths are not quoted."""
EXPECTED = "expected a path, bytes, an array of pixels, a Pillow image or an open file"

SUFFIX = re.compile(r"\.\w{1,5}$")


def type_name(thing: object) -> str:
    """Return the name of a thing's type, cut at 60 characters."""
    return type(thing).__name__[:60]


def described(thing: object) -> str:
    """Return what a thing is called in an error. No article is right before every name of a type."""
    return f"an object of type {type_name(thing)}"


def named(path: str) -> str:
    """Return a path for an error: quoted if it is surely a path, else its length alone."""
    return repr(path) if quotable(path) else f"a path of {len(path)} characters"


def quotable(path: str) -> bool:
    """Whether a text is surely a path, and no photo as text: it has a suffix, is in a folder that exists, or short."""
    if len(path) > LONGEST_NAME or not path.isprintable():
        return False
    folder = os.path.dirname(path)
    return len(path) < 12 or bool(SUFFIX.search(path)) or (folder != "/" and os.path.isdir(folder))
