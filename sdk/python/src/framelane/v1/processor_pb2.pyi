from framelane.v1 import frame_pb2 as _frame_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProcessRequest(_message.Message):
    __slots__ = ("frame", "attempt")
    FRAME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    frame: _frame_pb2.Frame
    attempt: int
    def __init__(self, frame: _Optional[_Union[_frame_pb2.Frame, _Mapping]] = ..., attempt: _Optional[int] = ...) -> None: ...

class ProcessResponse(_message.Message):
    __slots__ = ("id", "result", "picture")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    id: _frame_pb2.FrameId
    result: _frame_pb2.Result
    picture: Picture
    def __init__(self, id: _Optional[_Union[_frame_pb2.FrameId, _Mapping]] = ..., result: _Optional[_Union[_frame_pb2.Result, _Mapping]] = ..., picture: _Optional[_Union[Picture, _Mapping]] = ...) -> None: ...

class ProcessBatchRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ProcessRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ProcessRequest, _Mapping]]] = ...) -> None: ...

class ProcessBatchResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[BatchedOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[BatchedOutcome, _Mapping]]] = ...) -> None: ...

class BatchedOutcome(_message.Message):
    __slots__ = ("response", "refusal")
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    response: ProcessResponse
    refusal: Refusal
    def __init__(self, response: _Optional[_Union[ProcessResponse, _Mapping]] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ("codec", "pixel_format", "width", "height", "content")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PIXEL_FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    codec: _frame_pb2.Codec
    pixel_format: _frame_pb2.PixelFormat
    width: int
    height: int
    content: bytes
    def __init__(self, codec: _Optional[_Union[_frame_pb2.Codec, str]] = ..., pixel_format: _Optional[_Union[_frame_pb2.PixelFormat, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., content: _Optional[bytes] = ...) -> None: ...

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("name", "version", "max_in_flight", "needs_pixels", "max_batch", "max_batch_wait_us")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    NEEDS_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_FIELD_NUMBER: _ClassVar[int]
    MAX_BATCH_WAIT_US_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    max_in_flight: int
    needs_pixels: bool
    max_batch: int
    max_batch_wait_us: int
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., max_in_flight: _Optional[int] = ..., needs_pixels: bool = ..., max_batch: _Optional[int] = ..., max_batch_wait_us: _Optional[int] = ...) -> None: ...
