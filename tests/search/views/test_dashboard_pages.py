"""The dashboard's pages in a headless Chromium: the note, the figures, the table, the artifacts, the comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from browser import Browser
from served import Served
from waiting import until

from tunemax.search.question.definition import StudyDefinition
from tunemax.search.storage.questions import Question, create
from tunemax.search.workers.artifacts import Artifacts
from tunemax.search.workers.events import Event
from tunemax.search.workers.learnables import Trajectories

pytestmark = [pytest.mark.services, pytest.mark.browser]


@pytest.fixture(scope="module")
def question(
    tmp_path_factory: pytest.TempPathFactory,
    defined: Callable[..., StudyDefinition],
    corpus: Any,
    work: Callable[..., list[Event]],
) -> Question:
    """A finished question, watched as a run watches it."""
    definition = defined(compare=["softmax", "constantmax"], budget={"trials": 6, "horizon": 40})
    made = create(tmp_path_factory.mktemp("pages") / "studies.db", definition, corpus)
    work(made, watchers=[Trajectories(made.storage.url), Artifacts(made.storage.url, pytest.fail)])
    return made


@pytest.fixture(scope="module")
def served(question: Question) -> Iterator[Served]:
    with Served(str(question.storage.engine.url.database)) as running:
        yield running


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    """The window; a test that leaves a fault in its console fails."""
    window.faults()
    yield window
    assert window.faults() == []


@pytest.fixture
def study(served: Served, question: Question) -> str:
    """The address of constantmax's study."""
    return f"{served.dashboard}/dashboard/studies/{question.study('q/constantmax')._study_id}"


def test_the_note_tells_the_answer_and_leads_to_the_comparison(
    browser: Browser, study: str, question: Question
) -> None:
    browser.open(f"{study}/note")
    browser.wait_for("Which of two is ahead?")
    browser.wait_for("Tuned, not confirmed")
    rows = browser.wait(
        "(rows => rows.length && rows)([...document.querySelectorAll('tbody tr')].map(row => row.innerText))"
    )
    best = {name: question.study(f"q/{name}").best_value for name in ("softmax", "constantmax")}
    first = min(best, key=lambda name: best[name])
    assert rows[0].split()[:3] == ["1", first, f"{best[first]:.4f}"]
    browser.wait("[...document.querySelectorAll('a')].some(link => link.innerText.startsWith('Compare all'))")
    browser.run("[...document.querySelectorAll('a')].find(link => link.innerText.startsWith('Compare all')).click()")
    browser.wait_for("Compare Studies")
    browser.wait(
        "[...document.querySelectorAll('.legendtext')].filter(text => text.textContent.startsWith('Best Value "
        "of')).length == 2"
    )
    legend = browser.run("return [...document.querySelectorAll('.legendtext')].map(text => text.textContent)")
    assert {"Best Value of q/softmax", "Best Value of q/constantmax"} <= set(legend)


def test_the_figures_are_drawn(browser: Browser, study: str, question: Question) -> None:
    browser.open(study)
    for figure, title in (
        ("curves", "Learning curves"),
        ("leaderboard", "Leaderboard"),
        ("learnables", "beta and gamma of constantmax"),
    ):
        browser.wait("document.getElementById(arguments[0])?.querySelector('.gtitle')", f"user-defined-plot:{figure}")
        drawn = f"document.getElementById('user-defined-plot:{figure}')"
        assert browser.run(f"return {drawn}.querySelector('.gtitle').textContent").startswith(title)
        browser.wait(f"{drawn}.querySelectorAll('.scatterlayer .trace').length >= 2")
    curves = "document.getElementById('user-defined-plot:curves')"
    best = browser.run(f"return {curves}.data.map(trace => [trace.name, trace.y.at(-1), trace.line.width])")
    for name in ("softmax", "constantmax"):
        assert [name, pytest.approx(question.study(f"q/{name}").best_value, rel=1e-5), 3] in best
    overlap = browser.run(
        f"const title = {curves}.querySelector('.gtitle').getBoundingClientRect(), bar = "
        f"{curves}.querySelector('.modebar').getBoundingClientRect(); return title.right > bar.left && title.bottom > "
        "bar.top && title.top < bar.bottom"
    )
    assert not overlap


