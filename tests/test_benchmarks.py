"""The benchmark runs and prints whole tables.

What it measures is not looked at: that depends on the machine and its load.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tunemax.gpt.config import PARTS, all_specs

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
pytestmark = pytest.mark.long


def printed(script: str, *words: str) -> str:
    """What a quick run of a benchmark prints."""
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), "--quick", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(out: str) -> list[list[str]]:
    """The cells of all rows that begin with a word."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if re.match(r"\| \w", line)
    ]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, data_folder: Path) -> dict[str, list[dict[str, str]]]:
    """Title of each table that a quick run prints, to its rows by column."""
    draw = random.Random(1)
    text = tmp_path_factory.mktemp("text") / "words.txt"
    text.write_text(
        " ".join(draw.choice(("a", "stack", "of", "members", "trains", "in", "lockstep")) for _ in range(8000))
    )
    out = printed("stack.py", "--mixed", "--data", str(text))
    assert "torch" in out
    assert "CPU: " in out
    found = {}
    for title, body in re.findall(r"^### (.+)\n\n((?:\|.*\n)+)", out, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in body.splitlines()]
        found[title] = [dict(zip(header, row, strict=True)) for row in rows]
    return found


def test_every_shape_compares_the_stacks_with_the_plain_loop(tables: dict[str, list[dict[str, str]]]) -> None:
    shapes = {title: rows for title, rows in tables.items() if re.match(r"S\d: ", title)}
    assert [title.partition(",")[0] for title in shapes] == [
        "S0: 2 layers x 32",
        "S1: 4 layers x 64",
        "S2: 4 layers x 128",
    ]
    for rows in shapes.values():
        names = [row[""] for row in rows]
        assert names == ["plain PyTorch loop", "softmax K=1", "softmax K=8", "7 variants K=8"]
        assert rows[0]["to plain (min-max)"] == "1.00 (1.00-1.00)"
        assert rows[1]["to K=1"] == "1.00"
        assert all(float(row["steps/s"]) > 0 for row in rows)


def test_the_overhead_of_a_trial_is_the_sum_of_its_parts(tables: dict[str, list[dict[str, str]]]) -> None:
    (times,) = (rows for title, rows in tables.items() if title.startswith("Overhead of a trial"))
    assert {row["sampler, pruner"].rpartition(",")[0] for row in times} == {
        *(f"{sampler}, {pruner}" for sampler in ("random", "tpe") for pruner in ("none", "median")),
        "gp, none",
    }
    for row in times:
        parts = {name: float(cell) for name, cell in row.items() if name not in ("sampler, pruner", "all", "min-max")}
        # Each is rounded to a hundredth or a tenth
        assert sum(parts.values()) == pytest.approx(float(row["all"]), abs=0.2)
        assert (parts["prune?"] > 0) == ("median" in row["sampler, pruner"])
        assert min(parts[name] for name in ("claim", "report", "tell")) > 0


def test_statements_are_counted_where_they_are_sent(tables: dict[str, list[dict[str, str]]]) -> None:
    for row in tables["SQL statements of a trial"]:
        assert float(row["claim"]) >= 1
        assert float(row["configure"]) == 0


def test_every_way_to_step_environments_is_compared(data_folder: Path) -> None:
    out = printed("envs.py", "--size", "tiny")
    rates, times = out.split("CPU time")
    rows = figures(rates)
    assert [row[:2] for row in rows] == [
        [name, count] for count in ("1", "4") for name in ("SubprocVecEnv", "DummyVecEnv", "batched, 1 thread")
    ]
    assert all(float(row[2].split()[0]) > 0 for row in rows)
    parts = [line.strip("|").split("|") for line in times.splitlines() if re.match(r"\| \d", line)]
    assert [int(count) for count, *_ in parts] == [1, 4]
    assert all(float(each) > 0 for _, *row, _ in parts for each in row)


