"""One-shot verification and open-set identification on Qdrant, for embeddings of anything.

A store keeps galleries of identities, each with its templates, and decides by nearest neighbour against a threshold
and a runner-up margin. It needs no server to begin with:

>>> import asyncio, numpy as np
>>> from sameface_qdrant import Contract, NewTemplate, Policy, Probe, Store
>>> async def example():
...     store = await Store.open(":memory:")
...     voices = Contract("voices", version=1, sha256="0" * 64, dimension=4, preprocessing="none")
...     await store.galleries.create("staff", voices, policy=Policy(verify_threshold=0.8))
...     await store.enroll("staff", "ada", [NewTemplate(np.array([1.0, 0.0, 0.2, 0.0]), voices)])
...     decision = await store.verify("staff", "ada", Probe(np.array([0.9, 0.1, 0.2, 0.0]), voices))
...     await store.aclose()
...     return decision.outcome.value, round(decision.score, 3)
>>> asyncio.run(example())
('MATCH', 0.994)
"""

from sameface_qdrant.attached.attach import attach
from sameface_qdrant.attached.attached import Attached
from sameface_qdrant.attached.target import Counts, Neighbour
from sameface_qdrant.engines.base import EngineDescription
from sameface_qdrant.engines.server.options import ServerOptions
from sameface_qdrant.metrics.comparisons import ComparisonScores
from sameface_qdrant.store.store import Store
from sameface_qdrant.values.contract import Contract
from sameface_qdrant.values.decision import Candidate, Decision, Outcome, Probe, Scope, ThresholdSource
from sameface_qdrant.values.erasure import ByteEvidence, ErasedResource, ErasureReceipt, ErasureState
from sameface_qdrant.values.finding import Finding, FindingKind
from sameface_qdrant.values.gallery import Gallery, GuardAction, OperatingPoint, Policy, PolicyChanges, WhenFull
from sameface_qdrant.values.identity import Identity, IdentityChanges
from sameface_qdrant.values.paging import Page
from sameface_qdrant.values.template import FoundTemplate, NewTemplate, Provenance, Template, TemplateFilter

__all__ = [
    "Attached",
    "ByteEvidence",
    "Candidate",
    "ComparisonScores",
    "Contract",
    "Counts",
    "Decision",
    "EngineDescription",
    "ErasedResource",
    "ErasureReceipt",
    "ErasureState",
    "Finding",
    "FindingKind",
    "FoundTemplate",
    "Gallery",
    "GuardAction",
    "Identity",
    "IdentityChanges",
    "Neighbour",
    "NewTemplate",
    "OperatingPoint",
    "Outcome",
    "Page",
    "Policy",
    "PolicyChanges",
    "Probe",
    "Provenance",
    "Scope",
    "ServerOptions",
    "Store",
    "Template",
    "TemplateFilter",
    "ThresholdSource",
    "WhenFull",
    "attach",
]
