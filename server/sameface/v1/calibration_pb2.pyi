from google.api import field_behavior_pb2 as _field_behavior_pb2
from sameface.v1 import decision_pb2 as _decision_pb2
from sameface.v1 import face_pb2 as _face_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Operation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_UNSPECIFIED: _ClassVar[Operation]
    OPERATION_VERIFICATION: _ClassVar[Operation]
    OPERATION_IDENTIFICATION: _ClassVar[Operation]
OPERATION_UNSPECIFIED: Operation
OPERATION_VERIFICATION: Operation
OPERATION_IDENTIFICATION: Operation

class LabelledScores(_message.Message):
    __slots__ = ("scores", "first", "second", "leads")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    first: _containers.RepeatedScalarFieldContainer[int]
    second: _containers.RepeatedScalarFieldContainer[int]
    leads: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., first: _Optional[_Iterable[int]] = ..., second: _Optional[_Iterable[int]] = ..., leads: _Optional[_Iterable[float]] = ...) -> None: ...

class Cohort(_message.Message):
    __slots__ = ("contract", "members")
    class Member(_message.Message):
        __slots__ = ("identity", "values")
        IDENTITY_FIELD_NUMBER: _ClassVar[int]
        VALUES_FIELD_NUMBER: _ClassVar[int]
        identity: str
        values: _containers.RepeatedScalarFieldContainer[float]
        def __init__(self, identity: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...
    CONTRACT_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    contract: _face_pb2.Contract
    members: _containers.RepeatedCompositeFieldContainer[Cohort.Member]
    def __init__(self, contract: _Optional[_Union[_face_pb2.Contract, _Mapping]] = ..., members: _Optional[_Iterable[_Union[Cohort.Member, _Mapping]]] = ...) -> None: ...

class ConfidenceInterval(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class MeasuredThreshold(_message.Message):
    __slots__ = ("target", "supported", "threshold", "rate", "interval", "method", "reason", "fmr", "fmr_interval", "fnmr", "fnmr_interval", "other_threshold")
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METHOD_UNSPECIFIED: _ClassVar[MeasuredThreshold.Method]
        METHOD_COMPARISONS: _ClassVar[MeasuredThreshold.Method]
        METHOD_SEARCHES: _ClassVar[MeasuredThreshold.Method]
        METHOD_GALLERY_SIZE: _ClassVar[MeasuredThreshold.Method]
    METHOD_UNSPECIFIED: MeasuredThreshold.Method
    METHOD_COMPARISONS: MeasuredThreshold.Method
    METHOD_SEARCHES: MeasuredThreshold.Method
    METHOD_GALLERY_SIZE: MeasuredThreshold.Method
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FMR_FIELD_NUMBER: _ClassVar[int]
    FMR_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    FNMR_FIELD_NUMBER: _ClassVar[int]
    FNMR_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    OTHER_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    target: float
    supported: float
    threshold: float
    rate: float
    interval: ConfidenceInterval
    method: MeasuredThreshold.Method
    reason: str
    fmr: float
    fmr_interval: ConfidenceInterval
    fnmr: float
    fnmr_interval: ConfidenceInterval
    other_threshold: float
    def __init__(self, target: _Optional[float] = ..., supported: _Optional[float] = ..., threshold: _Optional[float] = ..., rate: _Optional[float] = ..., interval: _Optional[_Union[ConfidenceInterval, _Mapping]] = ..., method: _Optional[_Union[MeasuredThreshold.Method, str]] = ..., reason: _Optional[str] = ..., fmr: _Optional[float] = ..., fmr_interval: _Optional[_Union[ConfidenceInterval, _Mapping]] = ..., fnmr: _Optional[float] = ..., fnmr_interval: _Optional[_Union[ConfidenceInterval, _Mapping]] = ..., other_threshold: _Optional[float] = ...) -> None: ...

class ExpectedAnswer(_message.Message):
    __slots__ = ("operation", "scope", "mated", "match", "ambiguous", "no_match", "wrong_match", "probes", "identities")
    class Share(_message.Message):
        __slots__ = ("share", "interval")
        SHARE_FIELD_NUMBER: _ClassVar[int]
        INTERVAL_FIELD_NUMBER: _ClassVar[int]
        share: float
        interval: ConfidenceInterval
        def __init__(self, share: _Optional[float] = ..., interval: _Optional[_Union[ConfidenceInterval, _Mapping]] = ...) -> None: ...
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    MATED_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    AMBIGUOUS_FIELD_NUMBER: _ClassVar[int]
    NO_MATCH_FIELD_NUMBER: _ClassVar[int]
    WRONG_MATCH_FIELD_NUMBER: _ClassVar[int]
    PROBES_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    scope: _decision_pb2.Scope
    mated: bool
    match: ExpectedAnswer.Share
    ambiguous: ExpectedAnswer.Share
    no_match: ExpectedAnswer.Share
    wrong_match: ExpectedAnswer.Share
    probes: int
    identities: int
    def __init__(self, operation: _Optional[_Union[Operation, str]] = ..., scope: _Optional[_Union[_decision_pb2.Scope, str]] = ..., mated: _Optional[bool] = ..., match: _Optional[_Union[ExpectedAnswer.Share, _Mapping]] = ..., ambiguous: _Optional[_Union[ExpectedAnswer.Share, _Mapping]] = ..., no_match: _Optional[_Union[ExpectedAnswer.Share, _Mapping]] = ..., wrong_match: _Optional[_Union[ExpectedAnswer.Share, _Mapping]] = ..., probes: _Optional[int] = ..., identities: _Optional[int] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("verification", "identification", "gallery_size", "confidence", "source", "identities", "comparisons", "possible_comparisons", "effective_comparisons", "mated_comparisons", "mated_identities", "searches", "findings", "curves", "runner_up_margin", "ambiguous", "expected_answers", "expected_probes")
    class Source(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SOURCE_UNSPECIFIED: _ClassVar[Calibration.Source]
        SOURCE_SCORES: _ClassVar[Calibration.Source]
        SOURCE_GALLERY: _ClassVar[Calibration.Source]
        SOURCE_COHORT: _ClassVar[Calibration.Source]
    SOURCE_UNSPECIFIED: Calibration.Source
    SOURCE_SCORES: Calibration.Source
    SOURCE_GALLERY: Calibration.Source
    SOURCE_COHORT: Calibration.Source
    class Curves(_message.Message):
        __slots__ = ("thresholds", "fmr", "fnmr", "edges", "mated", "non_mated")
        THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
        FMR_FIELD_NUMBER: _ClassVar[int]
        FNMR_FIELD_NUMBER: _ClassVar[int]
        EDGES_FIELD_NUMBER: _ClassVar[int]
        MATED_FIELD_NUMBER: _ClassVar[int]
        NON_MATED_FIELD_NUMBER: _ClassVar[int]
        thresholds: _containers.RepeatedScalarFieldContainer[float]
        fmr: _containers.RepeatedScalarFieldContainer[float]
        fnmr: _containers.RepeatedScalarFieldContainer[float]
        edges: _containers.RepeatedScalarFieldContainer[float]
        mated: _containers.RepeatedScalarFieldContainer[int]
        non_mated: _containers.RepeatedScalarFieldContainer[int]
        def __init__(self, thresholds: _Optional[_Iterable[float]] = ..., fmr: _Optional[_Iterable[float]] = ..., fnmr: _Optional[_Iterable[float]] = ..., edges: _Optional[_Iterable[float]] = ..., mated: _Optional[_Iterable[int]] = ..., non_mated: _Optional[_Iterable[int]] = ...) -> None: ...
    VERIFICATION_FIELD_NUMBER: _ClassVar[int]
    IDENTIFICATION_FIELD_NUMBER: _ClassVar[int]
    GALLERY_SIZE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    POSSIBLE_COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    MATED_COMPARISONS_FIELD_NUMBER: _ClassVar[int]
    MATED_IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    CURVES_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    AMBIGUOUS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_PROBES_FIELD_NUMBER: _ClassVar[int]
    verification: MeasuredThreshold
    identification: MeasuredThreshold
    gallery_size: int
    confidence: float
    source: Calibration.Source
    identities: int
    comparisons: int
    possible_comparisons: int
    effective_comparisons: float
    mated_comparisons: int
    mated_identities: int
    searches: int
    findings: _containers.RepeatedScalarFieldContainer[str]
    curves: Calibration.Curves
    runner_up_margin: float
    ambiguous: float
    expected_answers: _containers.RepeatedCompositeFieldContainer[ExpectedAnswer]
    expected_probes: int
    def __init__(self, verification: _Optional[_Union[MeasuredThreshold, _Mapping]] = ..., identification: _Optional[_Union[MeasuredThreshold, _Mapping]] = ..., gallery_size: _Optional[int] = ..., confidence: _Optional[float] = ..., source: _Optional[_Union[Calibration.Source, str]] = ..., identities: _Optional[int] = ..., comparisons: _Optional[int] = ..., possible_comparisons: _Optional[int] = ..., effective_comparisons: _Optional[float] = ..., mated_comparisons: _Optional[int] = ..., mated_identities: _Optional[int] = ..., searches: _Optional[int] = ..., findings: _Optional[_Iterable[str]] = ..., curves: _Optional[_Union[Calibration.Curves, _Mapping]] = ..., runner_up_margin: _Optional[float] = ..., ambiguous: _Optional[float] = ..., expected_answers: _Optional[_Iterable[_Union[ExpectedAnswer, _Mapping]]] = ..., expected_probes: _Optional[int] = ...) -> None: ...

class IdentityThresholds(_message.Message):
    __slots__ = ("proposals", "before", "after", "raised")
    class Proposal(_message.Message):
        __slots__ = ("identity", "verify_threshold", "p_value", "impostors", "impostors_in_tail")
        IDENTITY_FIELD_NUMBER: _ClassVar[int]
        VERIFY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
        P_VALUE_FIELD_NUMBER: _ClassVar[int]
        IMPOSTORS_FIELD_NUMBER: _ClassVar[int]
        IMPOSTORS_IN_TAIL_FIELD_NUMBER: _ClassVar[int]
        identity: str
        verify_threshold: float
        p_value: float
        impostors: int
        impostors_in_tail: int
        def __init__(self, identity: _Optional[str] = ..., verify_threshold: _Optional[float] = ..., p_value: _Optional[float] = ..., impostors: _Optional[int] = ..., impostors_in_tail: _Optional[int] = ...) -> None: ...
    class ErrorRates(_message.Message):
        __slots__ = ("fmr", "fmr_interval", "fnmr")
        FMR_FIELD_NUMBER: _ClassVar[int]
        FMR_INTERVAL_FIELD_NUMBER: _ClassVar[int]
        FNMR_FIELD_NUMBER: _ClassVar[int]
        fmr: float
        fmr_interval: ConfidenceInterval
        fnmr: float
        def __init__(self, fmr: _Optional[float] = ..., fmr_interval: _Optional[_Union[ConfidenceInterval, _Mapping]] = ..., fnmr: _Optional[float] = ...) -> None: ...
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    RAISED_FIELD_NUMBER: _ClassVar[int]
    proposals: _containers.RepeatedCompositeFieldContainer[IdentityThresholds.Proposal]
    before: IdentityThresholds.ErrorRates
    after: IdentityThresholds.ErrorRates
    raised: IdentityThresholds.ErrorRates
    def __init__(self, proposals: _Optional[_Iterable[_Union[IdentityThresholds.Proposal, _Mapping]]] = ..., before: _Optional[_Union[IdentityThresholds.ErrorRates, _Mapping]] = ..., after: _Optional[_Union[IdentityThresholds.ErrorRates, _Mapping]] = ..., raised: _Optional[_Union[IdentityThresholds.ErrorRates, _Mapping]] = ...) -> None: ...

class RecordedDecisions(_message.Message):
    __slots__ = ("scores", "leads", "mated", "first", "second")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    MATED_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    leads: _containers.RepeatedScalarFieldContainer[float]
    mated: _containers.RepeatedScalarFieldContainer[bool]
    first: _containers.RepeatedScalarFieldContainer[int]
    second: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., leads: _Optional[_Iterable[float]] = ..., mated: _Optional[_Iterable[bool]] = ..., first: _Optional[_Iterable[int]] = ..., second: _Optional[_Iterable[int]] = ...) -> None: ...

class SettingOutcomes(_message.Message):
    __slots__ = ("threshold", "runner_up_margin", "matches", "ambiguous", "no_matches", "false_matches", "false_non_matches")
    class ErrorRate(_message.Message):
        __slots__ = ("errors", "trials", "interval")
        ERRORS_FIELD_NUMBER: _ClassVar[int]
        TRIALS_FIELD_NUMBER: _ClassVar[int]
        INTERVAL_FIELD_NUMBER: _ClassVar[int]
        errors: int
        trials: int
        interval: ConfidenceInterval
        def __init__(self, errors: _Optional[int] = ..., trials: _Optional[int] = ..., interval: _Optional[_Union[ConfidenceInterval, _Mapping]] = ...) -> None: ...
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    RUNNER_UP_MARGIN_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    AMBIGUOUS_FIELD_NUMBER: _ClassVar[int]
    NO_MATCHES_FIELD_NUMBER: _ClassVar[int]
    FALSE_MATCHES_FIELD_NUMBER: _ClassVar[int]
    FALSE_NON_MATCHES_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    runner_up_margin: float
    matches: int
    ambiguous: int
    no_matches: int
    false_matches: SettingOutcomes.ErrorRate
    false_non_matches: SettingOutcomes.ErrorRate
    def __init__(self, threshold: _Optional[float] = ..., runner_up_margin: _Optional[float] = ..., matches: _Optional[int] = ..., ambiguous: _Optional[int] = ..., no_matches: _Optional[int] = ..., false_matches: _Optional[_Union[SettingOutcomes.ErrorRate, _Mapping]] = ..., false_non_matches: _Optional[_Union[SettingOutcomes.ErrorRate, _Mapping]] = ...) -> None: ...

class OutcomeTransition(_message.Message):
    __slots__ = ("before", "after", "count")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    before: _decision_pb2.Outcome
    after: _decision_pb2.Outcome
    count: int
    def __init__(self, before: _Optional[_Union[_decision_pb2.Outcome, str]] = ..., after: _Optional[_Union[_decision_pb2.Outcome, str]] = ..., count: _Optional[int] = ...) -> None: ...
