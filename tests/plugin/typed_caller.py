"""A caller of the blocking store: mypy, which every run of the tests begins with, sees its parameters and results."""

from typing import assert_type

from sameface_qdrant import Contract, Decision, Gallery, Probe
from sameface_qdrant.blocking import Store
from sameface_qdrant.values.paging import Page


def use(store: Store, probe: Probe, contract: Contract) -> None:
    """Call methods that the asynchronous store declares, rightly and wrongly; an ignored error must be one."""
    assert_type(store.verify("g", "ada", probe, threshold=0.5), Decision)
    assert_type(store.galleries.list(page_size=3), Page[Gallery])
    store.galleries.create("g", contract)
    store.verify("g", "ada", probe, treshold=0.5)  # type: ignore[call-arg]
    store.galleries.create("g", "contract")  # type: ignore[arg-type]
