"""Weights that stay: of each candidate's best trial and of confirmed runs alone, and never at a result's cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tunemax.gpt import checkpoint
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.winners import confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.paths import WEIGHTS, runs_folder, trial_file
from tunemax.search.storage.questions import Question, load_from
from tunemax.search.workers.events import Event
from tunemax.search.workers.weights import Weights

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]


def kept(question: Question) -> dict[str, list[int]]:
    """The numbers of the trials of each study whose weights are there."""
    url = str(question.storage.url)
    return {
        study: [trial.number for trial in trials if trial_file(url, study, trial.number, WEIGHTS).exists()]
        for study, trials in question.trials().items()
    }


def trained(ask: Ask, work: Work, **changes: object) -> Question:
    question = ask(**changes)
    work(question, watchers=[Weights(str(question.storage.url), pytest.fail)])
    return question


def test_the_best_trial_of_each_candidate_keeps_its_weights_alone(ask: Ask, work: Work) -> None:
    question = trained(ask, work, budget={"trials": 5})
    assert kept(question) == {name: [question.study(name).best_trial.number] for name in question.siblings}
    (folder,) = {
        path.parent.parent for path in runs_folder(str(question.storage.url)).rglob(WEIGHTS) if "softmax" in str(path)
    }
    assert len(list(folder.iterdir())) == 1, "no empty folders of those that were overtaken"


def test_what_is_kept_is_the_member_at_its_horizon_without_its_optimizer(ask: Ask, work: Work) -> None:
    question = trained(ask, work)
    best = question.study("q/softmax").best_trial
    path = trial_file(str(question.storage.url), "q/softmax", best.number, WEIGHTS)
    snapshot = checkpoint.load(path)
    assert snapshot.iteration == 20
    assert snapshot.config.identity == best.user_attrs[attributes.IDENTITY]
    assert all(name.startswith("theta/") for name in snapshot.tensors)
    numbers = sum(tensor.numel() for tensor in snapshot.tensors.values())
    assert numbers == best.user_attrs[attributes.PARAMETERS]
    assert all(tensor.isfinite().all() for tensor in snapshot.tensors.values())
    assert len({tensor.dtype for tensor in snapshot.tensors.values()} - {torch.float32}) == 0


def test_confirmed_runs_keep_theirs(ask: Ask, work: Work) -> None:
    question = trained(ask, work)
    confirmation = confirm(question, Confirm(seeds=3))
    work(confirmation, watchers=[Weights(str(question.storage.url), pytest.fail)])
    assert kept(confirmation) == {name: [0, 1, 2] for name in confirmation.siblings}


def test_a_trial_that_diverged_or_was_pruned_keeps_nothing(ask: Ask, work: Work) -> None:
    question = ask(
        compare=["softmax"],
        pruner={"name": "median", "startup": 1},
        space={"learning_rate": {"low": 1e-6, "high": 10.0, "log": True}},
        budget={"trials": 1, "horizon": 40},
    )
    for rate in (1e-2, 1e-6, 5.0):
        question.study("q/softmax").enqueue_trial({"learning_rate": rate})
    work(question, slots=1, watchers=[Weights(str(question.storage.url), pytest.fail)])
    states = {trial.number: attributes.state(trial) for trial in question.trials()["q/softmax"]}
    assert {"diverged", "pruned"} <= set(states.values())
    (number,) = kept(question)["q/softmax"]
    assert states[number] == "complete"


def test_what_cannot_be_written_is_told_once_and_costs_no_trial(ask: Ask, work: Work) -> None:
    question = ask()
    folder = runs_folder(str(question.storage.url))
    folder.mkdir()
    (folder / "q").write_text("a file stands where the folder should be")
    told: list[str] = []
    work(question, watchers=[Weights(str(question.storage.url), told.append)])
    assert all(attributes.state(trial) == "complete" for trials in question.trials().values() for trial in trials)
    (line,) = told
    assert "cannot be written (Not a directory); trials go on, and their weights are not kept" in line


def test_a_kill_while_it_is_written_leaves_nothing_half_written(
    ask: Ask, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes lie under another name until they are all there."""
    question = trained(ask, work, compare=["softmax"], budget={"trials": 1})
    (before,) = runs_folder(str(question.storage.url)).rglob(WEIGHTS)
    snapshot = checkpoint.load(before)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    whole = before.read_bytes()
    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(snapshot, before, "0" * 64)
    assert before.read_bytes() == whole
    assert [path.name for path in before.parent.iterdir()] == [WEIGHTS]


def test_a_run_keeps_weights_that_clean_lists_and_frees_and_deletion_takes_away(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(compare=["constantmax"], budget={"trials": 2}, workers=1)
    where = str(file.with_name("tunemax.db"))
    assert main(["study", "run", str(file)]) == 0
    question = load_from(where, "q")
    (number,) = kept(question)["q/constantmax"]
    size = trial_file(str(question.storage.url), "q/constantmax", number, WEIGHTS).stat().st_size
    capsys.readouterr()
    assert main(["clean", "--storage", where]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[2:4] == ["weights", "q"]]
    assert line.split()[:4] == [f"{size / 1e3:.1f}", "kB", "weights", "q"]
    assert main(["clean", "weights", "--yes", "--storage", where]) == 2
    assert main(["clean", "weights", "q", "--storage", where]) == 2
    assert kept(question) == {"q/constantmax": [number]}
    assert main(["clean", "weights", "q", "--yes", "--storage", where]) == 0
    assert capsys.readouterr().out == f"freed {size / 1e3:.1f} kB\n"
    assert kept(question) == {"q/constantmax": []}
    kept_again = trial_file(str(question.storage.url), "q/constantmax", number, WEIGHTS)
    kept_again.parent.mkdir(parents=True, exist_ok=True)
    kept_again.touch()
    assert main(["study", "delete", "q", "--storage", where, "--yes"]) == 0
    assert not kept_again.exists()
