from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Codec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODEC_UNSPECIFIED: _ClassVar[Codec]
    CODEC_JPEG: _ClassVar[Codec]
    CODEC_PNG: _ClassVar[Codec]
    CODEC_RAW: _ClassVar[Codec]
    CODEC_H264: _ClassVar[Codec]

class PixelFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PIXEL_FORMAT_UNSPECIFIED: _ClassVar[PixelFormat]
    PIXEL_FORMAT_BGR24: _ClassVar[PixelFormat]
    PIXEL_FORMAT_RGB24: _ClassVar[PixelFormat]
    PIXEL_FORMAT_GRAY8: _ClassVar[PixelFormat]

class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATUS_UNSPECIFIED: _ClassVar[Status]
    STATUS_OK: _ClassVar[Status]
    STATUS_ERROR: _ClassVar[Status]
    STATUS_TIMEOUT: _ClassVar[Status]
    STATUS_SKIPPED: _ClassVar[Status]
CODEC_UNSPECIFIED: Codec
CODEC_JPEG: Codec
CODEC_PNG: Codec
CODEC_RAW: Codec
CODEC_H264: Codec
PIXEL_FORMAT_UNSPECIFIED: PixelFormat
PIXEL_FORMAT_BGR24: PixelFormat
PIXEL_FORMAT_RGB24: PixelFormat
PIXEL_FORMAT_GRAY8: PixelFormat
STATUS_UNSPECIFIED: Status
STATUS_OK: Status
STATUS_ERROR: Status
STATUS_TIMEOUT: Status
STATUS_SKIPPED: Status

