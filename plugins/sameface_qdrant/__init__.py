"""One-shot verification and open-set identification on Qdrant, for embeddings of anything.

A store keeps galleries. A gallery holds identities, and an identity holds templates. A decision compares the score of
an identity with a threshold, and its lead over the next identity with a runner-up margin. No server is needed to start:

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

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sameface_qdrant.attached.attach import attach
    from sameface_qdrant.attached.attached import Attached
    from sameface_qdrant.attached.target import Counts, IdentityScores, Neighbour
    from sameface_qdrant.calibration.expected import ExpectedAnswer, ExpectedAnswers, ExpectedShare
    from sameface_qdrant.calibration.gallery import GalleryCalibration
    from sameface_qdrant.calibration.inputs import Cohort, read_cohort, read_scores
    from sameface_qdrant.calibration.margin import MeasuredMargin
    from sameface_qdrant.calibration.thresholds import Calibration, Evidence, MeasuredThreshold, Method
    from sameface_qdrant.calibration.what_if import (
        DecisionSetting,
        ErrorRate,
        RecordedDecisions,
        SettingOutcomes,
        WhatIf,
        recorded_decisions,
    )
    from sameface_qdrant.engines.base import EngineDescription
    from sameface_qdrant.engines.edge.options import EdgeOptions
    from sameface_qdrant.engines.server.options import ServerOptions
    from sameface_qdrant.metrics.comparisons import (
        Comparisons,
        ComparisonScores,
        ComparisonSource,
        MatedProbes,
        Searches,
        labelled_scores,
    )
    from sameface_qdrant.metrics.intervals import ConfidenceInterval
    from sameface_qdrant.store.protection.keys import KeyFile, KeyRing, MasterKey, ProtectionKeys
    from sameface_qdrant.store.protection.rekey import Rekeyed
    from sameface_qdrant.store.store import Store
    from sameface_qdrant.transfer.erased import LeftOut
    from sameface_qdrant.transfer.exporting import ExportedGallery, ExportSummary, export_erasures, export_store
    from sameface_qdrant.transfer.gallery_import import ImportedGallery, ImportStatus, discard_import
    from sameface_qdrant.transfer.importing import ImportSummary, import_store
    from sameface_qdrant.transfer.keys import ExportKey
    from sameface_qdrant.values.contract import Contract
    from sameface_qdrant.values.decision import (
        Candidate,
        Decision,
        Operation,
        Outcome,
        Probe,
        Renewal,
        RenewalState,
        Scope,
        ThresholdSource,
    )
    from sameface_qdrant.values.enrolment import Enrolment, EnrolmentResult
    from sameface_qdrant.values.erasure import ByteEvidence, ErasedResource, ErasureReceipt, ErasureState
    from sameface_qdrant.values.finding import Finding, FindingKind
    from sameface_qdrant.values.frames import to_frame
    from sameface_qdrant.values.gallery import (
        Gallery,
        GuardAction,
        MappedTemplates,
        MigrationLink,
        OperatingPoint,
        Policy,
        PolicyChanges,
        PresentationAttackAction,
        RenewOnMatch,
        WhenFull,
    )
    from sameface_qdrant.values.identity import Identity, IdentityChanges
    from sameface_qdrant.values.migration import Migration, MigrationPlan, MigrationState, PlannedThresholds
    from sameface_qdrant.values.origin import EmbeddingOrigin
    from sameface_qdrant.values.paging import Page
    from sameface_qdrant.values.protection import Generation, Protection
    from sameface_qdrant.values.quota import Quota
    from sameface_qdrant.values.template import FoundTemplate, NewTemplate, Provenance, Template, TemplateFilter
    from sameface_qdrant.values.template_map import TemplateMap

__all__ = [
    "Attached",
    "ByteEvidence",
    "Calibration",
    "Candidate",
    "Cohort",
    "ComparisonScores",
    "ComparisonSource",
    "Comparisons",
    "ConfidenceInterval",
    "Contract",
    "Counts",
    "Decision",
    "DecisionSetting",
    "EdgeOptions",
    "EmbeddingOrigin",
    "EngineDescription",
    "Enrolment",
    "EnrolmentResult",
    "ErasedResource",
    "ErasureReceipt",
    "ErasureState",
    "ErrorRate",
    "Evidence",
    "ExpectedAnswer",
    "ExpectedAnswers",
    "ExpectedShare",
    "ExportKey",
    "ExportSummary",
    "ExportedGallery",
    "Finding",
    "FindingKind",
    "FoundTemplate",
    "Gallery",
    "GalleryCalibration",
    "Generation",
    "GuardAction",
    "Identity",
    "IdentityChanges",
    "IdentityScores",
    "ImportStatus",
    "ImportSummary",
    "ImportedGallery",
    "KeyFile",
    "KeyRing",
    "LeftOut",
    "MappedTemplates",
    "MasterKey",
    "MatedProbes",
    "MeasuredMargin",
    "MeasuredThreshold",
    "Method",
    "Migration",
    "MigrationLink",
    "MigrationPlan",
    "MigrationState",
    "Neighbour",
    "NewTemplate",
    "OperatingPoint",
    "Operation",
    "Outcome",
    "Page",
    "PlannedThresholds",
    "Policy",
    "PolicyChanges",
    "PresentationAttackAction",
    "Probe",
    "Protection",
    "ProtectionKeys",
    "Provenance",
    "Quota",
    "RecordedDecisions",
    "Rekeyed",
    "RenewOnMatch",
    "Renewal",
    "RenewalState",
    "Scope",
    "Searches",
    "ServerOptions",
    "SettingOutcomes",
    "Store",
    "Template",
    "TemplateFilter",
    "TemplateMap",
    "ThresholdSource",
    "WhatIf",
    "WhenFull",
    "attach",
    "discard_import",
    "export_erasures",
    "export_store",
    "import_store",
    "labelled_scores",
    "read_cohort",
    "read_scores",
    "recorded_decisions",
    "to_frame",
]

_HOMES = {
    name: module
    for module, names in {
        "attached.attach": "attach",
        "attached.attached": "Attached",
        "attached.target": "Counts IdentityScores Neighbour",
        "calibration.expected": "ExpectedAnswer ExpectedAnswers ExpectedShare",
        "calibration.gallery": "GalleryCalibration",
        "calibration.inputs": "Cohort read_cohort read_scores",
        "calibration.margin": "MeasuredMargin",
        "calibration.thresholds": "Calibration Evidence MeasuredThreshold Method",
        "calibration.what_if": "DecisionSetting ErrorRate RecordedDecisions SettingOutcomes WhatIf recorded_decisions",
        "engines.base": "EngineDescription",
        "engines.edge.options": "EdgeOptions",
        "engines.server.options": "ServerOptions",
        "metrics.comparisons": "Comparisons ComparisonScores ComparisonSource MatedProbes Searches labelled_scores",
        "metrics.intervals": "ConfidenceInterval",
        "store.protection.keys": "KeyFile KeyRing MasterKey ProtectionKeys",
        "store.protection.rekey": "Rekeyed",
        "store.store": "Store",
        "transfer.erased": "LeftOut",
        "transfer.exporting": "ExportSummary ExportedGallery export_erasures export_store",
        "transfer.gallery_import": "ImportStatus ImportedGallery discard_import",
        "transfer.importing": "ImportSummary import_store",
        "transfer.keys": "ExportKey",
        "values.contract": "Contract",
        "values.decision": "Candidate Decision Operation Outcome Probe Renewal RenewalState Scope ThresholdSource",
        "values.enrolment": "Enrolment EnrolmentResult",
        "values.erasure": "ByteEvidence ErasedResource ErasureReceipt ErasureState",
        "values.finding": "Finding FindingKind",
        "values.frames": "to_frame",
        "values.gallery": "Gallery GuardAction MappedTemplates MigrationLink OperatingPoint Policy PolicyChanges "
        "PresentationAttackAction RenewOnMatch WhenFull",
        "values.identity": "Identity IdentityChanges",
        "values.origin": "EmbeddingOrigin",
        "values.migration": "Migration MigrationPlan MigrationState PlannedThresholds",
        "values.paging": "Page",
        "values.protection": "Generation Protection",
        "values.quota": "Quota",
        "values.template": "FoundTemplate NewTemplate Provenance Template TemplateFilter",
        "values.template_map": "TemplateMap",
    }.items()
    for name in names.split()
}
"""Each public name, and the module below this one that defines it."""


if not TYPE_CHECKING:  # A type checker that saw it would accept any name.

    def __getattr__(name: str) -> Any:
        """Import a public name, or a module of this package, when it is first used.

        Whoever imports one module, for instance the errors, does not import the store and its libraries.
        """
        if name in _HOMES:
            found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
            globals()[name] = found
            return found
        if not name.startswith("_") and find_spec(f"{__name__}.{name}") is not None:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
