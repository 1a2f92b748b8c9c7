"""Agents and baselines as trials: trained, interrupted, prolonged, tuned, and never taken for questions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from tunemax.envs.agents import training
from tunemax.envs.task import task_of
from tunemax.search.cli import main
from tunemax.search.rl.baselines import looked_at
from tunemax.search.storage import attributes
from tunemax.search.storage.database import open_storage

SHORT = ["--env", "Tiny-v1", "--horizon", "12", "--frame-skip", "4", "--set", "n_embd=4"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEMAX_STORAGE", str(tmp_path / "studies.db"))


def train(*words: str, steps: int = 24, algo: str = "ppo", seed: int = 1) -> int:
    return main(
        [
            "rl",
            "train",
            *SHORT,
            "--envs",
            "2",
            "--round",
            "2",
            "--algo",
            algo,
            "--seed",
            str(seed),
            "--steps",
            str(steps),
            *words,
        ]
    )


def studies(where: str = "studies.db") -> dict[str, list[FrozenTrial]]:
    storage = open_storage(where, create=False)
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage).get_trials() for name in names}


def the_study() -> list[FrozenTrial]:
    ((name, trials),) = studies().items()
    assert re.fullmatch(r"rl/Tiny-v1-[0-9a-f]{6}", name)
    return trials


def test_a_training_is_a_trial_with_its_returns_and_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert train() == 0
    (trial,) = the_study()
    said = capsys.readouterr().out
    assert trial.state == TrialState.COMPLETE
    assert trial.params == {"algorithm": "ppo", "seed": 1}
    assert list(trial.intermediate_values) == [12, 24]
    assert trial.value == max(trial.intermediate_values.values())
    assert trial.user_attrs[attributes.ITERATIONS] == 24 * 4 + 2 * 64 * 12 + 2 * 64 * 12
    assert (Path(trial.user_attrs[attributes.FOLDER]) / "best.safetensors").is_file()
    assert f"best: validation return {trial.value:.4f}" in said
    assert "96 member-steps of learning, 1,536 of validation, 1,536 of the check" in said


@pytest.mark.parametrize("lost", ["everything", "its last report", "its end"])
def test_what_a_database_has_lost_of_a_training_is_written_again(lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It was removed, or restored from a copy, and the agent's folder has stayed."""
    assert train() == 0
    (before,) = the_study()
    if lost == "everything":
        for path in Path().glob("studies.db*"):
            path.unlink()
    else:
        with open_storage("studies.db", create=False).engine.begin() as connection:
            connection.exec_driver_sql("UPDATE trials SET state = 'WAITING'")
            connection.exec_driver_sql("DELETE FROM trial_values")
            if lost == "its last report":
                connection.exec_driver_sql("DELETE FROM trial_intermediate_values WHERE step > 12")
    assert train() == 0
    (after,) = the_study()
    assert (after.state, after.value) == (TrialState.COMPLETE, before.value)
    assert (after.params, after.intermediate_values) == (before.params, before.intermediate_values)
    assert after.user_attrs[attributes.ITERATIONS] == before.user_attrs[attributes.ITERATIONS]


def test_ctrl_c_keeps_the_last_save_and_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = training._Training._learn

    def interrupted(self: training._Training, stepped: Callable[[int], None]) -> None:
        learn(self, stepped)
        if self.round == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training._Training, "_learn", interrupted)
    assert train("--out", "my agent") == 130
    said = capsys.readouterr().err
    (again,) = re.findall(r"go on with tunemax (rl train .*)", said)
    assert "--out 'my agent'" in again
    (trial,) = the_study()
    assert trial.state == TrialState.WAITING
    assert list(trial.intermediate_values) == [12]
    monkeypatch.setattr(training._Training, "_learn", learn)
    assert train("--out", "my agent") == 0
    assert "trained for 12 steps already, asked for 24" in capsys.readouterr().out
    (trial,) = the_study()
    assert trial.state == TrialState.COMPLETE
    assert list(trial.intermediate_values) == [12, 24]