class Envelope(_message.Message):
    __slots__ = ("frame", "end", "gap")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    frame: Frame
    end: EndOfStream
    gap: Gap
    def __init__(self, frame: _Optional[_Union[Frame, _Mapping]] = ..., end: _Optional[_Union[EndOfStream, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ...) -> None: ...

class FrameId(_message.Message):
    __slots__ = ("source_id", "epoch", "sequence")
    SOURCE_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    source_id: str
    epoch: int
    sequence: int
    def __init__(self, source_id: _Optional[str] = ..., epoch: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("id", "capture_time_unix_ns", "pts", "time_base", "codec", "pixel_format", "width", "height", "keyframe", "inline", "reference", "missing", "results", "lineage", "stamps", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    PTS_FIELD_NUMBER: _ClassVar[int]
    TIME_BASE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    KEYFRAME_FIELD_NUMBER: _ClassVar[int]
    INLINE_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    LINEAGE_FIELD_NUMBER: _ClassVar[int]
    STAMPS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    id: FrameId
    capture_time_unix_ns: int
    pts: int
    time_base: TimeBase
    codec: Codec
    pixel_format: PixelFormat
    width: int
    height: int
    keyframe: bool
    inline: bytes
    reference: Reference
    missing: Missing
    results: _containers.RepeatedCompositeFieldContainer[Result]
    lineage: _containers.RepeatedCompositeFieldContainer[FrameId]
    stamps: _containers.RepeatedCompositeFieldContainer[Stamp]
    labels: _containers.ScalarMap[str, str]
    def __init__(self, id: _Optional[_Union[FrameId, _Mapping]] = ..., capture_time_unix_ns: _Optional[int] = ..., pts: _Optional[int] = ..., time_base: _Optional[_Union[TimeBase, _Mapping]] = ..., codec: _Optional[_Union[Codec, str]] = ..., pixel_format: _Optional[_Union[PixelFormat, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., keyframe: bool = ..., inline: _Optional[bytes] = ..., reference: _Optional[_Union[Reference, _Mapping]] = ..., missing: _Optional[_Union[Missing, _Mapping]] = ..., results: _Optional[_Iterable[_Union[Result, _Mapping]]] = ..., lineage: _Optional[_Iterable[_Union[FrameId, _Mapping]]] = ..., stamps: _Optional[_Iterable[_Union[Stamp, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class TimeBase(_message.Message):
    __slots__ = ("num", "den")
    NUM_FIELD_NUMBER: _ClassVar[int]
    DEN_FIELD_NUMBER: _ClassVar[int]
    num: int
    den: int
    def __init__(self, num: _Optional[int] = ..., den: _Optional[int] = ...) -> None: ...

class Reference(_message.Message):
    __slots__ = ("topic", "partition", "offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class Missing(_message.Message):
    __slots__ = ("reason", "last_known")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Missing.Reason]
        REASON_EXPIRED: _ClassVar[Missing.Reason]
        REASON_OMITTED: _ClassVar[Missing.Reason]
    REASON_UNSPECIFIED: Missing.Reason
    REASON_EXPIRED: Missing.Reason
    REASON_OMITTED: Missing.Reason
    REASON_FIELD_NUMBER: _ClassVar[int]
    LAST_KNOWN_FIELD_NUMBER: _ClassVar[int]
    reason: Missing.Reason
    last_known: Reference
    def __init__(self, reason: _Optional[_Union[Missing.Reason, str]] = ..., last_known: _Optional[_Union[Reference, _Mapping]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("processor", "version", "status", "attempts", "detections", "attributes", "error", "timing")
    PROCESSOR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    processor: str
    version: str
    status: Status
    attempts: int
    detections: _containers.RepeatedCompositeFieldContainer[Detection]
    attributes: _struct_pb2.Struct
    error: str
    timing: Timing
    def __init__(self, processor: _Optional[str] = ..., version: _Optional[str] = ..., status: _Optional[_Union[Status, str]] = ..., attempts: _Optional[int] = ..., detections: _Optional[_Iterable[_Union[Detection, _Mapping]]] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., error: _Optional[str] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Detection(_message.Message):
    __slots__ = ("box", "label", "confidence", "track_id", "text")
    BOX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    TRACK_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    box: Box
    label: str
    confidence: float
    track_id: int
    text: str
    def __init__(self, box: _Optional[_Union[Box, _Mapping]] = ..., label: _Optional[str] = ..., confidence: _Optional[float] = ..., track_id: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

class Box(_message.Message):
    __slots__ = ("x", "y", "width", "height")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    width: float
    height: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., width: _Optional[float] = ..., height: _Optional[float] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queued_ns", "call_ns", "processing_ns")
    QUEUED_NS_FIELD_NUMBER: _ClassVar[int]
    CALL_NS_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_NS_FIELD_NUMBER: _ClassVar[int]
    queued_ns: int
    call_ns: int
    processing_ns: int
    def __init__(self, queued_ns: _Optional[int] = ..., call_ns: _Optional[int] = ..., processing_ns: _Optional[int] = ...) -> None: ...

class Stamp(_message.Message):
    __slots__ = ("stage", "entered_unix_ns", "left_unix_ns")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    ENTERED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    LEFT_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    stage: str
    entered_unix_ns: int
    left_unix_ns: int
    def __init__(self, stage: _Optional[str] = ..., entered_unix_ns: _Optional[int] = ..., left_unix_ns: _Optional[int] = ...) -> None: ...

class EndOfStream(_message.Message):
    __slots__ = ("last", "empty", "reason", "detail")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[EndOfStream.Reason]
        REASON_FINISHED: _ClassVar[EndOfStream.Reason]
        REASON_STOPPED: _ClassVar[EndOfStream.Reason]
        REASON_FAILED: _ClassVar[EndOfStream.Reason]
    REASON_UNSPECIFIED: EndOfStream.Reason
    REASON_FINISHED: EndOfStream.Reason
    REASON_STOPPED: EndOfStream.Reason
    REASON_FAILED: EndOfStream.Reason
    LAST_FIELD_NUMBER: _ClassVar[int]
    EMPTY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    last: FrameId
    empty: bool
    reason: EndOfStream.Reason
    detail: str
    def __init__(self, last: _Optional[_Union[FrameId, _Mapping]] = ..., empty: bool = ..., reason: _Optional[_Union[EndOfStream.Reason, str]] = ..., detail: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("first", "count", "reason", "detail", "origin")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Gap.Reason]
        REASON_OVERLOAD: _ClassVar[Gap.Reason]
        REASON_PROCESSING_FAILED: _ClassVar[Gap.Reason]
        REASON_UNDECODABLE: _ClassVar[Gap.Reason]
        REASON_EXPIRED: _ClassVar[Gap.Reason]
        REASON_SOURCE_STALLED: _ClassVar[Gap.Reason]
    REASON_UNSPECIFIED: Gap.Reason
    REASON_OVERLOAD: Gap.Reason
    REASON_PROCESSING_FAILED: Gap.Reason
    REASON_UNDECODABLE: Gap.Reason
    REASON_EXPIRED: Gap.Reason
    REASON_SOURCE_STALLED: Gap.Reason
    FIRST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    first: FrameId
    count: int
    reason: Gap.Reason
    detail: str
    origin: Reference
    def __init__(self, first: _Optional[_Union[FrameId, _Mapping]] = ..., count: _Optional[int] = ..., reason: _Optional[_Union[Gap.Reason, str]] = ..., detail: _Optional[str] = ..., origin: _Optional[_Union[Reference, _Mapping]] = ...) -> None: ...
