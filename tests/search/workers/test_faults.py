"""Workers killed at the worst moments: nothing is lost, nothing is done twice, and every curve is that of an
undisturbed run."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from waiting import PATIENCE, at_work, stop, until

from tunemax.gpt.data import Corpus
from tunemax.gpt.files import PARTIAL
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage import attributes, recovery
from tunemax.search.storage.database import open_storage
from tunemax.search.storage.marks import mark
from tunemax.search.storage.ownership import owned_trials, release
from tunemax.search.storage.paths import runs_folder, trial_folder
from tunemax.search.storage.questions import Question, create, load_from
from tunemax.search.storage.queue import enqueue
from tunemax.search.storage.recovery import reap
from tunemax.search.workers.events import Event, Finished, Note, Reported, Started
from tunemax.search.workers.snapshots import FILE

ROOT = Path(__file__).parents[3]
HELPER = Path(__file__).with_name("crashing.py")
TUNEMAX = [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main())"]
GRID = {
    "sampler": "grid",
    "space": {"learning_rate": [1e-3, 1e-2, 5e-2], "weight_decay": [0.0, 0.1]},
    "budget": {"trials": None, "horizon": 40},
}
LONG = {**GRID, "budget": {"trials": None, "horizon": 200}}
KILLED = -signal.SIGKILL
Ask = Callable[..., Question]
Curves = dict[tuple[str, str], tuple[str, float | None, dict[int, float], int]]


class Helper:
    """The process that forks workers; see crashing.py."""

    def __init__(self, *before: str) -> None:
        words = [*before, sys.executable, str(HELPER)]
        self.process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, where: str, kind: str = "train", **request: Any) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"where": where, "kind": kind, **request}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> list[int]:
        assert self.process.stdout
        answer: list[int] = json.loads(self.process.stdout.readline())
        return answer

    def __call__(self, where: str, kind: str = "train", **request: Any) -> list[int]:
        """The exit statuses of the workers that do what is asked."""
        self.ask(where, kind, **request)
        return self.hear()

    def end(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def workers(data_folder: Path) -> Iterator[Helper]:
    helper = Helper()
    yield helper
    helper.end()


@pytest.fixture(autouse=True)
def snapshot_at_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunemax.search.workers.worker.EVERY", 0.0)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    defined: Callable[..., StudyDefinition],
    corpus: Corpus,
    work: Callable[..., Any],
) -> Callable[..., Curves]:
    """What every trial of a question finds when nothing happens. Each question is run once."""
    known: dict[str, Curves] = {}

    def run(**changes: Any) -> Curves:
        definition = defined(**changes)
        if definition.to_json() not in known:
            question = create(str(tmp_path_factory.mktemp("undisturbed") / "studies.db"), definition, corpus)
            work(question)
            known[definition.to_json()] = curves(question)
        return known[definition.to_json()]

    return run


def curves(question: Question) -> Curves:
    """Of each point of each candidate: state, value, intermediate curve and iterations, each exact."""
    found = {}
    for name, trials in question.trials().items():
        for trial in trials:
            seen = (
                trial.state.name,
                trial.value,
                trial.intermediate_values,
                trial.user_attrs.get(attributes.ITERATIONS, 0),
            )
            found[name, str(sorted(trial.params.items()))] = seen
        assert len(found) >= len(trials), "a point was trained by two trials"
    return found


def trials_of(question: Question) -> list[FrozenTrial]:
    return [trial for trials in question.trials().values() for trial in trials]


def resumed(events: list[Event]) -> list[int]:
    """The iterations from which trials went on."""
    return sorted(event.iteration for event in events if isinstance(event, Started) and event.iteration)


def finished_once(events: list[Event]) -> bool:
    return set(Counter((event.study, event.trial) for event in events if isinstance(event, Finished)).values()) <= {1}


def snapshots(where: str) -> list[Path]:
    """Those that lie on the disk, whole or half-written."""
    root = runs_folder(f"sqlite:///{where}")
    return [*root.rglob(FILE), *root.rglob(PARTIAL + "*")]


# ---- killed at an exact point ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("point", "nth", "from_where"),
    [
        ("in a claim", 1, []),
        ("in a claim", 3, []),
        ("after a claim", 2, []),
        ("in a report", 1, []),
        ("in a report", 3, [20, 20, 20]),
        ("after a report", 2, [10, 10, 10]),
        ("before a snapshot", 1, []),
        ("in a snapshot", 1, []),
        ("in a snapshot", 4, [10, 10, 10]),
        ("before the renaming of a snapshot", 5, [10, 10, 20]),
        ("after a snapshot", 1, [10]),
        ("after a snapshot", 8, [20, 30, 30]),
        ("in a tell", 1, [30, 30, 30]),
        ("in a tell", 2, [30, 30]),
        ("after a tell", 1, [30, 30]),
        ("after a tell", 5, [30]),
    ],
)
def test_killed_at_a_point(
    ask: Ask,
    where: str,
    work: Callable[..., list[Event]],
    workers: Helper,
    undisturbed: Callable[..., Curves],
    point: str,
    nth: int,
    from_where: list[int],
) -> None:
    question = ask(**GRID)
    assert workers(where, point=point, nth=nth) == [KILLED]
    left = [trial for trial in trials_of(question) if trial.state == TrialState.RUNNING]
    assert reap(question.storage, question.siblings) == len(left)
    assert reap(question.storage, question.siblings) == 0
    events = work(question, slots=3)
    assert resumed(events) == from_where
    assert finished_once(events)
    assert not any(isinstance(event, Note) for event in events)
    assert curves(question) == undisturbed(**GRID)
    assert reap(question.storage, question.siblings) == 0
    # Who was killed between a tell and the removal of its snapshot leaves it to `tunemax study gc`.
    assert len(snapshots(where)) == (point == "after a tell")


def test_killed_while_it_returns_its_trials(
    ask: Ask, where: str, work: Callable[..., list[Event]], workers: Helper, undisturbed: Callable[..., Curves]
) -> None:
    question = ask(**GRID)
    assert workers(where, point="in a return", nth=2, stop_after=2) == [KILLED]
    assert Counter(trial.state.name for trial in trials_of(question)) == {"WAITING": 10, "RUNNING": 2}
    assert reap(question.storage, question.siblings) == 2
    assert resumed(work(question)) == [10, 10, 10]
    assert curves(question) == undisturbed(**GRID)


@pytest.mark.long
def test_ten_random_kills(
    ask: Ask,
    where: str,
    work: Callable[..., list[Event]],
    workers: Helper,
    undisturbed: Callable[..., Curves],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two workers at a time, somewhere between two reports.

    The question has far more reports than are made, so it is never done before. A trial may be killed again and again
    before it is evaluated; here it may have as many attempts as that takes.
    """
    monkeypatch.setattr("tunemax.search.storage.ownership.ATTEMPTS", 100)
    seed = random.SystemRandom().getrandbits(32)
    draw, begun, question = random.Random(seed), 0, ask(**LONG)
    for _ in range(10):
        assert KILLED in workers(where, workers=2, attempts=100, kill_after=draw.randint(1, 5)), f"seed {seed}"
        saved = count_saved(question)
        begun += saved
    assert begun, "nothing could be resumed"
    reap(question.storage, question.siblings)
    assert len(resumed(work(question))) == saved, f"seed {seed}"
    assert curves(question) == undisturbed(**LONG), f"seed {seed}"


