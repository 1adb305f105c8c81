"""Ids of identities: samples of what people use, and any text that is one."""

import unicodedata

from hypothesis import strategies as st

UNUSUAL = (
    "jacinda@example.org",
    "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    "田中 花子",
    'O\'Brien "Pat" \\ 7/b',
    "~41da",
    "...",
    "-_.",
    "%2e%2E",
    "galleries/a/identities/b:verify?x#y",
    "é" * 100,
)
NO_IDS = (
    "",
    ".",
    "..",
    "Jose\u0301",
    "a\x1fb",
    "a\nb",
    "a\x85b",
    "a\u2028b",
    "a" * 201,
    "é" * 100 + "a",
)


def identity_ids() -> st.SearchStrategy[str]:
    """Return any text that is an id."""
    characters = st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"))
    texts = st.text(characters | st.sampled_from("~%/:@.-_ aA0é"), min_size=1, max_size=200)
    normal = texts.map(lambda text: unicodedata.normalize("NFC", text))
    return normal.filter(lambda text: len(text.encode()) <= 200 and text not in (".", ".."))
