"""Resource names: any text as the id of an identity, in one spelling that every URL keeps."""

import re
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sameface.api.names import parse_name
from sameface.client.fields import identity_name, template_name
from sameface.resource_names import escaped, ids_in, last_part, make_name, unescaped
from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import ID_PATTERN
from tests.identity_ids import NO_IDS, UNUSUAL, identity_ids

SPELLING = re.compile(r"(?:[a-z0-9\-_.]|~[0-9a-f]{2})+")


@given(identity=identity_ids() | st.sampled_from(UNUSUAL))
def test_any_text_is_the_same_after_its_name(identity: str) -> None:
    name = identity_name("staff", identity)
    assert name == make_name("staff", identity)
    assert parse_name(name, "name", 2) == ids_in(name) == ("staff", identity)
    assert last_part(name) == identity
    part = name.removeprefix("galleries/staff/identities/")
    assert SPELLING.fullmatch(part)
    template = template_name("staff", identity, "t")
    assert parse_name(template, "name", 3) == ids_in(template) == ("staff", identity, "t")
    # Nothing on the way of a URL changes it: neither an encoder nor what resolves dots.
    assert quote(part, safe="") == part
    assert urlsplit(urljoin("http://host/v1/galleries/", f"/v1/{name}")).path == f"/v1/{name}"


@given(identity=st.from_regex(ID_PATTERN, fullmatch=True))
def test_an_id_without_unusual_characters_is_its_own_spelling(identity: str) -> None:
    assert escaped(identity) == unescaped(identity) == identity


@given(part=st.text(st.sampled_from("~0149aAfFeE3zé./-") | st.characters(codec="utf-8"), min_size=1, max_size=12))
def test_an_id_has_one_spelling(part: str) -> None:
    try:
        identity = unescaped(part)
    except ValueError as error:
        if (told := re.search(r"write ('.*') for the id", str(error))) is not None:
            # What the message says to write is taken.
            assert escaped(unescaped(told[1][1:-1])) == told[1][1:-1] != part
    else:
        assert escaped(identity) == part


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("~61da", "write 'ada' for the id 'ada'"),
        ("~4Ada", "write '~4ada' for the id 'Jda'"),
        ("Ada", "write '~41da' for the id 'Ada'"),
        ("a~4", "write 'a~7e4' for the id 'a~4'"),
        ("a~", "write 'a~7e' for the id 'a~'"),
        ("~zz", "write '~7ezz' for the id '~zz'"),
        ("~e6~9d", "escaped bytes that are no UTF-8"),
        ("~ed~a0~80", "escaped bytes that are no UTF-8"),
        ("ada%40x.org", "write 'ada~2540x.org' for the id 'ada%40x.org'"),
    ],
)
def test_a_name_in_another_spelling_is_refused_with_what_to_write(part: str, told: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_name(f"galleries/staff/identities/{part}", "parent", 2)
    assert told in refused.value.message
    assert refused.value.metadata == {"field": "parent"}


@pytest.mark.parametrize("identity", NO_IDS)
def test_the_name_of_what_is_no_id_is_refused(identity: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_name(identity_name("staff", identity), "parent", 2)
    assert refused.value.metadata == {"field": "parent"}


@pytest.mark.parametrize("name", ["galleries/Staff", "galleries/~41", "galleries/a/identities/b/templates/~41"])
def test_galleries_and_templates_have_plain_ids(name: str) -> None:
    with pytest.raises(InvalidArgument, match="expected galleries/"):
        parse_name(name, "name", len(name.split("/")) // 2)


def test_the_client_refuses_what_utf_8_cannot_express() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        identity_name("staff", "Jos\udce9")