def count_saved(question: Question) -> int:
    """The unfinished trials that have a snapshot."""
    unfinished = [
        (name, trial.number)
        for name, trials in question.trials().items()
        for trial in trials
        if not trial.state.is_finished()
    ]
    return sum((trial_folder(question.storage.url, *each) / FILE).exists() for each in unfinished)


# ---- many at once ----------------------------------------------------------------------------------------------------


def test_sixteen_workers_on_one_file(tmp_path: Path, workers: Helper) -> None:
    where = str(tmp_path / "s.db")
    study = optuna.create_study(study_name="q", storage=open_storage(where, create=True))
    enqueue(study, [{"x": number / 80} for number in range(80)], 80)
    assert workers(where, "pretend", workers=16, log=str(tmp_path / "log"), together=True) == [0] * 16
    taken = [int(line) for log in tmp_path.glob("log*") for line in log.read_text().split()]
    assert sorted(taken) == list(range(80)), "a trial was lost, or finished by two"
    assert len([log for log in tmp_path.glob("log*") if log.stat().st_size]) == 16, (
        "the workers did not work side by side"
    )
    for trial in study.get_trials():
        x = trial.number / 80
        assert (trial.state, trial.value) == (TrialState.COMPLETE, x)
        assert trial.intermediate_values == {step: x / step for step in range(1, 6)}