def test_the_whole_machine_is_compared_with_plain_loops(data_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("a stack of members trains in lockstep " * 2000)
    out = printed("throughput.py", "--precisions", "fp32", "--data", str(text))
    lines = [line for line in out.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = [dict(zip(header, row, strict=True)) for row in rows]
    assert [(row[""], row["K"], row["processes"]) for row in found] == [
        ("plain PyTorch loop", "1", "2"),
        *(
            (f"{variant}, eager, fp32", k, n)
            for variant in ("softmax", "constantmax")
            for k in ("1", "2")
            for n in ("1", "2")
        ),
    ]
    assert found[0]["to plain (min-max)"] == "1.00 (1.00-1.00)"
    assert all(float(row["tokens/s"].replace(",", "")) > 0 for row in found)
    assert re.search(r"^Roofline, products of 1024 x 1024 in two processes: fp32 \d+ GFLOP/s\.$", out, re.MULTILINE)


def test_whole_studies_are_compared_with_plain_optuna(data_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("a stack of members trains in lockstep " * 2000)
    out = printed("study.py", "--data", str(text))
    rows = figures(out)
    assert [row[0] for row in rows] == ["plain loop, plain Optuna", "tunemax, one slot", "tunemax, 8 slots"]
    for row in rows:
        assert float(row[2].split()[0]) > 0
        assert 0 < float(row[5].split()[0]) <= 100
        assert row[7].split()[0] == "0"
        assert row[8].split()[0] == "80"


def test_the_memory_of_a_worker_is_compared_with_what_was_predicted(data_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("a stack of members trains in lockstep " * 2000)
    out = printed("memory.py", "--data", str(text))
    (row,) = figures(out)
    predicted, actual, error = map(float, row[2:])
    assert min(predicted, actual) > 50
    assert error == pytest.approx(100 * (predicted / actual - 1), abs=1.5)


def test_every_part_is_compared_with_the_default_model(data_folder: Path, tmp_path: Path) -> None:
    text = tmp_path / "words.txt"
    text.write_text("a stack of members trains in lockstep " * 2000)
    rows = figures(printed("parts.py", "--data", str(text)))
    names = [row[0] for row in rows]
    for field, family in PARTS.items():
        kinds = [kind for kind in family.kinds() if kind != all_specs()[field].default and field != "softmax_variant"]
        assert {f"{field} {kind}" for kind in kinds} <= set(names)
    assert all(float(row[2]) > 0 for row in rows if row[0] != "parts")


def test_every_landscape_is_searched_for_orders_that_a_repeat_would_change() -> None:
    out = printed("calibration_order.py")
    rows = figures(out)
    names = [row[0] for row in rows if row[0] != "searched"]
    assert len(names) == 3 * len(set(names)) == 30, "in three tables"
    assert all(re.fullmatch(r"\d+\.\d %", cell) for row in rows if row[0] in names for cell in row[2:])
    assert re.search(r"^Errors are at most \d+\.\d % \(required: 5\.0 %\)\.$", out, re.MULTILINE)


def test_judgements_are_held_to_what_they_promise() -> None:
    out = printed("calibration_judge.py")
    rows = [row for row in figures(out) if row[0] != "noise"]
    assert [row[2] for row in rows] == ["0", "0.5", "1", "2", "4"] * 7
    for row in rows:
        assert sum(float(cell.removesuffix(" %")) for cell in row[3:7]) == pytest.approx(100, abs=0.3)
        assert 6 <= float(row[7]) <= 24
    assert re.search(r"^False verdicts are at most \d+\.\d % \(required: 5\.5 %\)\.$", out, re.MULTILINE)


def test_claims_are_held_to_what_they_promise() -> None:
    out = printed("calibration.py")
    assert re.findall(r"^### (.+)$", out, re.MULTILINE) == [
        "Intervals of 95 % cover, by number of pairs",
        "Verdicts where neither side is better",
        "Looked at after every seed",
        "Anything false of so many candidates",
        "A difference is found",
        "Two modes are seen",
        "The range of seeds needed",
    ]
    shares = [float(cell.removesuffix(" %")) for row in figures(out) for cell in row if re.fullmatch(r"[\d.]+ %", cell)]
    assert len(shares) > 100
    assert all(0 <= each <= 100 for each in shares)
    assert re.search(r"^Errors are at most [\d.]+ % \(required: 5.5 %\)\.$", out, re.MULTILINE)


def test_verdicts_on_agents_are_held_to_what_they_promise() -> None:
    out = printed("rl_verdict.py")
    rows = figures(out)
    assert {len(row) for row in rows} == {5, 7}
    shares = [float(share) for row in rows for cell in row[1:] for share in re.findall(r"([\d.]+) %", cell)]
    assert len(shares) > 4 * len(rows) / 2
    assert all(0 <= share <= 100 for share in shares)
    assert re.search(r"False verdicts are at most [\d.]+ % \(required: 5\.5 %\)\.", out)


def test_the_variances_of_a_contest_are_read_from_its_report(tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = ["contender,role,run,instance,test_loss,validation_loss,return,diverged,member_steps"]
    contenders = (("sac", "agent", 3, 0.5), ("constant", "baseline", 4, 0.01), ("static", "baseline", 1, 0.0))
    for name, role, runs, apart in contenders:
        for run in range(runs):
            luck = draw.gauss(0, apart)
            for instance in range(40):
                loss = 3 * (1 + 0.01 * (luck + draw.gauss(0, 1)))
                rows.append(f"{name},{role},{name} {run},test/{instance},{loss},{loss},0.5,{instance == 7},80")
    (tmp_path / "runs.csv").write_text("\n".join(rows))
    _, *rows_of = figures(printed("rl_verdict.py", "--contest", str(tmp_path)))
    assert len(rows_of) == 2
    for (about, *shares), size in zip(rows_of, ("5 × 5 × 32", "8 × 8 × 256"), strict=True):
        assert about.startswith(f"{size}, sac and constant: instances 1.")
        assert len(shares) == 4


def test_windows_alone_move_a_difference_by_so_much() -> None:
    _, *rows = figures(printed("windows.py"))
    assert len(rows) == 3
    for _, _, _, *cells in rows:
        on_an_instance = [float(cell.partition(" / ")[0]) for cell in cells]
        assert on_an_instance == sorted(on_an_instance, reverse=True)


def test_an_evaluation_has_its_noise_and_its_share_of_the_time(data_folder: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    text = tmp_path / "words.txt"
    text.write_text(" ".join(draw.choice(("a", "row", "of", "weights", "adds", "up")) for _ in range(8000)))
    rows = figures(printed("evaluation.py", "--data", str(text)))
    pairs = [row for row in rows if " - " in row[0]]
    assert len(pairs) == 10
    for _, _, *errors in pairs:
        assert sorted(map(float, errors), reverse=True) == list(map(float, errors))
    assert [row[0] for row in rows if row[-1].endswith("%")] == ["all_variants"], "the first of the packaged"


def test_each_width_has_its_best_learning_rate_with_mup_and_without(data_folder: Path, tmp_path: Path) -> None:
    draw = random.Random(1)
    text = tmp_path / "words.txt"
    text.write_text(" ".join(draw.choice(("a", "model", "gets", "wider", "and", "wider")) for _ in range(8000)))
    out = printed("widths.py", "--data", str(text))
    rows = [row for row in figures(out) if row[0].isdigit()]
    assert [row[0] for row in rows] == ["16", "32"] * 2
    assert rows[0][1:5] == rows[2][1:5], "the standard parametrisation at the base width"
    assert rows[1][1:5] != rows[3][1:5]
    assert out.count("For each doubling of the width") == 2


def test_what_a_trial_asks_of_its_storage_is_counted() -> None:
    rows = figures(printed("storage.py"))
    trials = {row[0]: row[1:] for row in rows if row[0].startswith("sqlite, ")}
    assert trials.keys() == {"sqlite, none", "sqlite, median"}
    assert all(float(statements) > float(commits) > 0 for statements, commits, *_ in trials.values())
    assert [int(row[1]) for row in rows if row[0] == "sqlite"] == [100, 300]
