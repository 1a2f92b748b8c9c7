"""What several machines have trained, held against what one machine trains of the same question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from tunemax.search.api import Ended, run_study
from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.questions import Question, create, data_of, load_from


def losses(question: Question) -> dict[str, list[tuple[dict[str, Any], float | None]]]:
    return {name: [(trial.params, trial.value) for trial in trials] for name, trials in question.trials().items()}


def check_as_alone(url: str, definition: StudyDefinition, alone: Path) -> None:
    """The same trials and numbers as one worker comes to with a database of its own, confirmation included."""
    create(str(alone), definition, data_of(str(alone), definition))
    assert run_study(definition.name, str(alone), workers=1) == Ended()
    for name in (definition.name, f"{definition.name}.confirmed"):
        found = load_from(url, name)
        assert {trial.state for trials in found.trials().values() for trial in trials} == {TrialState.COMPLETE}
        assert losses(found) == losses(load_from(str(alone), name))