@pytest.mark.long
def test_sixteen_workers_of_which_all_are_killed(tmp_path: Path, workers: Helper) -> None:
    where, log = str(tmp_path / "s.db"), str(tmp_path / "log")
    study = optuna.create_study(study_name="q", storage=open_storage(where, create=True))
    enqueue(study, [], 80)
    assert workers(where, "pretend", workers=16, log=log, kill_after=20) == [KILLED] * 16
    running = study.get_trials(states=(TrialState.RUNNING,))
    found = owned_trials(open_storage(where, create=False), ["q"])
    assert sorted(trial.number for trial in found) == [trial.number for trial in running], (
        "a trial runs, and nobody knows whose"
    )
    assert len({trial.mark for trial in found}) == len(found), "a worker that trains one at a time has two"
    for trial in found:
        release(open_storage(where, create=False), trial, trial.mark, "killed")
    assert workers(where, "pretend", workers=4, log=log) == [0] * 4
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 80


@pytest.mark.long
def test_two_supervisors_of_which_one_is_killed(ask: Ask, where: str, undisturbed: Callable[..., Curves]) -> None:
    question = ask(**LONG)
    words = [*TUNEMAX, "study", "run", "q", "--storage", where, "--workers", "1", "--slots", "3"]
    doomed, other = (
        subprocess.Popen(
            words, cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    )

    until(lambda: at_work(question), 0.01)
    first = min(at_work(question))
    stop(first, where)  # until the second is there: the question is small
    until(lambda: len(at_work(question)) == 2)
    os.kill(first, signal.SIGCONT)
    reports = count_reports(question)
    until(lambda: count_reports(question) > reports + 20)
    os.killpg(doomed.pid, signal.SIGKILL)  # the supervisor and its worker, at one blow
    doomed.communicate()
    out, err = other.communicate()
    assert (other.returncode, err) == (0, "")
    assert curves(question) == undisturbed(**LONG)
    assert "still to come" not in out
    assert len(snapshots(where)) <= 1, "that of a trial between whose tell and removal the blow has struck"


def count_reports(question: Question) -> int:
    return sum(len(trial.intermediate_values) for trial in trials_of(question))


# ---- a trial that kills its worker -----------------------------------------------------------------------------------


def test_a_trial_that_kills_its_workers_fails_and_the_others_are_trained(
    ask: Ask, where: str, workers: Helper, undisturbed: Callable[..., Curves]
) -> None:
    question, ends = ask(**GRID, compare=["softmax"]), []
    for _ in range(8):
        ends += workers(where, slots=4, poison=5e-2)
        if ends[-1] == 0:
            break
    assert ends == [KILLED] * 4 + [0], "two deaths among others, then one alone for each of the two trials"
    expected = undisturbed(**GRID)
    for name, found in curves(question).items():
        if "0.05" in name[1]:
            assert found == ("FAIL", None, {}, 0)
        else:
            assert found == expected[name]
    for trial in trials_of(question):
        if trial.state == TrialState.FAIL:
            assert trial.user_attrs[attributes.REASON].startswith(
                "3 workers died on it before its first evaluation; the last one: "
            )
            assert [failure["iteration"] for failure in trial.user_attrs[attributes.FAILURES]] == [0, 0, 0]


def test_a_trial_that_breaks_its_worker_fails_with_what_was_raised(
    ask: Ask, work: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunemax.gpt.trainer import Trainer

    question, step = ask(compare=["softmax"], sampler="grid", space={"learning_rate": [1e-3, 1e-2, 2e-2]}), Trainer.step

    def stepped(trainer: Trainer, n: int = 1) -> None:
        if any(member.config.train.learning_rate == 1e-2 for member in trainer.members):
            raise RuntimeError("not enough memory:\n tried to allocate 2 TB")
        step(trainer, n)

    monkeypatch.setattr(Trainer, "step", stepped)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="not enough memory"):
            work(question)
    work(question)
    states = {trial.params["learning_rate"]: trial for trial in trials_of(question)}
    assert [states[rate].state.name for rate in (1e-3, 1e-2, 2e-2)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert states[1e-2].user_attrs[attributes.REASON] == (
        "3 workers died on it before its first evaluation; the last one: RuntimeError: not enough memory: tried to "
        "allocate 2 TB"
    )
    assert [event.state for event in work(question)] == []


def test_deaths_of_a_trial_that_gets_further_are_forgiven(
    ask: Ask, where: str, workers: Helper, undisturbed: Callable[..., Curves]
) -> None:
    long = {**GRID, "budget": {"trials": None, "horizon": 60}}
    question = ask(**long)
    for _ in range(5):
        assert workers(where, point="after a snapshot", nth=3) == [KILLED]
    assert workers(where) == [0]
    assert curves(question) == undisturbed(**long)
    assert max(len(trial.user_attrs.get(attributes.FAILURES, [])) for trial in trials_of(question)) == 5


# ---- other machines --------------------------------------------------------------------------------------------------


def test_a_laptop_that_slept_finds_its_trials_taken_and_goes_on(
    ask: Ask,
    where: str,
    workers: Helper,
    work: Callable[..., list[Event]],
    undisturbed: Callable[..., Curves],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    question = ask(**LONG)
    workers.ask(where, host="laptop", sleep_after=3)
    (laptop,) = workers.hear()
    assert len(list(runs_folder(question.storage.url).glob(f"q/*/*/{FILE}"))) == 3
    assert reap(question.storage, question.siblings) == 0, "it has only just fallen silent"
    monkeypatch.setattr(recovery, "GRACE", 1.0)
    until(lambda: min(trial.silent for trial in owned_trials(question.storage, question.siblings)) > 1)
    assert reap(question.storage, question.siblings) == 3
    taken = [trial for trial in trials_of(question) if attributes.FAILURES in trial.user_attrs]
    assert all(
        trial.user_attrs[attributes.FAILURES][0]["reason"].startswith("no heartbeat from laptop for ")
        for trial in taken
    )

    asleep = True

    def wake(event: Event) -> None:
        """Once, or it may have ended by then; when all three are in slots: before, it might take one of them back
        itself."""
        nonlocal asleep
        if asleep and isinstance(event, Reported):
            asleep = False
            os.kill(laptop, signal.SIGCONT)

    monkeypatch.setattr(recovery, "GRACE", 120.0)
    events = work(question, slots=3, on=wake)
    assert workers.hear() == [0], "the laptop came to harm"
    assert len(resumed(events)) >= 2, "the third may be taken by the laptop, now awake"
    assert curves(question) == undisturbed(**LONG)


def test_a_worker_elsewhere_that_is_heard_of_is_left_alone(
    ask: Ask, where: str, work: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunemax.search.storage.ownership.BEAT", 0.1)
    question = ask(compare=["softmax"])
    taken: list[int] = []

    def wait(event: Event) -> None:
        """As in a long evaluation: the worker does nothing, but its heart beats.

        The last beat that was heard is an hour old.
        """
        if isinstance(event, Reported) and not taken:
            with sqlite3.connect(where, timeout=PATIENCE) as connection:
                assert (
                    connection.execute(
                        "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour')"
                    ).rowcount
                    == 2
                )
            connection.close()
            until(
                lambda: (
                    max(trial.silent for trial in owned_trials(question.storage, question.siblings)) < recovery.GRACE
                )
            )
            taken.append(reap(question.storage, question.siblings))

    work(question, slots=2, on=wait, _mark=mark().replace(socket.gethostname(), "elsewhere"))
    assert taken == [0]
    assert owned_trials(question.storage, question.siblings) == []


# ---- a full disk -----------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_once_and_training_goes_on(
    ask: Ask,
    where: str,
    work: Callable[..., list[Event]],
    undisturbed: Callable[..., Curves],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel refuses in the middle of a file, as it does when a quota is used up."""
    import tunemax.gpt.files

    write, sizes = tunemax.gpt.files.write_through, []

    def refused(path: Path, data: bytes) -> None:
        sizes.append(len(data))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) // 2, limits[1]))
        try:
            write(path, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr("tunemax.gpt.files.write_through", refused)
    question = ask(**GRID)
    events = work(question, slots=3)
    assert len(sizes) > 10, "it tries again, in case there is room"
    (note,) = [event.text for event in events if isinstance(event, Note)]
    assert note.endswith("snapshot.safetensors: cannot be written (File too large); training goes on without snapshots")
    assert curves(question) == undisturbed(**GRID)
    assert snapshots(where) == []


@pytest.mark.parametrize("watched", [False, True], ids=["snapshots alone", "all that a worker writes"])
def test_a_small_disk_is_filled_and_everything_goes_on(
    ask: Ask, where: str, undisturbed: Callable[..., Curves], tmp_path: Path, watched: bool
) -> None:
    """A file system on which some snapshots find room, or not even every event; where none can be mounted, a path that
    cannot be."""
    private = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*private, "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True).returncode == 0:
        (disk := tmp_path / "disk").mkdir()
        size = "60k" if watched else "300k"
        inside = f'mount -t tmpfs -o size={size} none {disk} && TUNEMAX_RUNS={disk} "$@"'
        inside += f" && find {disk} -type f > {tmp_path}/left"
        helper, reason = Helper(*private, "sh", "-c", inside, "sh"), "No space left on device"
    else:
        (tmp_path / "left").touch()
        helper, reason = Helper("env", "TUNEMAX_RUNS=/dev/null/runs"), "Not a directory"
    question = ask(**GRID)
    assert helper(where, slots=6, notes=str(tmp_path / "notes"), watched=watched) == [0]
    helper.end()
    told = (tmp_path / "notes").read_text().splitlines()
    kinds = [
        kind
        for note in told
        for kind in ("snapshot.safetensors", "weights.safetensors", "TensorBoard events", "artifact")
        if kind in note
    ]
    assert len(kinds) == len(set(kinds)) == len(told), "each is told once"
    assert all(reason in note for note in told)
    assert set(kinds) >= ({"snapshot.safetensors", "TensorBoard events"} if watched else {"snapshot.safetensors"})
    assert curves(question) == undisturbed(**GRID)
    assert watched or (tmp_path / "left").read_text() == "", "snapshots go with their trials"


def test_the_curves_that_are_compared_are_worth_it(undisturbed: Callable[..., Curves]) -> None:
    found = undisturbed(**GRID)
    assert len(found) == 12
    assert len({value for _, value, _, _ in found.values()}) == 12
    assert all(list(curve) == [10, 20, 30, 40] for _, _, curve, _ in found.values())


def test_a_trial_that_was_put_back_may_be_asked_with_the_stock_tools(ask: Ask, where: str, workers: Helper) -> None:
    ask(**GRID)
    assert workers(where, point="in a tell", nth=1) == [KILLED]
    question = load_from(where, "q")
    reap(question.storage, question.siblings)
    waiting = [trial for trial in trials_of(question) if trial.params]
    assert [trial.state for trial in waiting] == [TrialState.WAITING] * 3
    assert not any(attributes.WORKER in trial.user_attrs for trial in waiting), (
        "the stock tools may take it: it must not be ours then"
    )
    theirs = question.study("q/softmax").ask()
    assert reap(question.storage, question.siblings) == 0
    assert theirs.user_attrs[attributes.FAILURES][0]["reason"] == "its process was gone"
