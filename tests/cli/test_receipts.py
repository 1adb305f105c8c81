"""What the command line says about the files of an erasure."""

import pytest

from sameface.cli.erasures import is_unfinished, show_receipts
from sameface.client import ErasureReceipt
from sameface.client.answer import read
from sameface.v1 import gallery_pb2

Receipt = gallery_pb2.ErasureReceipt
EVIDENCE = Receipt.ByteEvidence(representation="vector", sought=1, found_before=1, found_after=0)
TEXTS = {
    "of an embedded store": (
        Receipt(state="STATE_DONE", compacted=True, evidence=[EVIDENCE]),
        "rewritten without the erased records",
    ),
    "of a server": (
        Receipt(state="STATE_DONE", compacted=True),
        "the server reports that it has written every segment",
    ),
    "pending": (Receipt(state="STATE_PENDING"), "being rewritten; ask again"),
    "pending, the disk is full": (Receipt(state="STATE_PENDING", failure="the disk is full"), "yet: the disk is full"),
    "refused": (Receipt(state="STATE_DONE", failure="the key may not"), "not rewritten: the key may not"),
    "of a store in memory": (Receipt(state="STATE_DONE"), "not rewritten; the server decides"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_receipt_says_no_more_than_was_done(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    receipt, text = TEXTS[case]
    receipt.name = "erasureReceipts/1"
    show_receipts([read(ErasureReceipt, receipt)], as_json=False)
    assert text in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("receipt", "unfinished"),
    [
        (Receipt(state="STATE_DONE", unreadable=True, compacted=True), False),
        (Receipt(state="STATE_DONE", unreadable=True), False),
        (Receipt(state="STATE_PENDING", unreadable=True), True),
        (Receipt(state="STATE_DONE", unreadable=True, failure="the key may not"), True),
        (Receipt(state="STATE_DONE"), True),
        (Receipt(), True),
    ],
)
def test_an_erasure_that_somebody_must_look_after_is_unfinished(
    receipt: gallery_pb2.ErasureReceipt, unfinished: bool
) -> None:
    assert is_unfinished(read(ErasureReceipt, receipt)) == unfinished
