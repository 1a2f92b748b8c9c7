"""TensorBoard runs of a study's trials, read back as TensorBoard and its hparams tab read them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.provider import ListHyperparametersResult
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.api_pb2 import ListSessionGroupsRequest, Status
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

import tunemax.gpt.loggers.tensorboard
import tunemax.gpt.probe
import tunemax.search.workers.loggers
from tunemax.gpt.data import Corpus
from tunemax.gpt.trainer import Trainer
from tunemax.search.storage import attributes
from tunemax.search.storage.paths import runs_folder, trial_folder
from tunemax.search.storage.questions import Question, create
from tunemax.search.workers.events import Event, Reported
from tunemax.search.workers.loggers import TrialLoggers

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "polymax.power": "default"}


def runs(question: Question) -> Path:
    return runs_folder(question.storage.url)


def events(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    accumulator.Reload()
    return accumulator


class Tab:
    """What the hparams tab shows of a folder: `columns` with whether they differ, `metrics`, and `rows` by run."""

    def __init__(self, folder: Path) -> None:
        multiplexer = EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(folder))))
        request = RequestContext()
        metadata = context.hparams_metadata(request, "")
        none = ListHyperparametersResult(hyperparameters=[], session_groups=[])
        experiment = context.experiment_from_metadata(request, "", True, metadata, none)
        self.columns = {info.name: info.differs for info in experiment.hparam_infos}
        self.metrics = [metric.name.tag for metric in experiment.metric_infos]
        statuses = [Status.Value(f"STATUS_{name}") for name in ("UNKNOWN", "SUCCESS", "FAILURE", "RUNNING")]
        asked = ListSessionGroupsRequest(allowed_statuses=statuses, start_index=0, slice_size=1000)
        self.rows = {
            group.sessions[0].name: group for group in Handler(request, context, "", asked).run().session_groups
        }

    def value(self, run: str, metric: str) -> float:
        return float(next(found.value for found in self.rows[run].metric_values if found.name.tag == metric))


@pytest.fixture
def done(ask: Ask, work: Work) -> Question:
    question = ask(compare=["softmax", "constantmax", "polymax"], space=SPACE, budget={"trials": 3})
    work(question, watchers=[TrialLoggers(question, pytest.fail)])
    return question


def test_each_trial_is_a_run_in_a_folder_that_says_which(done: Question) -> None:
    folders = {path.parent.relative_to(runs(done)) for path in runs(done).rglob("*tfevents*")}
    assert folders == {
        Path(f"q/{name}/{number:05}") for name in ("softmax", "constantmax", "polymax") for number in range(3)
    }
    for name, trials in done.trials().items():
        for trial in trials:
            found = events(trial_folder(done.storage.url, name, trial.number))
            assert {event.step: event.value for event in found.Scalars("loss/validation")} == pytest.approx(
                trial.intermediate_values
            )
            assert found.Scalars("loss/perplexity")[-1].value == pytest.approx(math.exp(trial.value))
            assert found.Scalars("loss/train")[-1].value == pytest.approx(trial.user_attrs[attributes.TRAIN_LOSS])
            for tag in ("loss/bits_per_byte", "train/learning_rate", "train/grad_norm", "softmax/layer0/denominator"):
                assert [event.step for event in found.Scalars(tag)] == [10, 20]
            assert found.Tags()["histograms"] == []
    assert "softmax/layer0/gamma" in events(runs(done) / "q/constantmax/00001").Tags()["scalars"]


def test_the_hparams_tab_compares_trials_of_all_candidates(done: Question) -> None:
    tab = Tab(runs(done))
    assert len(tab.rows) == 9
    assert [name for name, differs in tab.columns.items() if differs] == [
        "candidate",
        "learning_rate",
        "polymax.power",
        "softmax_variant",
    ]
    for name, trials in done.trials().items():
        for trial in trials:
            row = tab.rows[f"{name}/{trial.number:05}"]
            config = json.loads(trial.system_attrs[attributes.CONFIG])
            assert row.hparams["learning_rate"].number_value == config["learning_rate"]
            assert (
                row.hparams["softmax_variant"].string_value
                == row.hparams["candidate"].string_value
                == name.split("/")[1]
            )
            assert ("polymax.power" in row.hparams) == (name == "q/polymax")
            assert tab.value(f"{name}/{trial.number:05}", "loss/validation") == pytest.approx(trial.value)
            assert row.name == f"{trial.number} {name.split('/')[1]} of q"


def test_how_trials_ended_can_be_told_apart(ask: Ask, work: Work) -> None:
    """One diverges at once: its loss is the cap, as in the leaderboard. The others complete."""
    space = {"learning_rate": {"choices": [1e-3, 10.0]}}
    budget = {"trials": None, "horizon": 20}
    question = ask(
        compare=["softmax"], space=space, sampler="grid", budget=budget, base={"grad_clip": 0, "warmup_fraction": 0}
    )
    work(question, watchers=[TrialLoggers(question, pytest.fail)])
    tab = Tab(runs(question))
    for trial in question.trials()["q/softmax"]:
        run = f"q/softmax/{trial.number:05}"
        diverged = attributes.DIVERGED in trial.user_attrs
        assert diverged == (trial.params["learning_rate"] == 10)
        assert tab.value(run, "loss/validation") == pytest.approx(trial.value)
        assert Status.Name(tab.rows[run].sessions[0].status) == ("STATUS_FAILURE" if diverged else "STATUS_SUCCESS")


def test_without_tensorboard_nothing_is_written_and_the_guard_still_counted(
    ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = counted_passes(monkeypatch)
    plan: dict[str, Any] = {
        "compare": ["softmax", "constantmax"],
        "base": {"tensorboard": False, "constantmax.beta": -80},
    }
    question = ask(**plan, budget={"trials": 1})
    work(question, watchers=[TrialLoggers(question, pytest.fail)])
    assert not list(runs(question).rglob("*tfevents*"))
    assert passes == [2], "once, for both at their end"
    found = {name: trial.user_attrs[attributes.GUARDED] for name, (trial,) in question.trials().items()}
    assert found["q/softmax"] == 0
    assert found["q/constantmax"] == 1, "a β of -80 puts every exponent above the guard"


def test_histograms_of_a_study_are_asked_for_in_its_base(ask: Ask, work: Work) -> None:
    question = ask(compare=["constantmax"], base={"tensorboard_histograms": True}, budget={"trials": 1})
    work(question, watchers=[TrialLoggers(question, pytest.fail)])
    found = events(runs(question) / "q/constantmax/00000")
    tags = ["softmax_learnables/beta", "softmax_learnables/gamma", "softmax_log10_weights/layer0"]
    assert sorted(found.Tags()["histograms"]) == tags
    for tag in tags:
        assert [event.step for event in found.Histograms(tag)] == [10, 20]
    later = ask(compare=["constantmax"], base={"tensorboard_histograms": False}, budget={"trials": 2})
    work(later, watchers=[TrialLoggers(later, pytest.fail)])
    assert events(runs(later) / "q/constantmax/00001").Scalars("loss/validation")
    assert events(runs(later) / "q/constantmax/00001").Tags()["histograms"] == []


def test_a_trial_that_is_trained_again_has_one_curve(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], budget={"trials": 2, "horizon": 40})
    reports: list[Event] = []
    interrupted = lambda: len(reports) >= 3  # noqa: E731
    hear = lambda event: reports.append(event) if isinstance(event, Reported) else None  # noqa: E731
    work(question, watchers=[TrialLoggers(question, pytest.fail)], stopping=interrupted, on=hear)
    folder = runs(question) / "q/softmax/00000"
    assert events(folder).Scalars("loss/validation")
    ended = events(folder).PluginTagToContent("hparams")
    assert "_hparams_/session_end_info" not in ended
    work(question, watchers=[TrialLoggers(question, pytest.fail)])
    assert len(list(folder.iterdir())) == 2
    assert [event.step for event in events(folder).Scalars("loss/validation")] == [10, 20, 30, 40]
    assert [event.step for event in events(folder).Scalars("softmax/layer0/row_max")] == [10, 20, 30, 40]


def test_a_trial_that_somebody_else_finishes_is_left_as_it_is(ask: Ask, work: Work) -> None:
    question = ask(compare=["softmax"], budget={"trials": 2})

    def tell(event: Event) -> None:
        if isinstance(event, Reported) and event.trial == 0:
            question.study("q/softmax").tell(0, 1.0)

    loggers = TrialLoggers(question, pytest.fail)
    work(question, watchers=[loggers], on=tell)
    contents = [events(runs(question) / f"q/softmax/0000{number}").PluginTagToContent("hparams") for number in (0, 1)]
    assert ["_hparams_/session_end_info" in content for content in contents] == [False, True]
    assert not loggers._open


def test_members_that_stop_together_are_measured_by_one_pass(
    ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = counted_passes(monkeypatch)
    question = ask(budget={"trials": 2})
    work(question, watchers=[TrialLoggers(question, pytest.fail)])
    assert passes == [4, 4]


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many members each later pass of the probe measures, as they come."""
    passes: list[int] = []
    measure = tunemax.gpt.probe.probe

    def counted(trainer: Trainer, members: Any) -> Mapping[Any, Any]:
        passes.append(len(members))
        return measure(trainer, members)

    monkeypatch.setattr(tunemax.gpt.probe, "probe", counted)
    return passes