def test_ctrl_c_before_anything_is_saved_leaves_no_study(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_learn", interrupted)
        assert train() == 130
    assert "nothing was saved yet; begin again with tunemax rl train" in capsys.readouterr().err
    assert main(["study", "list"]) == 0
    assert capsys.readouterr().out == "no questions yet\n"
    assert studies() == {}
    assert train() == 0
    (trial,) = the_study()
    assert trial.state == TrialState.COMPLETE


def test_a_finished_training_is_prolonged_on_demand_only(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert train() == 0
    assert "trained for 24 steps already, asked for 24" in capsys.readouterr().out
    assert len(the_study()) == 1
    assert train(steps=36) == 0
    assert [list(trial.intermediate_values) for trial in the_study()] == [[12, 24], [12, 24, 36]]


def test_baselines_are_tuned_for_the_price_of_an_agent(capsys: pytest.CaptureFixture[str]) -> None:
    train(steps=120)
    price = the_study()[0].user_attrs[attributes.ITERATIONS]
    assert main(["rl", "tune", *SHORT, "--policy", "constant,log_linear", "--tunings", "1"]) == 0
    said = capsys.readouterr().out
    found = {name.rpartition("/")[2]: trials for name, trials in studies().items() if name.count("/") == 2}
    assert set(found) == {"constant", "log_linear"}
    for kind, tuned in found.items():
        told = [int(text.replace(",", "")) for text in re.findall(rf"{kind} 1: .*, ([\d,]+) member-steps", said)]
        assert price <= told[0] < price + 2 * 16 * 12
        assert sum(trial.user_attrs[attributes.ITERATIONS] for trial in tuned) <= told[0]
        assert all(trial.state == TrialState.COMPLETE for trial in tuned)


def test_a_baseline_is_tuned_several_times_each_from_a_seed_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """What is there stays as it is, and counts; so a database of before has its one tuning still."""
    asked = ["rl", "tune", *SHORT, "--policy", "constant", "--member-steps", "1536", "--tunings"]
    assert main([*asked, "1"]) == 0
    ((first, before),) = studies().items()
    assert first.endswith("/constant")
    assert main([*asked, "3"]) == 0
    found = studies()
    assert list(found) == [first, f"{first}/2", f"{first}/3"]
    assert [trial.params for trial in found[first]] == [trial.params for trial in before]
    tried = [tuple(trial.params.values()) for trials in found.values() for trial in trials[1:]]
    assert len(set(tried)) == len(tried), "each draws candidates of its own behind the first"
    starts = {trials[0].value for trials in found.values()}
    assert len(starts) == 3, "and has training instances of its own"
    assert re.search(r"constant 3: validation return .* member-steps\n", capsys.readouterr().out)


def test_finalists_are_looked_at_as_agents_are_where_the_budget_pays() -> None:
    task = task_of("Tiny-v1")  # 20 iterations
    counts = {budget: len(looked_at(task, budget)) for budget in (1, 16 * 16 * 20, 40 * 16 * 20, 64 * 16 * 20, 10**9)}
    assert list(counts.values()) == [16, 16, 40, 64, 64]
    assert [each.name for each in looked_at(task, 1)[:2]] == ["validation/0", "validation/1"]
    mixed = task_of("Tiny-v1", vary={"horizon": [10, 30]})
    horizons = [each.horizon for each in looked_at(mixed, 10**9)]
    assert set(horizons) == {10, 30}
    assert len(looked_at(mixed, 16 * sum(horizons[:30]))) == 30


def test_agents_are_no_questions(capsys: pytest.CaptureFixture[str]) -> None:
    train()
    capsys.readouterr()
    assert main(["study", "list"]) == 0
    assert capsys.readouterr().out == "no questions yet\n"
    assert main(["study", "gc"]) == 0
    (name,) = studies()
    assert main(["study", "show", name]) == 2
    assert "trainings of agents, not a question" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--algo", "sca"], "algorithm = sca: no such algorithm; did you mean `sac`?"),
        (["--algo", "sac", "--env", "Tiny-v9"], "environment Tiny-v9: no such id; did you mean `tunemax/Tiny-v1`?"),
        (["--algo", "sac", "--seed", "-1"], "--seed = -1: expected a whole number from 0 to"),
        (["--algo", "sac", "--steps", "0"], "--steps = 0: expected a whole number ≥ 1"),
        (["--algo", "sac", "--set", "n_embd"], "--set n_embd: expected FIELD=VALUE"),
        (["--algo", "sac", "--set", "n_embdd=4"], "n_embdd: no such field; did you mean `n_embd`?"),
        (["--algo", "sac", "--controls", "gaim"], "control gaim: no such field; did you mean `gain`?"),
        (["--algo", "sac", "--horizon", "13"], "horizon = 13: not a multiple of frame_skip = 2"),
        (["--algo", "sac", "--preset", "nowhere.yaml"], "nowhere.yaml: no such preset"),
    ],
)
def test_mistakes_are_told_in_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "train", "--env", "Tiny-v1", "--steps", "10", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not Path("studies.db").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no agent is trained yet, so nobody knows what it costs; give --member-steps N"),
        (["--member-steps", "5"], "member-steps = 5: too few to tune anything; give at least 1,152"),
        (["--tunings", "257"], "--tunings = 257: there are training instances for 256"),
        (["--tunings", "0"], "--tunings = 0: expected a whole number ≥ 1"),
        (["--policy", "splin"], "policy = splin: no such baseline; did you mean `spline`?"),
        (
            ["--policy", "plateau", "--controls", "gain"],
            "policy = plateau: it steers the learning rate, which is no control here",
        ),
    ],
)
def test_mistakes_in_tuning_are_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "tune", *SHORT, *words]) == 2
    assert message in capsys.readouterr().err


