"""Ids of identities: any text of 1 to 200 bytes, stored as it is."""

import pytest
from hypothesis import given

from sameface_qdrant.errors import InvalidArgument
from sameface_qdrant.values.ids import check_identity_id
from tests.identity_ids import NO_IDS, identity_ids


@given(identity=identity_ids())
def test_any_text_is_an_id(identity: str) -> None:
    assert check_identity_id(identity, "identity") == identity


@pytest.mark.parametrize("identity", [*NO_IDS, "Jos\udce9"])
def test_what_cannot_be_an_id_is_refused_and_named(identity: str) -> None:
    with pytest.raises(InvalidArgument, match="identity is ") as refused:
        check_identity_id(identity, "identity")
    assert refused.value.metadata == {"field": "identity"}


def test_a_form_that_only_looks_equal_is_named() -> None:
    with pytest.raises(InvalidArgument, match="Unicode form NFC"):
        check_identity_id("Jose\u0301", "identity")