def test_a_trial_has_its_artifacts(browser: Browser, study: str, question: Question) -> None:
    best = question.study("q/constantmax").best_trial.number
    browser.open(f"{study}/trials?numbers={best}")
    for name in ("config.json", "curve.png", "sample.txt"):
        browser.wait_for(name)
    browser.wait(
        "[...document.querySelectorAll('img')].some(image => image.src.includes('/artifacts/') && image.naturalWidth "
        "== 640)"
    )
    for name in ("config.json", "curve.png", "sample.txt"):
        browser.wait("[...document.querySelectorAll('a[download]')].some(link => link.download == arguments[0])", name)


def test_the_table_is_flat_and_sorts_by_numbers(browser: Browser, study: str, question: Question) -> None:
    browser.open(f"{study}/smartSelection")
    browser.wait("document.querySelectorAll('tbody tr').length >= 6")
    heads = browser.run("return [...document.querySelectorAll('th')].map(head => head.innerText)")
    heads = [" ".join(head.replace("sorted ascending", "").split()) for head in heads]
    for name in ("iterations", "tokens", "train_loss", "final_learning_rate", "final_beta", "final_gamma"):
        assert f"UserAttribute {name}" in heads
    column = heads.index("UserAttribute final_learning_rate")
    assert max(browser.run("return [...document.querySelectorAll('tbody tr')].map(row => row.offsetHeight)")) < 120

    def shown() -> list[float]:
        cells = browser.run(
            "return [...document.querySelectorAll('tbody tr')].map(row => row.cells[arguments[0]].innerText)", column
        )
        return [float(cell) for cell in cells]

    rates = sorted(trial.user_attrs["final_learning_rate"] for trial in question.trials()["q/constantmax"])
    assert sorted(shown()) == rates

    def click() -> None:
        browser.run(
            "const head = document.querySelectorAll('th')[arguments[0]]; (head.querySelector('[role=button]') || "
            "head).click()",
            column,
        )

    click()
    until(lambda: shown() in (rates, rates[::-1]), 0.1)
    turned = shown()[::-1]
    click()
    until(lambda: shown() == turned, 0.1)


def test_the_list_of_studies_has_both_candidates(browser: Browser, served: Served) -> None:
    browser.open(f"{served.dashboard}/dashboard")
    browser.wait_for("q/softmax")
    browser.wait_for("q/constantmax")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_first_page_fits_a_phone_and_leads_to_the_answer(
    browser: Browser, served: Served, scheme: str, question: Question
) -> None:
    browser.emulate(scheme=scheme, width=390)
    browser.open(f"{served.dashboard}/")
    assert browser.run("return document.documentElement.scrollWidth") == 390
    first = browser.run("return document.querySelector('h2').getBoundingClientRect().bottom")
    assert first < 400, "the first question is seen at once"
    browser.emulate(scheme="light", width=1400)
    browser.run("[...document.querySelectorAll('a')].find(link => link.innerText == 'answer in full').click()")
    browser.wait_for("Tuned, not confirmed")
    browser.wait("[...document.querySelectorAll('a')].some(link => link.innerText == 'All questions')")
    browser.run("[...document.querySelectorAll('a')].find(link => link.innerText == 'All questions').click()")
    browser.wait("document.querySelector('h1')?.innerText == 'Questions'")


def test_tensorboard_opens(browser: Browser, served: Served) -> None:
    browser.open(f"{served.tensorboard}/")
    browser.wait("document.title == 'TensorBoard' && document.body.innerText.length > 0")