def test_watching_changes_no_trial(work: Work, done: Question, tmp_path: Path, corpus: Corpus) -> None:
    plain = create(tmp_path / "plain.db", done.definition, corpus)
    work(plain)
    for name, trials in plain.trials().items():
        assert [trial.intermediate_values for trial in trials] == [
            trial.intermediate_values for trial in done.trials()[name]
        ]


def test_a_folder_that_cannot_be_written_is_told_once_and_costs_no_result(
    ask: Ask, work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = ask(compare=["softmax"])
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(tunemax.search.workers.loggers, "trial_folder", lambda *_: tmp_path / "file")
    told: list[str] = []
    work(question, watchers=[TrialLoggers(question, told.append)])
    (line,) = told
    assert "file: TensorBoard events cannot be written" in line
    assert line.endswith("; trials go on without theirs")
    assert {trial.state.name for trial in question.trials()["q/softmax"]} == {"COMPLETE"}


def test_a_disk_that_fills_up_on_the_way_costs_no_result(ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    question = ask(compare=["softmax"])
    told: list[str] = []
    loggers = TrialLoggers(question, told.append)

    def full(event: Event) -> None:
        if isinstance(event, Reported):
            monkeypatch.setattr(tunemax.gpt.loggers.tensorboard.EventFile, "write", refuse)

    def refuse(file: Any, *_: Any) -> None:
        raise file._unwritable(OSError(28, "No space left on device"))

    work(question, watchers=[loggers], on=full)
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert not loggers._open
    assert {trial.state.name for trial in question.trials()["q/softmax"]} == {"COMPLETE"}
