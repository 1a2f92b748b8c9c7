"""TensorBoard as one run shows itself: curves, softmax beside what it stands for, histograms, the hparams tab."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import SessionEndInfo, SessionStartInfo

from tunemax.gpt.config import Config, all_specs
from tunemax.gpt.event_file import EventFile, charts, finite, histogram, scalar, session
from tunemax.gpt.probe import STANDS_FOR, WEIGHT_EDGES, Probe

MEASURES = ("row_max", "denominator", "row_sum", "guarded")
"""What is shown of a probe beside the learnables."""


class Board:
    """Writes the events of one run; every call is on disk when it returns. What is not finite is left out.

    Tags: ``loss/train|validation|perplexity|bits_per_byte``, ``train/learning_rate|grad_norm``, ``speed/tokens_per_s``,
    ``memory/peak_mb``, ``softmax/layer0/head1/row_max|denominator|row_sum|guarded|beta|…``; on request the histograms
    ``softmax_log10_weights/layer0/head1`` and ``softmax_learnables/beta|…``.

    Args:
        folder: of the run.
        config: what is trained.
        resumed_at: what the folder tells of this iteration and later ones is told again.
        each_head: one curve a head, or the mean of a layer's heads, as ``softmax/layer0/row_max``.
        name: what the hparams tab calls the run; its path, which is cut off on the right, if empty.
        labels: more columns of the hparams tab.

    Raises TunemaxError, here and in every call, if the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        *,
        resumed_at: int | None = None,
        each_head: bool = True,
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._config, self._each_head = config, each_head
        self._file = EventFile(folder, resumed_at)
        self._file.write([_started(config, name, labels or {}), *self._charts()])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def write(self, values: Mapping[str, float], iteration: int, probe: Probe | None = None) -> None:
        """Scalars by their tags, and what was measured of the softmax at the same iteration."""
        shown = finite({**values, **(self._scalars(probe) if probe else {})})
        found = [scalar(tag, value) for tag, value in shown.items()]
        if probe and self._config.log.tensorboard_histograms:
            found += self._histograms(probe)
        self._file.write(found, iteration)

    def end(self, completed: bool) -> None:
        """Say in the hparams tab that the run is over: a success if it reached its horizon, else a failure."""
        status = Status.Value("STATUS_SUCCESS" if completed else "STATUS_FAILURE")
        self._file.write([session(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time()))])

    # ------------------------------------------------------------------------------------------------------- inside

    def _places(self) -> list[tuple[str, int, int | None]]:
        """Each name that curves have, its layer, and its head; None is all heads."""
        model = self._config.model
        if not self._each_head:
            return [(f"layer{layer}", layer, None) for layer in range(model.n_layer)]
        return [
            (f"layer{layer}/head{head}", layer, head) for layer in range(model.n_layer) for head in range(model.n_head)
        ]

    def _charts(self) -> list[Any]:
        """One chart a head, or layer, that shows each learnable in the same axes as what it stands for."""
        lines = {
            f"{place.replace('/', ', ')}: {name} and {STANDS_FOR[name]}": [
                f"softmax/{place}/{tag}" for tag in (name, STANDS_FOR[name])
            ]
            for name in self._config.softmax.learned()
            if name in STANDS_FOR
            for place, _, _ in self._places()
        }
        return [charts("softmax", lines)] if lines else []

    def _scalars(self, probe: Probe) -> dict[str, float]:
        """A learnable that is one a layer is shown at every head."""
        measures = {name: getattr(probe, name) for name in MEASURES} | probe.learnables
        by_place = {
            name: (measure if self._each_head else measure.mean(1, keepdim=True)).tolist()
            for name, measure in measures.items()
        }
        return {
            f"softmax/{place}/{name}": values[layer][min(head or 0, len(values[layer]) - 1)]
            for place, layer, head in self._places()
            for name, values in by_place.items()
        }

    def _histograms(self, probe: Probe) -> list[Any]:
        found = []
        if probe.weights is not None:
            for place, layer, head in self._places():
                of_place = probe.weights[layer].sum(0) if head is None else probe.weights[layer, head]
                found.append(histogram(f"softmax_log10_weights/{place}", WEIGHT_EDGES, of_place.numpy()))
        for name, values in probe.learnables.items():
            if values.isfinite().all():
                counts, edges = np.histogram(values.double().numpy(), bins=30)
                found.append(histogram(f"softmax_learnables/{name}", edges, counts))
        return found


def _started(config: Config, name: str, labels: Mapping[str, str]) -> Any:
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
    return session(session_start_info=info)
