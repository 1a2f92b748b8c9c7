"""Workers as jobs of Slurm: told to stop they give back what they have, and are queued again until nothing waits."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from slurm import Slurm
from waiting import until

from tunemax.search.storage.questions import Question

pytestmark = [pytest.mark.services, pytest.mark.clusters]
SCRIPT = Path(__file__).parents[3] / "docs/slurm_worker.sh"


@pytest.fixture
def slurm() -> Iterator[Slurm]:
    with Slurm() as started:
        yield started


def test_the_script_of_the_page_trains_a_question_through_a_preemption(
    slurm: Slurm, ask: Callable[..., Question], where: str, tmp_path: Path
) -> None:
    horizon = 3000
    question = ask(compare=["softmax"], budget={"trials": 2, "horizon": horizon}, slots=1)

    def trials() -> list[Any]:
        return question.trials()["q/softmax"]

    command = tmp_path / "bin/tunemax"
    command.parent.mkdir()
    program = "import sys; from tunemax.search.cli import main; sys.exit(main())"
    command.write_text(f'#!/bin/bash\nexec "{sys.executable}" -c "{program}" "$@"\n')
    command.chmod(0o755)
    quick = SCRIPT.read_text().replace("--idle 600", "--idle 1")
    (tmp_path / "worker.sh").write_text(quick)
    given = {
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TUNEMAX_STORAGE": where,
    }
    log = tmp_path / "log-%a"
    said = slurm.say("sbatch", "--array=0-1", f"--output={log}", str(tmp_path / "worker.sh"), "q", **given)
    job = said.split()[-1]
    until(lambda: all(trial.intermediate_values for trial in trials()))
    for number in range(2):  # as it warns before the time of a job is over; the other goes on
        slurm.say("scancel", "--signal=USR1", f"{job}_{number}")
        until(lambda stopped=number + 1: [trial.state for trial in trials()].count(TrialState.WAITING) == stopped)
    until(lambda: slurm.jobs() == ["PENDING"] * 2)
    reached = [trial.last_step for trial in trials()]
    assert all(0 < step < horizon for step in reached)
    # Else it leaves a job alone for two minutes. Not at once: a node refuses it in the second in which it was stopped
    for number in range(2):
        slurm.say("scontrol", "update", f"jobid={job}_{number}", "StartTime=now+5")
    until(lambda: slurm.jobs() == [])
    logs = [(tmp_path / f"log-{number}").read_text() for number in range(2)]
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE] * 2, "\n".join(logs)
    assert all("told to stop: what was trained here waits, to go on elsewhere" in text for text in logs)
    assert not any("is trained from the start" in text for text in logs)
    assert not any("STEP" in text for text in logs)  # none was killed: whoever is queued again takes none with it
