"""One TensorBoard event file: every call is on disk when it returns."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2 as layout
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.summary.writer.record_writer import RecordWriter

from tunemax.gpt.errors import TunemaxError

Value = Any
"""A named value of a summary; protocol buffers have no types that mypy could see."""


class EventFile:
    """A new event file in the folder of a run.

    All that is written at once is one record. The usual SummaryWriter has a thread for each file, which meets a full
    disk with a traceback, and two files of one second are read in any order; here a call writes itself, and names tell
    nanoseconds.

    Args:
        folder: of the run; it is made if need be.
        resumed_at: what earlier files of the run tell of this iteration and later ones is forgotten.

    Raises TunemaxError, here and when it writes, if the file cannot be written.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None) -> None:
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        self._path = folder / f"events.out.tfevents.{seconds:010}.{nanoseconds:09}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        self._events = [Event(wall_time=time.time(), file_version="brain.Event:2")]
        if resumed_at is not None:
            self._events.append(
                Event(wall_time=time.time(), step=resumed_at, session_log=SessionLog(status=SessionLog.START))
            )

    def write(self, values: Iterable[Value], iteration: int = 0) -> None:
        """Append values that were measured at an iteration."""
        self._events.append(Event(wall_time=time.time(), step=iteration, summary=Summary(value=values)))
        records = _Records()
        for event in self._events:
            RecordWriter(records).write(event.SerializeToString())
        left = memoryview(records.content)
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise self._unwritable(error) from error
        self._events = []

    def close(self) -> None:
        self._file.close()

    def _unwritable(self, error: OSError) -> TunemaxError:
        return TunemaxError(
            f"{self._path.parent}: TensorBoard events cannot be written ({error.strerror}); make room, or choose "
            "another folder"
        )


class _Records:
    """The bytes of some records; they go to the disk in one call."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, record: bytes) -> None:
        self.content += record


def scalar(tag: str, value: float) -> Value:
    return Summary.Value(tag=tag, simple_value=value)


def histogram(tag: str, edges: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> Value:
    """counts (n,) of values between edges (n + 1,), without the empty ends."""
    (filled,) = counts.nonzero()
    first, last = (int(filled[0]), int(filled[-1]) + 1) if len(filled) else (0, 1)
    edges, counts = edges[first : last + 1].astype(float), counts[first:last].astype(float)
    middles = (edges[1:] + edges[:-1]) / 2
    proto = HistogramProto(
        min=edges[0],
        max=edges[-1],
        num=counts.sum(),
        sum=counts @ middles,
        sum_squares=counts @ middles**2,
        # A bucket ends at its limit and begins at the one before, so the first one only says where the next begins.
        bucket_limit=edges.tolist(),
        bucket=[0.0, *counts.tolist()],
    )
    return Summary.Value(tag=tag, histo=proto)


def charts(title: str, lines: Mapping[str, Iterable[str]]) -> Value:
    """Charts of the custom scalars tab: each title with the tags that it shows in the same axes."""
    found = [
        layout.Chart(title=name, multiline=layout.MultilineChartContent(tag=[f"^{tag}$" for tag in tags]))
        for name, tags in lines.items()
    ]
    content = layout.Layout(category=[layout.Category(title=title, chart=found)]).SerializeToString()
    return Summary.Value(
        tag=custom_scalars.CONFIG_SUMMARY_TAG,
        metadata=custom_scalars.create_summary_metadata(),
        tensor=TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto()),
    )


def session(**message: Any) -> Value:
    """How a run of the hparams tab begins (``session_start_info``) or ends (``session_end_info``)."""
    tags = {"session_start_info": hparams.SESSION_START_INFO_TAG, "session_end_info": hparams.SESSION_END_INFO_TAG}
    metadata: SummaryMetadata = hparams.create_summary_metadata(HParamsPluginData(**message))
    return Summary.Value(tag=tags[next(iter(message))], metadata=metadata, tensor=hparams.NULL_TENSOR)


def finite(values: Mapping[str, float]) -> dict[str, float]:
    """Without what was not measured, or has no place in a chart."""
    return {tag: value for tag, value in values.items() if math.isfinite(value)}
