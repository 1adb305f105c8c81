"""Call a sameface service from Python.

Most programs use `Client` or `AsyncClient`. Their methods return the values that are exported here. `connect` gives the
generated stubs of protos/sameface/v1.
"""

from sameface.client.aio import AsyncClient
from sameface.client.answer import Answer
from sameface.client.answers.calibrations import (
    Calibration,
    CalibrationResult,
    ConfidenceInterval,
    Curves,
    ErrorRates,
    ExpectedAnswer,
    ExpectedShare,
    IdentityThresholds,
    MeasuredThreshold,
    Proposal,
)
from sameface.client.answers.decisions import (
    Candidate,
    Comparison,
    Decision,
    Identification,
    IdentifiedFace,
    StreamAnswer,
    Verification,
)
from sameface.client.answers.erasures import ByteEvidence, ErasureReceipt
from sameface.client.answers.evidence import Cohort, CohortMember, LabelledScores, RecordedDecisions
from sameface.client.answers.faces import (
    BoundingBox,
    Contract,
    DetectedFaces,
    EmbeddedFace,
    EmbeddedFaces,
    Embedding,
    Face,
    Landmarks,
    Point,
    PresentationAttackDetection,
    QualityComponent,
    QualityIssue,
)
from sameface.client.answers.galleries import Gallery, Policy, Rekeyed, TemplateProtection
from sameface.client.answers.service import Model, ServerInfo, ServicePart
from sameface.client.answers.templates import Enrollment, Finding, FoundTemplate, Identity, SearchResult, Template
from sameface.client.answers.what_if import ErrorRate, OutcomeTransition, SettingOutcomes, WhatIf
from sameface.client.connection import connect, tls_credentials
from sameface.client.enums import (
    ErasureState,
    FindingKind,
    GuardAction,
    Method,
    Operation,
    Origin,
    Outcome,
    PresentationAttackAction,
    Scope,
    Source,
    ThresholdSource,
    WhenFull,
)
from sameface.client.errors import NotAnAddress, NotAPhoto, ServiceError
from sameface.client.samples import Photo, SampleLike
from sameface.client.sync import Client

__all__ = [
    "Answer",
    "AsyncClient",
    "BoundingBox",
    "ByteEvidence",
    "Calibration",
    "CalibrationResult",
    "Candidate",
    "Client",
    "Cohort",
    "CohortMember",
    "Comparison",
    "ConfidenceInterval",
    "Contract",
    "Curves",
    "Decision",
    "DetectedFaces",
    "EmbeddedFace",
    "EmbeddedFaces",
    "Embedding",
    "Enrollment",
    "ErasureReceipt",
    "ErasureState",
    "ErrorRate",
    "ErrorRates",
    "ExpectedAnswer",
    "ExpectedShare",
    "Face",
    "Finding",
    "FindingKind",
    "FoundTemplate",
    "Gallery",
    "GuardAction",
    "Identification",
    "IdentifiedFace",
    "Identity",
    "IdentityThresholds",
    "LabelledScores",
    "Landmarks",
    "MeasuredThreshold",
    "Method",
    "Model",
    "NotAPhoto",
    "NotAnAddress",
    "Operation",
    "Origin",
    "Outcome",
    "OutcomeTransition",
    "Photo",
    "Point",
    "Policy",
    "PresentationAttackAction",
    "PresentationAttackDetection",
    "Proposal",
    "QualityComponent",
    "QualityIssue",
    "RecordedDecisions",
    "Rekeyed",
    "SampleLike",
    "Scope",
    "SearchResult",
    "ServerInfo",
    "ServiceError",
    "ServicePart",
    "SettingOutcomes",
    "Source",
    "StreamAnswer",
    "Template",
    "TemplateProtection",
    "ThresholdSource",
    "Verification",
    "WhatIf",
    "WhenFull",
    "connect",
    "tls_credentials",
]
