"""``tunemax study …`` as a user meets it, and the stock tools on what it leaves."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from stock import says
from waiting import ANNOUNCED, PATIENCE, stop_worker, until

from tunemax.gpt.config import Config
from tunemax.search.cli import main
from tunemax.search.cli.interrupts import STOPPING
from tunemax.search.question.stages import Confirm
from tunemax.search.results.winners import confirm
from tunemax.search.storage import attributes
from tunemax.search.storage.questions import Question, load_from

ROOT = Path(__file__).parents[3]
TUNEMAX = [sys.executable, "-c", "import sys; from tunemax.search.cli import main; sys.exit(main())"]
ENDLESS = 10**6
"""Iterations that no trial of a test comes to the end of."""
Ask = Callable[..., Question]
GRID = {"sampler": "grid", "space": {"learning_rate": [1e-3, 1e-2, 5e-2]}, "budget": {"trials": None, "horizon": 100}}


def typed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command prints when all goes well."""
    status = main(list(words))
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line with which a command is refused."""
    assert main(list(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tunemax: ")
    assert err.count("\n") == 1
    return err.removeprefix("tunemax: ").removesuffix("\n")


def states(where: str) -> set[TrialState]:
    return {trial.state for trials in load_from(where, "q").trials().values() for trial in trials}


@pytest.fixture
def done(ask: Ask, work: Callable[..., Any], where: str) -> str:
    """A storage with a finished question of two candidates, one duplicate in it."""
    question = ask()
    question.study("q/softmax").enqueue_trial({"learning_rate": 0.00316})
    work(question, slots=1)
    return where


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_leaderboard_best_and_optuna_name_the_same_trial(done: str, capsys: pytest.CaptureFixture[str]) -> None:
    board = json.loads(typed(capsys, "study", "leaderboard", "q", "--storage", done, "--json"))
    for entry in board["entries"]:
        stock = json.loads(says(done, "best-trial", "--study-name", entry["study"], "-f", "json"))
        ours = json.loads(typed(capsys, "study", "best", entry["study"], "--storage", done, "--json"))
        assert stock["number"] == entry["best"]["number"] == ours["number"]
        assert stock["value"] == {"validation_loss": ours["value"]}
        assert ours["value"] == entry["best"]["value"]
        assert stock["params"] == entry["best"]["params"] == ours["params"]
    overall = json.loads(typed(capsys, "study", "best", "q", "--storage", done, "--json"))
    assert overall["study"] == board["entries"][0]["study"]


def test_stock_listings_work(done: str) -> None:
    studies = json.loads(says(done, "studies", "-f", "json"))
    assert [(study["name"], study["n_trials"]) for study in studies] == [("q/softmax", 4), ("q/polymax", 3)]
    trials = json.loads(says(done, "trials", "--study-name", "q/softmax", "-f", "json"))
    assert [trial["state"] for trial in trials] == ["COMPLETE"] * 4


def test_the_leaderboard_is_a_table_within_80_columns(done: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = typed(capsys, "study", "leaderboard", "q", "--storage", done).splitlines()
    head = lines.index("           best   top 5  complete  pruned  diverged  duplicate  steps")
    rows = {line.split()[0]: line.split()[1:] for line in lines[head + 1 : head + 3]}
    assert rows["softmax"][2:] == ["3", "0", "0", "1", "60"]
    assert rows["polymax"][2:] == ["3", "0", "0", "0", "60"]
    assert [float(rows[name][0]) for name in rows] == sorted(float(rows[name][0]) for name in rows)
    assert "         parameters  tokens  FLOPs  best settings" in lines
    (best,) = (line for line in lines if "learning_rate" in line and line.startswith("softmax"))
    assert re.fullmatch(r"softmax +\d,\d\d\d +1\.28k +\d\S+M  learning_rate \S+", best), best
    assert lines[-2].startswith("Tuned, not confirmed")
    assert lines[-1].startswith("Confirm the winners with tunemax study confirm q")


def test_best_prints_the_command_that_trains_it_again(done: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = typed(capsys, "study", "best", "q/polymax", "--storage", done)
    assert re.match(r"q/polymax trial \d: validation loss \d\.\d{4} \(tuned, not confirmed\)\n  learning_rate ", text)
    assert "tunemax train --n_layer 1" in text.splitlines()[-1]
    assert "--softmax_variant polymax" in text.splitlines()[-1]


def test_best_says_where_its_trial_is_confirmed(
    done: str, work: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    confirmed = confirm(load_from(done, "q"), Confirm(seeds=2))
    assert "(tuned, not confirmed)" in typed(capsys, "study", "best", "q/polymax", "--storage", done)
    work(confirmed)
    best = typed(capsys, "study", "best", "q/polymax", "--storage", done)
    assert "(tuned; confirmed in q.confirmed: undecided, compared with softmax)\n" in best


def test_list_and_show_count_every_trial(done: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(
        r"q: 6 complete, 1 duplicate; lowest tuned loss: (soft|poly)max\n",
        typed(capsys, "study", "list", "--storage", done),
    )
    (row,) = json.loads(typed(capsys, "study", "list", "--storage", done, "--json"))
    assert (row["name"], row["complete"], row["duplicate"], row["waiting"]) == ("q", 6, 1, 0)
    shown = typed(capsys, "study", "show", "q", "--storage", done)
    assert "sampler:\n  name: random\n" in shown
    assert "softmax: 3 complete, 1 duplicate\n" in shown
    read = json.loads(typed(capsys, "study", "show", "q", "--storage", done, "--json"))
    assert read["definition"]["budget"]["trials"] == 3
    assert read["trials"]["polymax"]["complete"] == 3


def test_looking_at_a_study_does_not_load_torch(done: str) -> None:
    """It takes longer than all the rest of such a command."""
    program = """