def test_an_agent_steers_a_run_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    train("--out", "agent")
    capsys.readouterr()
    asked = [
        "rl",
        "steer",
        "agent",
        "--max_iters",
        "30",
        "--eval_interval",
        "15",
        "--eval_iters",
        "2",
        "--out_dir",
        "steered",
    ]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "agent ppo 1 of tunemax/Tiny-v1 moves learning_rate, gain every 10 of 30 iterations" in said
    assert "finished at iteration 30; the run is in steered" in said
    assert main(asked) == 2
    assert "steered: holds a run already; choose another --out_dir" in capsys.readouterr().err
    assert main(["train", "--resume", "steered"]) == 2
    assert "such a run cannot be resumed" in capsys.readouterr().err
    assert main(["rl", "steer", "nowhere"]) == 2
    assert "nowhere: no agent here; train one with tunemax rl train" in capsys.readouterr().err


def test_the_lines_of_a_training_fit_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert train("--out", "a") == 0
    said = capsys.readouterr().out
    assert "validation return" in said
    assert max(map(len, said.splitlines())) < 80


def test_that_no_agent_is_published_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tunemax.envs.agents.cards.PUBLISHED", tmp_path)
    assert main(["rl", "agents"]) == 0
    assert capsys.readouterr().out == "no agent comes with this version; train one with tunemax rl train\n"


def test_a_published_agent_steers_a_run_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rl", "agents"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"^mixed_widths +tunemax/MixedWidths-v1 +learning_rate +sac ", listed, re.MULTILINE)
    assert "mixed_widths learned: +" in listed
    assert main(["rl", "agents", "--json"]) == 0
    (card,) = [card for card in json.loads(capsys.readouterr().out) if card["name"] == "mixed_widths"]
    assert card["environment"]["id"] == "tunemax/MixedWidths-v1"
    asked = "--n_layer 1 --n_embd 8 --block_size 16 --batch_size 4 --max_iters 40 --eval_interval 20 --out_dir steered"
    assert main(["rl", "steer", "mixed_widths", *asked.split()]) == 0
    said = capsys.readouterr().out
    assert "of tunemax/MixedWidths-v1 moves learning_rate every 2 of 40 iterations" in said
    assert "finished at iteration 40; the run is in steered" in said
    assert main(["rl", "steer", "mixed_width"]) == 2
    assert "mixed_width: no agent here" in (said := capsys.readouterr().err)
    assert "did you mean `mixed_widths`?" in said


def test_a_training_says_in_json_whether_it_has_learned(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--json") == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert told["learning"].keys() == {"learned", "instances", "gain", "low", "high"}
    assert [look["steps"] for look in told["evaluations"]] == [12, 24]
    assert {"entropy", "entropy_share", "losses"} <= told["best"].keys()
    (trial,) = the_study()
    assert trial.user_attrs["learned"] == told["learning"]["learned"]
    assert trial.user_attrs["learning"] in captured.err
    assert re.search(r"validation return \d\.\d{4}  entropy 2\.\d\d  .*value loss", captured.err)


def test_what_is_not_said_of_a_training_that_goes_on_is_as_it_was_begun(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("source: mine\nlearning_rate: 0.01\nbatch_size: 3\nn_epochs: 1\n")
    assert train("--preset", "mine.yaml") == 0
    again = ["rl", "train", *SHORT, "--algo", "ppo"]
    assert main([*again, "--steps", "36"]) == 0
    assert list(the_study()[-1].intermediate_values) == [12, 24, 36]
    assert main([*again, "--steps", "48", "--envs", "4"]) == 2
    assert "holds an agent of another envs (2, not 4)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--name", "mine"], "nowhere: no agent here; train one"),
        (["nowhere", "--name", "../mine"], "name = ../mine: expected small letters and digits"),
        (
            ["nowhere", "--name", "mine", "--verdict", "nowhere.json"],
            "nowhere.json: not what tunemax rl evaluate --json prints",
        ),
        (["nowhere", "--name", "mine", "--verdict", "empty.json"], "empty.json: not what tunemax rl evaluate --json"),
        (
            ["nowhere", "--name", "mine", "--verdict", "odd.json"],
            "odd.json: not what tunemax rl evaluate --json prints",
        ),
    ],
)
def test_mistakes_in_publishing_are_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("odd.json").write_text("[1]")
    Path("empty.json").write_text("[]")
    assert main(["rl", "publish", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_agents_of_the_absolute_form_are_compared_with_the_same_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--absolute", steps=12) == 0
    assert main(["rl", "tune", *SHORT, "--policy", "constant", "--tunings", "1", "--member-steps", "1152"]) == 0
    capsys.readouterr()
    assert main(["rl", "evaluate", *SHORT, "--absolute", "--instances", "2", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert {line["name"] for line in told["lines"]} >= {"ppo", "constant", "static", "population"}
