"""TensorBoard as one training shows itself: curves, softmax beside what it stands for, histograms, the hparams tab."""

from __future__ import annotations

import io
import math
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.plugins.custom_scalar import layout_pb2 as layout
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from tensorboard.summary.writer.record_writer import RecordWriter

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.errors import TunemaxError
from tunemax.gpt.loggers.base import Logger
from tunemax.gpt.paths import inside
from tunemax.gpt.probe import STANDS_FOR, WEIGHT_EDGES, Probe

MEASURES = ("row_max", "denominator", "row_sum", "guarded")
"""What is shown of a probe beside the learnables."""
EVENTS = "events.out.tfevents"
"""Begins the name of an event file, by which TensorBoard knows one."""
Value = Any
"""A named value of a summary; protocol buffers have no types that mypy could see."""


class TensorBoard(Logger):
    """Writes the events of one training; every call is on disk when it returns. What is not finite is left out.

    Tags: ``loss/train|validation|perplexity|bits_per_byte``, ``train/learning_rate|grad_norm``, ``speed/tokens_per_s``,
    ``memory/peak_mb``, ``softmax/layer0/head1/row_max|denominator|row_sum|guarded|beta|…``; on request the histograms
    ``softmax_log10_weights/layer0/head1`` and ``softmax_learnables/beta|…``.

    Raises TunemaxError, in every call, if the folder cannot be written.
    """

    files = (f"{EVENTS}.*",)

    def __init__(self, file: EventFile, config: Config | None, each_head: bool) -> None:
        self._file, self._config, self._each_head = file, config, each_head

    @classmethod
    def open(
        cls,
        folder: Path,
        config: Config | None,
        *,
        resumed_at: int | None = None,
        each_head: bool = True,
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> Self | None:
        """As `Logger`. The hparams tab has the labels as columns, and the run's path, cut off, if it has no name."""
        if config is not None and not config.log.tensorboard:
            return None
        opened = cls(EventFile(folder, resumed_at), config, each_head)
        if config is not None:
            opened._file.write([_started(config, name, labels or {}), *opened._charts(config)])
        return opened

    def log(self, values: Mapping[str, float], iteration: int, probe: Probe | None = None) -> None:
        shown = {**values, **(self._scalars(probe) if probe else {})}
        summary = [_scalar(tag, value) for tag, value in shown.items() if math.isfinite(value)]
        if probe and self._config and self._config.log.tensorboard_histograms:
            summary += self._histograms(probe)
        self._file.write(summary, iteration)

    def close(self, completed: bool | None = None) -> None:
        """The hparams tab shows a success or a failure."""
        try:
            if completed is not None and self._config:
                status = Status.Value("STATUS_SUCCESS" if completed else "STATUS_FAILURE")
                ended = SessionEndInfo(status=status, end_time_secs=time.time())
                self._file.write([_session(session_end_info=ended)])
        finally:
            self._file.close()

    # ------------------------------------------------------------------------------------------------------- inside

    def _places(self, layers: int, heads: int) -> list[tuple[str, int, int | None]]:
        """Each name that curves have, its layer, and its head; None is all heads."""
        if not self._each_head:
            return [(f"layer{layer}", layer, None) for layer in range(layers)]
        return [(f"layer{layer}/head{head}", layer, head) for layer in range(layers) for head in range(heads)]

    def _charts(self, config: Config) -> list[Value]:
        """One chart a head, or layer, that shows each learnable in the same axes as what it stands for."""
        lines = {
            f"{place.replace('/', ', ')}: {name} and {STANDS_FOR[name]}": [
                f"softmax/{place}/{tag}" for tag in (name, STANDS_FOR[name])
            ]
            for name in config.softmax.learned()
            if name in STANDS_FOR
            for place, _, _ in self._places(config.model.n_layer, config.model.n_head)
        }
        return [_chart("softmax", lines)] if lines else []

    def _scalars(self, probe: Probe) -> dict[str, float]:
        """A learnable that is one a layer is shown at every head."""
        measures = {name: getattr(probe, name) for name in MEASURES} | probe.learnables
        by_place = {
            name: (measure if self._each_head else measure.mean(1, keepdim=True)).tolist()
            for name, measure in measures.items()
        }
        return {
            f"softmax/{place}/{name}": values[layer][min(head or 0, len(values[layer]) - 1)]
            for place, layer, head in self._places(*probe.row_max.shape)
            for name, values in by_place.items()
        }

    def _histograms(self, probe: Probe) -> list[Value]:
        histograms = []
        if probe.weights is not None:
            for place, layer, head in self._places(*probe.row_max.shape):
                of_place = probe.weights[layer].sum(0) if head is None else probe.weights[layer, head]
                histograms.append(_histogram(f"softmax_log10_weights/{place}", WEIGHT_EDGES, of_place.numpy()))
        for name, values in probe.learnables.items():
            if values.isfinite().all():
                counts, edges = np.histogram(values.double().numpy(), bins=30)
                histograms.append(_histogram(f"softmax_learnables/{name}", edges, counts))
        return histograms


def _started(config: Config, name: str, labels: Mapping[str, str]) -> Value:
    """The row of the hparams tab: the active fields that decide what is trained.

    No run declares the table's columns: TensorBoard takes such a declaration from one run for all of them, and fields
    of another variant would have no column. Undeclared, it makes them from all the runs that it reads.
    """
    info = SessionStartInfo(start_time_secs=time.time(), group_name=name)
    specs = all_specs()
    fields = {field: value for field, value in config.active().items() if specs[field].declared.identity}
    for column, value in {**fields, **labels}.items():
        if isinstance(value, bool):
            info.hparams[column].bool_value = value
        elif isinstance(value, str):
            info.hparams[column].string_value = value
        else:
            info.hparams[column].number_value = value
    return _session(session_start_info=info)


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
        host = re.sub(r"[^\w.-]", "_", socket.gethostname())
        self._path = inside(folder, f"{EVENTS}.{seconds:010}.{nanoseconds:09}.{host}.{os.getpid()}")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error
        self._events = [Event(wall_time=time.time(), file_version="brain.Event:2")]
        if resumed_at is not None:
            restart = SessionLog(status=SessionLog.START)
            self._events.append(Event(wall_time=time.time(), step=resumed_at, session_log=restart))

    def write(self, values: Iterable[Value], iteration: int = 0) -> None:
        """Append values that were measured at an iteration."""
        self._events.append(Event(wall_time=time.time(), step=iteration, summary=Summary(value=values)))
        records = io.BytesIO()  # they go to the disk in one call
        for event in self._events:
            RecordWriter(records).write(event.SerializeToString())
        left = records.getbuffer()
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


def _scalar(tag: str, value: float) -> Value:
    return Summary.Value(tag=tag, simple_value=value)


def _histogram(tag: str, edges: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> Value:
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


def _chart(title: str, lines: Mapping[str, Iterable[str]]) -> Value:
    """Charts of the custom scalars tab: each title with the tags that it shows in the same axes."""
    made = [
        layout.Chart(title=name, multiline=layout.MultilineChartContent(tag=[f"^{tag}$" for tag in tags]))
        for name, tags in lines.items()
    ]
    content = layout.Layout(category=[layout.Category(title=title, chart=made)]).SerializeToString()
    return Summary.Value(
        tag=custom_scalars.CONFIG_SUMMARY_TAG,
        metadata=custom_scalars.create_summary_metadata(),
        tensor=TensorProto(dtype="DT_STRING", string_val=[content], tensor_shape=TensorShapeProto()),
    )


def _session(**message: Any) -> Value:
    """How a run of the hparams tab begins (``session_start_info``) or ends (``session_end_info``)."""
    tags = {"session_start_info": hparams.SESSION_START_INFO_TAG, "session_end_info": hparams.SESSION_END_INFO_TAG}
    metadata: SummaryMetadata = hparams.create_summary_metadata(HParamsPluginData(**message))
    return Summary.Value(tag=tags[next(iter(message))], metadata=metadata, tensor=hparams.NULL_TENSOR)