import sys
from tunemax.search.cli import main
for words in (["list"], ["show", "q"], ["leaderboard", "q"], ["best", "q"]):
    main(["study", *words, "--storage", sys.argv[1]])
sys.exit("torch" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, done], capture_output=True, text=True, check=True)


def test_json_is_json_even_with_an_infinite_loss(ask: Ask, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = ask(compare=["softmax"]).study("q/softmax")
    study.tell(study.ask(), float("inf"))  # with the stock tools: it ranks nowhere

    def strict(words: str) -> Any:
        return json.loads(
            typed(capsys, *words.split(), "--storage", where, "--json"), parse_constant=lambda name: pytest.fail(name)
        )

    assert strict("study leaderboard q")["entries"][0]["best"] is None
    assert strict("study list")[0]["diverged"] == 1
    line = refused(capsys, "study", "best", "q", "--storage", where)
    assert line == f"q: no trial of ours is complete yet; run it with tunemax study run q --storage {where}"
    ours = {attributes.CONFIG: json.dumps(Config.of({"softmax_variant": "softmax"}).flat())}
    study.add_trial(create_trial(value=float("inf"), system_attrs=ours))
    assert strict("study leaderboard q")["entries"][0]["best"]["value"] is None
    assert strict("study list")[0]["diverged"] == 2


def test_the_storage_may_be_named_by_the_environment(
    done: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEMAX_STORAGE", f"sqlite:///{done}")
    assert typed(capsys, "study", "list").startswith("q: 6 complete")


def test_an_empty_storage_says_so(done: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from tunemax.search.storage.database import open_storage

    open_storage(tmp_path / "empty.db", create=True)
    assert typed(capsys, "study", "list", "--storage", str(tmp_path / "empty.db")) == "no questions yet\n"
    assert json.loads(typed(capsys, "study", "list", "--json", "--storage", str(tmp_path / "empty.db"))) == []


# ---- creating and extending ------------------------------------------------------------------------------------------


def test_create_says_what_it_made_and_how_to_run_it(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file()
    assert (
        typed(capsys, "study", "create", str(file)) == f"q: 2 studies, 6 trials; run it with tunemax study run {file}\n"
    )
    assert file.with_name("tunemax.db").exists(), "studies lie beside their file"
    other = str(file.with_name("other.db"))
    line = typed(capsys, "study", "create", str(file), "--storage", other)
    assert line.endswith(f"run it with tunemax study run {file} --storage {other}\n")


def test_extend_gives_each_candidate_more(study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    file = study_file()
    where = str(file.with_name("tunemax.db"))
    typed(capsys, "study", "create", str(file))
    line = typed(capsys, "study", "extend", "q", "--trials", "2", "--storage", where)
    assert line == f"q: 5 trials for each candidate; run it with tunemax study run q --storage {where}\n"
    assert typed(capsys, "study", "list", "--storage", where) == "q: 10 waiting\n"


def test_a_changed_file_is_refused_with_the_difference(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file()
    typed(capsys, "study", "create", str(file))
    study_file(budget={"horizon": 30})
    for action in ("create", "run"):
        line = refused(capsys, "study", action, str(file))
        assert line.startswith("study q exists with another definition: budget.horizon: 20 -> 30")


# ---- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("study", "the following arguments are required: ACTION; see `tunemax study --help`"),
        ("study rnu q", "rnu: no such command; did you mean `run`?"),
        ("study run p", "p: no such question in this storage; known: q"),
        ("study show qq", "qq: no such question in this storage; did you mean `q`?"),
        ("study best q/softmx", "softmx: no such candidate of q; did you mean `softmax`?"),
        ("study best qq/softmax", "qq: no such question in this storage; did you mean `q`?"),
        ("study run q --workers -1", "--workers = -1: expected a whole number ≥ 1"),
        ("study run q --slots 0", "--slots = 0: expected a whole number ≥ 1"),
        ("study run q --seconds soon", "--seconds = soon: expected a whole number ≥ 1"),
        ("study extend q --trials 0", "--trials = 0: expected a whole number ≥ 1"),
        ("study extend q", "the following arguments are required: --trials; see `tunemax study extend --help`"),
        ("train --from q/softmx", "study q/softmx: not in this storage; did you mean `q/softmax`?"),
        ("train --from q/softmax --trial 9", "q/softmax#9: q/softmax has 4 trials, numbered from 0"),
        ("train --from q/softmax --n_head 5", "n_embd = 16 is not divisible by n_head = 5; change one of them"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(
    words: str, line: str, done: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNEMAX_STORAGE", done)
    assert refused(capsys, *words.split()) == line


def test_a_storage_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["list"],
        ["run", "q"],
        ["show", "q"],
        ["best", "q"],
        ["leaderboard", "q"],
        ["extend", "q", "--trials", "1"],
    ):
        assert "no such database" in refused(capsys, "study", *words, "--storage", str(tmp_path / "none.db"))
        assert "no such database" in refused(capsys, "study", *words, "--storage", str(tmp_path / "no" / "none.db"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".yaml", ".yml", ".json"])
@pytest.mark.parametrize("action", ["run", "resume", "show", "best", "leaderboard", "confirm"])
def test_a_question_that_has_not_begun_is_begun_with_its_file(
    action: str, ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"shapes{ending}").write_text("question: Which?")
    monkeypatch.delenv("TUNEMAX_STORAGE", raising=False)
    line = f"shapes: no question of this name has begun; the file is run with tunemax study run shapes{ending}"
    assert refused(capsys, "study", action, "shapes") == line
    assert [path.name for path in tmp_path.iterdir()] == [f"shapes{ending}"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"budget": {"trials": 0}}, r"q\.yaml:\d+: budget\.trials: 0, expected .*1"),
        ({"sampler": "tep"}, r"q\.yaml:\d+: sampler.*tep: no such sampler; did you mean `tpe`\?"),
        ({"workers": -1}, r"q\.yaml:\d+: workers: -1, expected"),
        ({"base": {"block_size": 60000}}, r"block_size = 60000: train of words has \d+ tokens"),
        ({"data": "nowhere.txt"}, r"nowhere\.txt"),
        (
            {"compare": ["softmax", "polymx"]},
            r"q\.yaml:\d+: compare.*polymx: no such variant; did you mean `polymax`\?",
        ),
    ],
)
def test_a_wrong_study_file_leaves_nothing_behind(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    file = study_file(**changes)
    for action in ("create", "run"):
        assert re.search(told, refused(capsys, "study", action, str(file)))
    assert [path.name for path in file.parent.iterdir()] == ["q.yaml"]


# ---- running ---------------------------------------------------------------------------------------------------------


class Running:
    """A command in a process group of its own, as a shell would start it."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [*ANNOUNCED, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def read_until(self, part: str) -> None:
        assert self.process.stdout
        while part not in (line := self.process.stdout.readline()):
            assert line, self.process.stderr.read() if self.process.stderr else ""

    def end(self) -> tuple[int, list[str], list[str]]:
        """Exit status, and the remaining lines of both outputs, whether or not saving takes long enough to say so."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.splitlines(), [line for line in err.splitlines() if line != STOPPING]


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def begin(*words: str) -> Running:
        running.append(Running(*words))
        return running[-1]

    yield begin
    for each in running:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


def test_a_run_that_is_told_to_end_keeps_what_is_finished_and_says_how_to_go_on(
    study_file: Callable[..., Path], start: Callable[..., Running], work: Callable[..., Any], ask: Ask
) -> None:
    long: dict[str, Any] = {**GRID, "budget": {"trials": None, "horizon": 400}, "base": {"eval_interval": 40}}
    file = study_file(**long, workers=1, slots=1)
    storage = str(file.with_name("tunemax.db"))
    run = start("study", "run", str(file))
    run.read_until("0 of 6 trials done")
    question = load_from(storage, "q")
    worker = stop_worker(question, lambda: under_way(question))
    run.process.terminate()
    run.read_until("the workers are told to stop")
    os.kill(worker, signal.SIGCONT)
    status, out, err = run.end()
    assert status == 130
    assert err == [f"tunemax: interrupted; finished trials are kept; go on with tunemax study run {file}"]
    assert any("returned at iteration" in line for line in out)
    assert re.search(r"Tuned, not confirmed; \d trials still to come", out[-1])
    assert states(storage) == {TrialState.COMPLETE, TrialState.WAITING}

    undisturbed = ask(**long)
    work(undisturbed)
    work(load_from(storage, "q"))
    assert values(load_from(storage, "q")) == values(undisturbed)


@pytest.mark.long
def test_a_run_that_compiles_ends_at_once(
    study_file: Callable[..., Path], start: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker is in the middle of a compilation, and the other one waits for the same function."""
    begun, slow = tmp_path / "begun", tmp_path / "bin" / "g++"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *.cpp*) echo > {begun}; exec sleep 3600;; esac\nexec {shutil.which("g++")} "$@"\n'
    )
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    file = study_file(**{**GRID, "compare": ["softmax"]}, workers=2, slots=1, base={"compile": True})
    run = start("study", "run", str(file))
    until(begun.exists)
    run.process.send_signal(signal.SIGINT)
    status, _, (*said, last) = run.end()
    assert status == 130
    assert set(said) == {
        "compile: making functions for this model, half a minute or more for each, once on this machine"
    }
    assert last == f"tunemax: interrupted; finished trials are kept; go on with tunemax study run {file}"
    assert states(str(file.with_name("tunemax.db"))) == {TrialState.WAITING}
    assert sorted(path.suffix for path in (tmp_path / "compiled").glob("*") if path.is_file()) == [".lock"]


def under_way(question: Question) -> bool:
    """Whether one trial is complete, and another one is trained that has been evaluated and has most of its horizon
    before it."""
    trials = [trial for each in question.trials().values() for trial in each]
    complete = any(trial.state == TrialState.COMPLETE for trial in trials)
    return complete and any(
        trial.state == TrialState.RUNNING and 1 < len(trial.intermediate_values) < 5 for trial in trials
    )


def values(question: Question) -> dict[tuple[str, str], float | None]:
    return {(name, str(trial.params)): trial.value for name, trials in question.trials().items() for trial in trials}


def test_workers_of_a_run_that_was_killed_give_back_their_trials(
    study_file: Callable[..., Path], start: Callable[..., Running]
) -> None:
    file = study_file(budget={"trials": 4, "horizon": ENDLESS}, base={"eval_interval": 100}, workers=1, slots=1)
    storage = str(file.with_name("tunemax.db"))
    run = start("study", "run", str(file))
    run.read_until("0 of 8 trials done")
    until(lambda: TrialState.RUNNING in states(storage))
    run.process.kill()
    run.process.wait()
    until(lambda: states(storage) == {TrialState.WAITING})


def test_a_finished_question_is_not_trained_again(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str], ask: Ask, work: Any
) -> None:
    file = study_file()
    typed(capsys, "study", "create", str(file))
    storage = str(file.with_name("tunemax.db"))
    work(load_from(storage, "q"))
    before = [[trial.datetime_complete for trial in trials] for trials in load_from(storage, "q").trials().values()]
    lines = typed(capsys, "study", "run", str(file), "--workers", "1").splitlines()
    assert lines[:2] == ["Which of two is ahead?", "q: 6 of 6 trials done, 20 iterations each"]
    assert lines[-2].startswith("Tuned, not confirmed")
    assert lines[-1].startswith("Confirm the winners with tunemax study confirm q")
    assert [
        [trial.datetime_complete for trial in trials] for trials in load_from(storage, "q").trials().values()
    ] == before


def test_a_spent_time_is_said_with_the_way_to_go_on(
    study_file: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = study_file(budget={"trials": 3, "horizon": 20, "run_seconds": 0.001}, workers=1)
    lines = typed(capsys, "study", "run", str(file)).splitlines()
    assert lines[-2:] == [
        "Tuned, not confirmed; 6 trials still to come.",
        f"The time is spent. Go on with tunemax study run {file}",
    ]


def test_on_a_terminal_a_table_shows_the_run_and_ctrl_c_ends_it(study_file: Callable[..., Path]) -> None:
    file = study_file(budget={"trials": 8, "horizon": ENDLESS})
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execve(
            sys.executable,
            [*TUNEMAX, "study", "run", str(file)],
            {**os.environ, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"},
        )
    text, pressed = "", False
    while select.select([terminal], [], [], PATIENCE)[0]:
        try:
            text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(terminal, 65536).decode(errors="replace"))
        except OSError:  # the other end is closed
            break
        if not pressed and re.search(r"softmax +#\d +\S+ +\d+/1\.00M", text):  # some trials run
            pressed = bool(os.write(terminal, b"\x03"))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    assert re.search(r"candidate +done +complete +pruned +diverged +dup +best", text)
    lines = text.replace("\r", "").splitlines()
    assert lines[-1] == f"tunemax: interrupted; finished trials are kept; go on with tunemax study run {file}"
    assert "Traceback" not in text
    assert "died" not in text
    assert TrialState.RUNNING not in states(str(file.with_name("tunemax.db")))


def test_what_is_evaluated_by_the_old_rule_takes_no_tokens(
    done: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be ignored: it is said, with the way to have them."""
    study = load_from(done, "q").study("q/softmax")
    fields = json.loads(study.best_trial.system_attrs[attributes.CONFIG])
    old = {name: value for name, value in fields.items() if name not in ("eval_by", "eval_tokens")}
    study.add_trial(create_trial(value=9.0, system_attrs={attributes.CONFIG: json.dumps({**old, "eval_iters": 2})}))
    number = str(len(study.get_trials()) - 1)
    words = [
        "train",
        "--from",
        "q/softmax",
        "--trial",
        number,
        "--storage",
        done,
        "--max_iters",
        "2",
        "--no-tensorboard",
    ]
    tokens = ["--eval_tokens", "128"]
    nothing = "tunemax: eval_tokens = 128: means nothing with eval_by = windows"
    assert main([*words, *tokens, "--out_dir", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"{nothing}; leave it out, or take eval_by = tokens\n"
    typed(capsys, *words, "--out_dir", str(tmp_path / "old"))
    assert main(["train", "--resume", str(tmp_path / "old"), *tokens, "--max_iters", "4"]) == 2
    assert capsys.readouterr().err.startswith(nothing)
    typed(capsys, *words, *tokens, "--eval_by", "tokens", "--out_dir", str(tmp_path / "new"))
    assert json.loads((tmp_path / "new" / "config.json").read_text())["config"]["eval_tokens"] == 128


def test_a_winner_is_trained_longer(done: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = load_from(done, "q").study("q/polymax").best_trial
    words = ["train", "--from", "q/polymax", "--trial", str(best.number), "--storage", done, "--max_iters", "30"]
    folder = tmp_path / "longer"
    ended = typed(capsys, *words, "--out_dir", str(folder), "--no-tensorboard")
    assert ended.splitlines()[-1] == f"finished at iteration 30; the run is in {folder}"
    trained = Config.of(json.loads((folder / "config.json").read_text())["config"])
    asked = Config.of(json.loads(best.system_attrs[attributes.CONFIG])).replace({"max_iters": 30})
    assert trained.identity == asked.identity
