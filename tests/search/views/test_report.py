"""``tunemax report``: what stands in it, and that it is safe to open, to mail and to print."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from optuna.trial import TrialState

from tunemax.gpt.errors import TunemaxError
from tunemax.search.cli import main
from tunemax.search.question.stages import Confirm
from tunemax.search.results.confirmation import confirmations
from tunemax.search.results.findings import gather
from tunemax.search.results.leaderboard import leaderboard
from tunemax.search.results.winners import confirm
from tunemax.search.storage.questions import Question
from tunemax.search.views.answer import answer
from tunemax.search.views.report import write
from tunemax.search.workers.events import Event

Ask = Callable[..., Question]
Work = Callable[..., list[Event]]
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "constantmax.beta": "default"}


@pytest.fixture
def tuned(ask: Ask, work: Work) -> Question:
    question = ask(compare=["softmax", "constantmax"], space=SPACE, budget={"trials": 4})
    work(question)
    return question


@pytest.fixture
def confirmed(tuned: Question, work: Work) -> Question:
    work(confirm(tuned, Confirm(seeds=3)))
    return tuned


def texts(question: Question, folder: Path) -> tuple[str, str, str]:
    """HTML, Markdown, CSV."""
    html, markdown, table = (path.read_text() for path in write(question, folder))
    return html, markdown, table


def test_every_number_of_the_leaderboard_stands_in_all_three(confirmed: Question, tmp_path: Path) -> None:
    html, markdown, table = texts(confirmed, tmp_path)
    (found,) = confirmations(confirmed)
    rows = {row["candidate"]: row for row in csv.DictReader(io.StringIO(table))}
    for entry in leaderboard(confirmed).entries:
        winner = found.entry(entry.name)
        assert entry.best
        assert winner
        assert winner.estimate
        for number in (entry.best.value, entry.median_of_top, winner.estimate.mean, winner.estimate.low):
            assert f"{number:.4f}" in html
            assert f"{number:.4f}" in markdown
        assert float(rows[entry.name]["tuned_loss"]) == entry.best.value
        assert float(rows[entry.name]["confirmed_1x_mean"]) == winner.estimate.mean
        if winner.versus:
            assert rows[entry.name]["confirmed_1x_verdict"] == winner.versus.verdict
    assert found.verdict.replace(" %", "\u00a0%") in html
    assert found.verdict.replace("_", r"\_") in markdown


def test_what_is_tuned_only_says_how_it_is_confirmed_wherever_it_is_read(
    tuned: Question, work: Work, tmp_path: Path
) -> None:
    begin = "Confirm the winners with tunemax study confirm q --storage"
    read = [texts(tuned, tmp_path)[1], " ".join(answer(gather(tuned)).split())]
    assert [begin in text for text in read] == [True, True]
    work(confirm(tuned, Confirm(seeds=3)))
    read = [texts(tuned, tmp_path)[1], answer(gather(tuned))]
    assert ["Confirm the winners" in text for text in read] == [False, False]


def test_a_report_says_where_learnables_ended_and_how_to_do_it_again(confirmed: Question, tmp_path: Path) -> None:
    html, markdown, _ = texts(confirmed, tmp_path)
    for title in (
        "Confirmed at 20 iterations",
        "Tuned",
        "Learnables",
        "Slices",
        "Stability",
        "Budget",
        "Reproduce",
    ):
        assert f"<h2>{title}</h2>" in html
        assert f"## {title}\n" in markdown
    assert "<h2>Learning curves</h2>" in html
    assert "## Learning curves\n" not in markdown, "figures alone, which are not in Markdown"
    (entry,) = [each for each in confirmations(confirmed)[0].entries if each.candidate == "constantmax"]
    ends = [trial.user_attrs["final_beta"] for trial in entry.trials]
    assert f"{sum(ends) / len(ends):.4g}" in html
    assert re.search("tunemax train .*--softmax_variant constantmax", html)
    assert html.count("<svg") == html.count("</svg>") >= 6


def test_a_confirmation_is_done_again_as_it_was_planned_and_with_the_same_candidates(
    ask: Ask, work: Work, tmp_path: Path
) -> None:
    question = ask(compare=["softmax", "constantmax", "polymax"])
    work(question)
    for seeds in (2, 3):
        confirm(question, Confirm(seeds=seeds, top=1))
    _, markdown, _ = texts(question, tmp_path)
    first, more = (f"    tunemax study confirm q --top 1 --seeds {seeds} --reference softmax\n" for seeds in (2, 3))
    assert first + more in markdown


def test_a_report_needs_nothing_from_elsewhere(confirmed: Question, tmp_path: Path) -> None:
    html, _, _ = texts(confirmed, tmp_path)
    assert not re.search(r"https?:|<script|<link|<img|@import|url\(", html)
    assert "default-src 'none'" in html
    assert len(html) < 300_000


def test_the_same_storage_gives_the_same_bytes(confirmed: Question, tmp_path: Path) -> None:
    assert texts(confirmed, tmp_path / "a") == texts(confirmed, tmp_path / "b")


def test_hostile_words_are_words(ask: Ask, work: Work, tmp_path: Path) -> None:
    question = ask(question='<script>alert("x")</script> | *q*', compare=["softmax"], budget={"trials": 1})
    work(question)
    html, markdown, _ = texts(question, tmp_path)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert r"\<script\>alert" in markdown
    assert r"\| \*q\*" in markdown


def test_a_report_of_an_empty_question_says_so(ask: Ask, tmp_path: Path) -> None:
    html, markdown, table = texts(ask(), tmp_path)
    assert "No trial is complete yet: 6 are still to come, 0 of them are being trained." in html
    assert "No trial is complete yet" in markdown
    assert "<h2>Tuned</h2>" not in html
    assert len(table.splitlines()) == 3


def test_a_report_of_a_running_question_says_so(ask: Ask, tmp_path: Path) -> None:
    question = ask()
    study = question.study("q/softmax")
    study.tell(study.ask(), 2.5)
    study.ask()
    html, _, _ = texts(question, tmp_path)
    assert "5 trials still to come" in html
    assert "2.5000" in html


def test_a_report_of_trials_that_others_told_or_that_diverged(ask: Ask, tmp_path: Path) -> None:
    question = ask(compare=["softmax"])
    study = question.study("q/softmax")
    study.tell(study.ask(), float("inf"))
    study.tell(study.ask(), state=TrialState.FAIL)
    html, _, table = texts(question, tmp_path)
    assert "inf" in html + table


def test_the_command_writes_beside_the_runs_and_says_where(
    confirmed: Question, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("q", "q.confirmed"):
        assert main(["report", name, "--storage", where]) == 0
        paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
        assert [path.name for path in paths] == ["report.html", "report.md", "report.csv"]
        assert paths[0].parent == Path(where).with_name("studies.runs") / "q" / "report"
        assert all(path.is_file() for path in paths)


def test_a_folder_that_cannot_be_written_is_one_line(tuned: Question, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        TunemaxError,
        match=r"report\.html: cannot be written \(.*\); mend its rights, or name another folder with --out",
    ):
        write(tuned, tmp_path / "file")


def test_the_answer_stands_before_how_it_is_to_be_read(ask: Ask, work: Work, tmp_path: Path) -> None:
    question = ask(compare=["softmax", "constantmax", "polymax"], budget={"trials": 2})
    work(question)
    work(confirm(question, Confirm(seeds=6)))
    html, markdown, _ = texts(question, tmp_path)
    (found,) = confirmations(question)
    where = found.where(found.entries[0])
    for text, section, table in (
        (html, "<h2>Confirmed at 20 iterations</h2>", "<table>"),
        (markdown, "## Confirmed at 20 iterations", "| candidate |"),
    ):
        text = text.replace("\u00a0", " ").replace("\\_", "_")
        part = text[text.index(section) :]
        places = [part.index(words) for words in ("comparisons with softmax are settled", table, "frozen, was trained")]
        assert places == sorted(places)
        assert part[: places[2]].count(where) == 1, "where it holds is said once"
        for entry in (*found.settled, *found.open):
            assert part.index(found.sentence(entry, "")) < places[2]


@pytest.mark.services
@pytest.mark.browser
def test_in_a_browser_light_and_dark_wide_and_narrow(confirmed: Question, tmp_path: Path) -> None:
    page = write(confirmed, tmp_path)[0].as_uri()
    backgrounds = {}
    with Browser(1280, 900) as browser:
        for scheme in ("light", "dark"):
            browser.emulate(scheme=scheme)
            browser.open(page)
            backgrounds[scheme] = browser.run("return getComputedStyle(document.body).backgroundColor")
        for width, other in ((1280, "on-phone"), (390, "on-desk")):
            browser.emulate(width=width)
            browser.open(page)
            sizes = browser.run(
                f"return [...document.querySelectorAll('svg')].filter(s => !s.closest('.{other}'))"
                ".map(s => s.getBoundingClientRect()).map(box => [box.left, box.right, box.height])"
            )
            assert all(0 <= left < right <= width and height for left, right, height in sizes), "a figure is cut off"
            hidden = f"[...document.querySelectorAll('.{other}')]"
            assert browser.run(f"return {hidden}.length && {hidden}.every(box => !box.offsetHeight)")
            verdict = browser.run(
                "const rows = document.querySelector('table').rows, cell = rows[rows.length - 1].cells[1]; "
                "return [rows[0].cells[1].innerText, cell.getBoundingClientRect().right]"
            )
            assert verdict[0] == "verdict"
            assert verdict[1] <= width
            first = browser.run(
                "const wide = document.querySelector('table').parentElement; wide.scrollLeft = 10000; "
                "return wide.querySelector('td').getBoundingClientRect().left"
            )
            assert first >= 0, "the name of a row stays in view"
            assert browser.run("return [innerWidth, document.documentElement.scrollWidth]") == [width, width], (
                "the page scrolls sideways"
            )
            words = "[...document.querySelectorAll('p, h1, h2, figcaption')]"
            assert browser.run(f"return {words}.filter(e => e.getBoundingClientRect().right > innerWidth).length") == 0
        texts: Any = browser.run(
            "const seen = [...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width); "
            "return seen.map(s => [...s.querySelectorAll('text')]"
            ".every(t => t.getBBox().x >= -1 && t.getBBox().x + t.getBBox().width <= s.viewBox.baseVal.width + 1))"
        )
        assert all(texts), "a label is cut off"
        assert browser.faults() == []
    assert backgrounds["light"] != backgrounds["dark"]
