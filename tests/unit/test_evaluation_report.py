"""The page and its pictures: complete, self-contained, escaped, and saying what the numbers say."""

from __future__ import annotations

import json
import re
import warnings
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from browser import browser, needs_axe
from lakewright.data.rows.kinds import Kind
from lakewright.evaluation.attribution import Attribution, Place, Word
from lakewright.evaluation.bootstrap import intervals
from lakewright.evaluation.calibration import reliability
from lakewright.evaluation.costs import costs_of
from lakewright.evaluation.scorers import Scorer
from lakewright.evaluation.scorers.answers import AnswersScorer
from lakewright.evaluation.scorers.classification import ClassificationScorer
from lakewright.evaluation.scorers.entities import EntityScorer
from lakewright.evaluation.scorers.multilabel import MultilabelScorer
from lakewright.evaluation.scorers.ordinal import OrdinalScorer
from lakewright.evaluation.scorers.regression import RegressionScorer
from lakewright.evaluation.scorers.similarity import SimilarityScorer
from lakewright.evaluation.slices import by_slice
from lakewright.pages.parts import Piece
from lakewright.pages.pictures import canvas, of_answers, of_classes, of_numbers, of_training
from lakewright.pages.report import with_decision, write_html
from lakewright.pages.report.context import ReportContext
from lakewright.pages.report.mistakes import (
    confident_label_mistakes,
    confident_mistakes,
    confident_wrong_answers,
    confused_pairs,
    furthest_mistakes,
    largest_errors,
    marked_answer,
    marked_mistakes,
    swapped_labels,
    worst_pairs,
    worst_ranked,
)
from lakewright.pages.report.sections.answers import question_kinds
from lakewright.pages.report.sections.regression import figures as regression_figures
from lakewright.pages.report.sections.regression import groups_of
from lakewright.pages.report.verdict import verdict
from lakewright.records import Check, Decision, Dependence, Finding, Metric, Prepared, Report, TableVersion, Trained
from lakewright.settings.sections import Cost
from lakewright.workspace.run_folder import RunFolder

TABLE = TableVersion(name="demo.texts.rows", version=3, uri="lake/rows", rows=1200)
HISTORY = [
    {"step": 0, "loss": 2.0},
    {
        "step": 10,
        "loss": 1.5,
        "validation_loss": 1.6,
        "validation_macro_f1": 0.4,
        "learning_rate": 1e-4,
        "validation_brier": 0.5,
    },
    {"step": 20, "loss": 1.0, "validation_loss": 1.2, "validation_macro_f1": 0.6},
]
CONTEXT = ReportContext(
    task="text_classification",
    model="demo.texts.model",
    run_id="run-17",
    created="2026-11-20 14:03 UTC",
    prepared=Prepared(
        table=TABLE,
        features=TABLE,
        recipe="recipe",
        task={"labels": ["a & b", "<i>c</i>", "$d$ $"]},
        splits={"train": 900, "test": 300},
        label_counts={"train": {"a & b": 450}, "test": {"a & b": 150}},
        lengths={"p50": 12, "max": 60},
        length_histogram=[(5, 14, 3), (15, 24, 0), (25, 60, 1)],
        max_length=48,
        findings=[Finding(name="duplicates", count=4, detail="found twice", rows=["<b>bold</b>"])],
    ),
    trained=Trained(model_folder="runs/17/model", digest="f00d", learner="encoder", details={"parameters": 22_713_216}),
    history=HISTORY,
    project_yaml="name: demo <&>\n",
    reproduce=["lakewright run project.yml"],
    software={"torch": "2.13.0"},
)


def report_of(scorer: Scorer, **more: object) -> Report:
    return Report(
        metrics=intervals(scorer, resamples=50, seed=0),
        primary=scorer.primary,
        rows=scorer.rows,
        kind=scorer.kind,
        classes=scorer.classes(np.ones(scorer.rows)),
        test_rows="runs/17/test_rows.parquet",
        html="report.html",
        json_file="evaluation.json",
        runtime="onnx",
        model_bytes=91_234_567,
        seconds_per_1000_rows=1.84,
        **more,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def classification() -> ClassificationScorer:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 300)
    probabilities = random.dirichlet(np.ones(3), 300)
    probabilities[np.arange(300), truth] += 0.7
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return ClassificationScorer(truth, probabilities, ["a & b", "<i>c</i>", "$d$ $"])


@pytest.fixture(scope="module")
def entities() -> tuple[EntityScorer, list[str]]:
    texts = ["Ada Lovelace met <b>Babbage</b> in London.", "Nothing here.", "Paris & Rome"]
    truth = [[(0, 12, "PER"), (20, 27, "PER"), (35, 41, "LOC")], [], [(0, 5, "LOC"), (8, 12, "LOC")]]
    found = [[(0, 3, "PER"), (20, 27, "LOC"), (35, 41, "LOC")], [(0, 7, "PER")], [(0, 5, "LOC"), (8, 12, "LOC")]]
    return EntityScorer(truth, found, ["PER", "LOC"]), texts


class Page(HTMLParser):
    """The page as a browser reads it: its visible text, its tags, and whether every tag is closed."""

    VOID = frozenset({"meta", "link", "img", "br", "hr", "input"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.text, self.tags, self.open = "", [], []
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def ids(self) -> set[str | None]:
        return {attributes["id"] for tag, attributes in self.tags if tag == "section"}


def fetches(page: Page) -> list[object]:
    """What a browser would ask a server for: nothing but fragments of the page itself is allowed."""
    found: list[object] = [tag for tag, _ in page.tags if tag in {"link", "img", "iframe", "object"}]
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data"):
            value = attributes.get(name)
            if value is not None and not value.startswith("#"):
                found.append((tag, name, value))
    return found + re.findall(r"@import|url\((?!#)[^)]*\)", page.source)


def test_the_page_of_a_classifier(tmp_path: Path, classification: ClassificationScorer) -> None:
    texts = [f"text {i} <script>alert({i})</script> $x$" for i in range(300)]
    slices = by_slice(classification, {"source": ["web", "mail", None] * 100}, resamples=50, seed=0)
    low = {name: Metric(value=0.1, low=0.05, high=0.2) for name in ("macro_f1",)}
    slices["planted"] = {"hard": {"rows": Metric(value=40, low=40, high=40), **low},
                         "few": {"rows": Metric(value=3, low=3, high=3), **low}}  # fmt: skip
    report = report_of(classification, slices=slices, notes=["int8 was not kept"])
    decision = Decision(
        passed=False,
        checks=[Check(name="accuracy is at least 0.99", passed=False, value=0.8, threshold=0.99)],
        champion="demo.texts.<model> version 2",
        against_champion={"macro_f1": Metric(value=0.0123, low=-0.0031, high=0.027)},
    )
    context = ReportContext(**{**vars(CONTEXT), "texts": texts})
    path = tmp_path / "report.html"
    write_html(path, title="Demo <1>", report=report, scorer=classification, context=context)
    waiting = path.read_text()
    passed = with_decision(waiting, report, decision.model_copy(update={"passed": True}))
    path.write_text(with_decision(passed, report, decision))  # decided again: what was said before is gone
    page = Page(path)

    assert fetches(page) == []
    assert [attributes for tag, attributes in page.tags if tag == "script"] == [{}]  # ours, and none from the texts
    assert "<script>alert" in page.text  # shown, not run
    assert page.source.count("<svg") == 4
    assert page.ids() == {
        "gate", "metrics", "classes", "confusions", "mistakes", "slices", "calibration", "training", "data", "run",
    }  # fmt: skip
    right = f"Right on {100 * report.metrics['accuracy'].value:.1f}\N{NO-BREAK SPACE}% of 300 test rows"
    assert [heading for heading in re.findall(r"<h1>.*?</h1>", waiting, flags=re.DOTALL) if right in heading]
    (headline,) = re.findall(r"<h1>.*?</h1>", page.source, flags=re.DOTALL)
    assert right in headline and headline.count("0.012 higher than that of the champion, demo.texts.&lt;model&gt;") == 1
    assert "champion" not in waiting
    assert "below the gate: accuracy is at least 0.99" in page.text
    assert "passed the gate" in passed and "passed the gate" not in page.text and "The gate" not in waiting
    for shown in (
        "Demo <1>", "a & b", "<i>c</i>", "int8 was not kept", "version 2", "91.2\N{NO-BREAK SPACE}MB", "22,713,216",
        "<b>bold</b>", "demo.texts.rows@v3", "lakewright run project.yml", "name: demo <&>", "run-17", "(missing)",
    ):  # fmt: skip
        assert shown in page.text, shown
    flagged = re.findall(r"<th scope=\"row\">(\w+)</th>(?:(?!</tr>).)*?tag bad", page.source, flags=re.DOTALL)
    assert flagged == ["hard"]
    worst = confident_mistakes(classification)[0]
    assert f"text {worst.row} <script>" in page.text


def test_the_page_of_a_tagger(tmp_path: Path, entities: tuple[EntityScorer, list[str]]) -> None:
    scorer, texts = entities
    path = tmp_path / "report.html"
    context = ReportContext(texts=texts, row_ids=["r-1", "r-2", "r-3"])
    write_html(path, title="tags", report=report_of(scorer), scorer=scorer, context=context)
    page = Page(path)
    assert fetches(page) == []
    assert page.ids() == {"metrics", "classes", "lengths", "mistakes", "run"}
    marks = re.findall(r'<mark class="(\w+)">([^<]*)<small>(\w+)</small>', page.source)
    assert set(marks) == {
        ("boundary", "Ada Lovelace", "PER"), ("boundary", "Ada", "PER"), ("type", "Babbage", "PER"),
        ("type", "Babbage", "LOC"), ("correct", "London", "LOC"), ("spurious", "Nothing", "PER"),
    }  # fmt: skip
    assert "<b>" in page.text and "row r-1" in page.text and "row r-3" not in page.text


LABELS = ["joy", "<b>fear</b>", "calm"]


@pytest.fixture(scope="module")
def multilabel() -> MultilabelScorer:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1]], dtype=bool)
    probabilities = np.array(
        [[0.9, 0.1, 0.2], [0.8, 0.3, 0.7], [0.1, 0.2, 0.1], [0.6, 0.05, 0.8], [0.2, 0.9, 0.1], [0.7, 0.2, 0.4]]
    )
    return MultilabelScorer(truth, probabilities, probabilities >= 0.5, LABELS)


def test_the_page_of_many_labels(tmp_path: Path, multilabel: MultilabelScorer) -> None:
    rows = [{"text": f"tweet {i} <script>alert({i})</script>", "age": float(i)} for i in range(6)]
    context = ReportContext(
        rows=rows, inputs={"text": "text", "age": "number"}, fitted={"thresholds": [0.5, 0.123, 0.25]}
    )
    path = tmp_path / "report.html"
    report = report_of(multilabel)
    write_html(path, title="t", report=report, scorer=multilabel, context=context)
    page = Page(path)
    assert fetches(page) == []
    assert page.ids() == {"metrics", "classes", "labels", "confusions", "mistakes", "calibration", "run"}
    assert page.source.count("<svg") == 3
    said = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Found 62.5 % of the labels of 6 test rows; 71.4 % of the predicted ones are right." in said
    assert "All labels are right on 50.0 % of the rows. Micro F1 is 0.667" in said
    assert (
        "A row has 1.33 true and 1.17 predicted labels, on average. Rows without a label: 1, of which 1 have none "
        "predicted." in said
    )
    # All three on all rows hit 8 of 8 with 18 said: 2·8 / (18 + 8); joy and fear alone have 2·6 / (12 + 8).
    assert "Always answering “joy”, “<b>fear</b>”, “calm” would have a micro F1 of 0.615." in said
    assert "0.123" in said  # a threshold
    assert {("missed", "<b>fear</b>", "5.0 %"), ("spurious", "joy", "60.0 %"), ("correct", "calm", "80.0 %")} <= marks(
        page
    )
    assert "<script>alert(3)" in page.text and "age 3" in re.sub(r"\s+", " ", page.text)


def marks(page: Page) -> set[tuple[str, str, str]]:
    found = re.findall(r'<mark class="(\w+)">([^<]*)<small>([^<]*)</small>', page.source)
    return {tuple(unescape(part).replace("\N{NO-BREAK SPACE}", " ") for part in mark) for mark in found}  # type: ignore[misc]


def test_label_mistakes_by_hand(multilabel: MultilabelScorer) -> None:
    found = confident_label_mistakes(multilabel)
    assert [mistake.row for mistake in found] == [1, 3, 5]  # said wrongly with 0.7, missed with 0.05, then the rest
    assert [(one.label, one.outcome) for one in found[0].decisions] == [
        ("joy", "correct"), ("calm", "spurious"), ("<b>fear</b>", "missed"),
    ]  # fmt: skip
    assert [(swap.missed, swap.predicted, swap.rows, swap.share) for swap in swapped_labels(multilabel)] == [
        ("<b>fear</b>", "joy", 1, 0.5), ("<b>fear</b>", "calm", 1, 0.5),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ratings() -> tuple[OrdinalScorer, ReportContext]:
    probabilities = np.array([[0.8, 0.2, 0], [0.9, 0.1, 0], [0.1, 0.2, 0.7], [0, 0.4, 0.6], [0.3, 0.6, 0.1]])
    scorer = OrdinalScorer(np.array([0, 2, 2, 1, 1]), probabilities, ["1", "2", "3"])
    rows = [{"text": f"review {i}", "text_pair": f"title <{i}>"} for i in range(5)]
    return scorer, ReportContext(rows=rows, inputs={"text": "text", "text_pair": "text"})


def test_the_page_of_ratings(tmp_path: Path, ratings: tuple[OrdinalScorer, ReportContext]) -> None:
    scorer, context = ratings
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(scorer), scorer=scorer, context=context)
    page = Page(path)
    assert page.ids() == {"metrics", "classes", "confusions", "distance", "mistakes", "calibration", "run"}
    said = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert (
        "Right on 60.0 % of 5 test rows" in said and "at most one place off on 80.0 %. Quadratic weighted kappa" in said
    )
    assert "60.0 % are right, 20.0 % one place off, 20.0 % more. Of the wrong ones 50.0 % are too high." in said
    assert [mistake.row for mistake in furthest_mistakes(scorer)] == [1, 3]
    assert "<span>text_pair</span><span>title &lt;1&gt;</span>" in page.source


CONTEXTS = ["Ada <Lovelace> met Charles Babbage in London.", "Nobody came.", "x " * 400 + "In 1833 they met."]


@pytest.fixture(scope="module")
def asked() -> tuple[AnswersScorer, ReportContext]:
    questions = ["Who met Babbage?", "Where did they go?", "In what year did they meet?"]
    truths = [["Ada <Lovelace>", "Lovelace"], [], ["1833"]]
    first = {"answer": "Babbage", "start": 27, "end": 34, "score": 0.9}
    second = {"answer": "Ada <Lovelace>", "start": 0, "end": 14, "score": 0.05}
    none = {"answer": "", "start": -1, "end": -1, "score": 0.6}
    year = {"answer": "1833", "start": 803, "end": 807, "score": 0.7}
    predictions = [
        {**first, "no_answer": 0.01, "answers": [first, second]},
        {**none, "no_answer": 0.6, "answers": []},
        {**year, "no_answer": 0.2, "answers": [year]},
    ]
    scorer = AnswersScorer(truths, [one["answer"] for one in predictions], [one["score"] for one in predictions])
    context = ReportContext(
        rows=[{"question": q, "context": c} for q, c in zip(questions, CONTEXTS, strict=True)],
        truths=[[{"start": 0, "end": 14, "text": "Ada <Lovelace>"}], [], [{"start": 803, "end": 807, "text": "1833"}]],
        predictions=predictions,
    )
    return scorer, context


def test_the_page_of_answers(tmp_path: Path, asked: tuple[AnswersScorer, ReportContext]) -> None:
    scorer, context = asked
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(scorer), scorer=scorer, context=context)
    page = Page(path)
    assert fetches(page) == []
    assert page.ids() == {"metrics", "kinds", "none", "n-best", "mistakes", "calibration", "run"}
    said = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Exactly right on 66.7 % of 3 test rows" in said
    assert "Of the questions without an answer it recognised 100.0 %. F1 is 0.667" in said
    assert (
        "over the 2 rows with a true answer. The first is exactly right on 50.0 %, one of the first 2 on 100.0 %."
        in said
    )
    assert set(re.findall(r'<mark class="(\w+)">([^<]*)</mark>', page.source)) == {
        ("correct", "both"), ("missed", "true answer"), ("spurious", "predicted"),
        ("missed", "Ada &lt;Lovelace&gt;"), ("spurious", "Babbage"),
    }  # fmt: skip


def test_answers_are_marked_in_a_context_cut_around_them(asked: tuple[AnswersScorer, ReportContext]) -> None:
    assert confident_wrong_answers(asked[0]) == [0]
    text = "0123456789" * 100
    assert marked_answer(text, [(500, 510)], (505, 515), characters=5) == [
        Piece(" … "), Piece("56789"), Piece("01234", "", "missed"), Piece("56789", "", "correct"),
        Piece("01234", "", "spurious"), Piece("56789"), Piece(" … "),
    ]  # fmt: skip
    cut = marked_answer("some words before Ada and after her", [(18, 21)], None, characters=9)
    assert [piece.text for piece in cut] == [" … ", "before ", "Ada", " and", " … "]
    assert marked_answer(text, [], None, characters=5) == [Piece(text[:10]), Piece(" … ")]
    kinds = question_kinds(["In what year?", "Wer war da?", "WER noch?", "Why?", ""], limit=2)
    assert {kind: mask.tolist() for kind, mask in kinds.items()} == {
        "wer": [False, True, True, False, False],
        "what": [True, False, False, False, False],
        "(other)": [False, False, False, True, True],
    }


@pytest.fixture(scope="module")
def scored_pairs() -> tuple[SimilarityScorer, ReportContext]:
    scorer = SimilarityScorer(np.array([0.0, 1.5, 3, 4, 5]), np.array([1.0, 1.5, 2.5, 4.5, 2.0]))
    return scorer, ReportContext(rows=[{"text": f"left <{i}>", "text_pair": f"right {i}"} for i in range(5)])


def test_the_page_of_scored_pairs(tmp_path: Path, scored_pairs: tuple[SimilarityScorer, ReportContext]) -> None:
    scorer, context = scored_pairs
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(scorer), scorer=scorer, context=context)
    page = Page(path)
    assert page.ids() == {"metrics", "scores", "bands", "mistakes", "run"} and page.source.count("<svg") == 2
    assert "A score is off by 1.000 on average." in page.text
    assert worst_pairs(scorer, limit=2) == [4, 0]
    first = page.source[page.source.index('<ul class="cards">') :]
    assert first.index("left &lt;4&gt;") < first.index("off by") + 400 and "-3.00" in first[:600]
    bands = re.search(r"<h2>By true score.*?</section>", page.source, flags=re.DOTALL)
    assert bands is not None
    # 0 to 1: off by 1; 1 to 2: right; 3 to 4 has the 3, which is half too low; the last band has 4 and 5.
    assert [float(value) for value in re.findall(r'data-v="([^"]*)"', bands[0])] == [
        1, 1, 1, 1, 0, 0, 1, 0.5, -0.5, 2, 1.75, -1.25,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def numbers() -> tuple[RegressionScorer, ReportContext]:
    truth = np.array([100.0, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1100, 1200])
    errors = np.array([0, 30, -30, 0, 30, -30, 0, 30, -30, 0, 30, -1234.5])
    predicted = truth + errors
    scorer = RegressionScorer(truth, predicted, predicted - 25, predicted + 30, level=0.8)
    rows = [{"age": float(i), "city": "<b>Bern</b>", "text": f"house <{i}>"} for i in range(12)]
    inputs: dict[str, Kind] = {"age": "number", "city": "category", "text": "text"}
    return scorer, ReportContext(rows=rows, inputs=inputs, row_ids=[f"r-{i}" for i in range(12)])


def test_the_page_of_numbers(tmp_path: Path, numbers: tuple[RegressionScorer, ReportContext]) -> None:
    scorer, context = numbers
    path = tmp_path / "report.html"
    columns = {"side": ["left", "right"] * 6}
    report = report_of(scorer, slices=by_slice(scorer, columns, resamples=20, seed=0))
    write_html(path, title="t", report=report, scorer=scorer, context=context)
    page = Page(path)
    assert fetches(page) == []
    assert page.ids() == {
        "metrics", "predicted", "residuals", "deciles", "mistakes", "calibration", "slices", "run",
    }  # fmt: skip
    assert page.source.count("<svg") == 4
    said = re.sub(r"\s+", " ", page.text.replace("\N{NO-BREAK SPACE}", " "))
    assert "Off by 120.4 (95 % CI" in said and "on average on 12 test rows, by at most 30.00 on half of them." in said
    assert "58.3 % of the truths are inside their interval. RMSE is 357.1 (95 % CI" in said
    # The mean and the median are 650; its RMSE is 100 · √(143 / 12), its MAE 300.
    assert "mean of the test truths, 650.0, would have an RMSE of 345.2;" in said
    assert "always answering their median, 650.0, an MAE of 300.0." in said
    assert "The mean residual is -100.4; 33.3 % of the predictions are too high, 33.3 % too low." in said
    assert "should hold 80 % of the truths, and hold 58.3 %; " in said
    assert "33.3 % of the truths are below their interval, 8.3 % above" in said
    assert largest_errors(scorer) == [11, 1, 2, 4, 5, 7, 8, 10]  # none that is exactly right
    first = page.source[page.source.index('<ul class="cards">') :].partition("</li>")[0]
    for shown in (
        "-34.50", "1,200", "-1,234", "-59.50 to -4.500", "row r-11", "&lt;b&gt;Bern&lt;/b&gt;", "house &lt;11&gt;",
    ):  # fmt: skip
        assert shown in first, shown
    deciles = re.search(r"<h2>By true number.*?</section>", page.source, flags=re.DOTALL)
    assert deciles is not None
    assert re.findall(r'<th scope="row">(.*?)</th>', deciles[0])[:2] == ["100.0 to 200.0", "300.0"]
    values = [float(value) for value in re.findall(r'data-v="([^"]*)"', deciles[0])]
    assert values[:5] == pytest.approx([2, 30 / 2**0.5, 15, 15, 15]) and len(values) % 5 == 0
    assert sum(values[::5]) == 12  # every row is in one group
    without = RegressionScorer(scorer.truth, scorer.predicted)
    write_html(path, title="t", report=report_of(without), scorer=without, context=ReportContext())
    page = Page(path)
    assert "calibration" not in page.ids() and "inside their interval" not in page.text


def test_the_calibration_of_intervals_is_by_prediction(tmp_path: Path) -> None:
    predicted = np.repeat([1.0, 2.0], 50)
    errors = np.concatenate([np.zeros(50), np.where(np.arange(50) < 40, 0.2, -0.2)])
    scorer = RegressionScorer(predicted - errors, predicted, predicted - 0.1, predicted + np.repeat([0.1, 0.3], 50))
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(scorer), scorer=scorer, context=ReportContext())
    part = re.search(r'<section id="calibration">.*?</section>', Page(path).source, flags=re.DOTALL)
    assert part is not None
    assert re.findall(r'<th scope="row">(.*?)</th>', part[0]) == ["1.000", "2.000"]
    # Of the second group 40 truths are 0.2 below their prediction, under its interval, and 10 are 0.2 above, inside.
    values = [float(value) for value in re.findall(r'data-v="([^"]*)"', part[0])]
    assert values == pytest.approx([50, 1, 0, 0, 0.2, 50, 0.2, 0.8, 0, 0.4])


def test_groups_keep_equal_values_together_and_lose_no_row() -> None:
    random = np.random.default_rng(0)
    for values in (random.normal(size=1000), random.integers(0, 4, 100).astype(float), np.zeros(9), np.array([3.0, 1])):
        groups = groups_of(values)
        assert sorted(row for group in groups for row in group) == list(range(len(values)))
        ends = [(values[group].min(), values[group].max()) for group in groups]
        assert all(high < low for (_, high), (low, _) in pairwise(ends))
        assert len(groups) == min(10, len(set(values)))
    assert {len(group) for group in groups_of(random.normal(size=1000))} == {100}
    assert groups_of(np.array([])) == []


@pytest.mark.slow
@pytest.mark.parametrize("rows, scale", [(1, 1e300), (1, 5e-324), (30, 1e-300), (2000, 1e300), (2000, 5e-324)])
def test_the_page_and_pictures_of_numbers_of_any_size(tmp_path: Path, rows: int, scale: float) -> None:
    random = np.random.default_rng(0)
    truth = scale * np.floor(random.uniform(1, 9, rows))
    for predicted in (truth, np.full(rows, truth[0]), np.clip(truth * random.normal(1, 0.5, rows), 0, 100 * scale)):
        scorer = RegressionScorer(truth, predicted, predicted, predicted + scale)
        slices = by_slice(scorer, {"a": ["x"] * rows}, resamples=10, seed=0)
        report, path = report_of(scorer, slices=slices), tmp_path / "report.html"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            write_html(path, title="t", report=report, scorer=scorer, context=ReportContext())
        source = Page(path).source
        assert len(source) < 400_000
        assert not [style for style in re.findall(r'style="([^"]*)"', source) if "nan" in style or "inf" in style]
        beside = re.sub(r"<svg.*?</svg>|<style.*?</style>|<script.*?</script>", "", source, flags=re.DOTALL)
        assert not re.findall(r"[\d,]{20,}", re.sub(r'data-v="[^"]*"', "", beside))  # no number of hundreds of digits
        for figure in regression_figures(scorer).values():
            assert all(
                np.isfinite(axes.get_xlim()).all() and np.isfinite(axes.get_ylim()).all() for axes in figure.axes
            )


@pytest.fixture(scope="module")
def pairs() -> tuple[SimilarityScorer, ReportContext]:
    left = np.eye(3, dtype=np.float32)
    right = np.array([[0.6, 0.8, 0], [0, 1, 0], [0.8, 0, 0.6]], dtype=np.float32)
    partners = ["near <0>", "one", "two"]
    context = ReportContext(
        rows=[{"text": f"query {i}", "text_pair": partner} for i, partner in enumerate(partners)],
        predictions=[{"embeddings": [a.tolist(), b.tolist()]} for a, b in zip(left, right, strict=True)],
    )
    return SimilarityScorer(None, np.array([0.6, 1.0, 0.6]), left, right, partners), context


def test_the_page_of_pairs_that_belong_together(tmp_path: Path, pairs: tuple[SimilarityScorer, ReportContext]) -> None:
    scorer, context = pairs
    left, right = (np.array(side) for side in zip(*(row["embeddings"] for row in context.predictions), strict=True))
    (query,) = worst_ranked(scorer.ranks, left, right, [row["text_pair"] for row in context.rows])  # type: ignore[arg-type]
    assert (query.row, query.rank, query.first) == (0, 2, 2)
    assert (query.cosine, query.own_cosine) == (pytest.approx(0.8), pytest.approx(0.6))
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(scorer), scorer=scorer, context=context)
    page = Page(path)
    assert page.ids() == {"metrics", "ranks", "mistakes", "run"} and page.source.count("<svg") == 2
    said = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "The right text comes first for 66.7 % of 3 test rows" in said and "MRR is 0.833" in said
    assert "<span>partner</span><span>near &lt;0&gt;</span><span>first</span><span>two</span>" in page.source


def test_the_scores_and_lengths_of_entities(tmp_path: Path, entities: tuple[EntityScorer, list[str]]) -> None:
    scorer, texts = entities
    predictions = [
        {"entities": [{"start": s, "end": e, "label": label, "score": 0.9} for s, e, label in spans]}
        for spans in scorer.predicted
    ]
    path = tmp_path / "report.html"
    context = ReportContext(texts=texts, predictions=predictions)
    write_html(path, title="tags", report=report_of(scorer), scorer=scorer, context=context)
    page = Page(path)
    assert "calibration" in page.ids() and page.source.count("<svg") == 1
    said = page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "On average the score is 90.0 % and 50.0 % are right." in said
    lengths = re.search(r"<h2>By length.*?</section>", page.source, flags=re.DOTALL)
    assert lengths is not None
    assert re.findall(r'<th scope="row">(.*?)</th>', lengths[0]) == ["1 word", "2 words"]
    # Of one word: 4 true (one of them tagged), 6 marked, 3 right; of two: Ada Lovelace, missed.
    assert re.findall(r'data-v="([^"]*)"', lengths[0]) == ["0.75", "0.5", "4", "6", "0.0", "1", "0"]


def test_the_words_that_decide_are_shaded_in_their_row(
    tmp_path: Path, classification: ClassificationScorer, asked: tuple[AnswersScorer, ReportContext]
) -> None:
    rows = [{"text": "a <good> film"}] + [{"text": "x"}] * 299
    weighed = [Word("text", 0, 1, "a", -0.5), Word("text", 2, 8, "<good>", 2.0), Word("text", 9, 13, "film", 0.0)]
    found = Attribution(0, "<i>c</i>", "log-odds", 0.0, weighed, untried=7)
    context = ReportContext(rows=rows, attributions=[found])
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(classification), scorer=classification, context=context)
    page = Page(path)
    assert "words" in page.ids()
    shaded = '<mark class="against" style="--w:25%" title="-0.50">a</mark> <mark class="for" style="--w:100%" '
    assert f'<p>{shaded}title="+2.00">&lt;good&gt;</mark> film</p>' in page.source
    assert "words not tried 7" in re.sub(r"\s+", " ", page.text) and "50.0\N{NO-BREAK SPACE}%" in page.text
    scorer, answers = asked
    near = [Word("context", 790, 791, "x", 0.1), Word("context", 800, 802, "In", 0.4)]
    found = Attribution(2, "1833", "probability", 0.7, near, 0, Place("context", 803, 807))
    context = ReportContext(**{**vars(answers), "attributions": [found]})
    write_html(path, title="t", report=report_of(scorer), scorer=scorer, context=context)
    assert 'title="+0.40">In</mark> <mark class="predicted">1833</mark> they met.</span>' in Page(path).source


@needs_axe
def test_no_page_of_a_task_breaks_a_rule_of_accessibility(
    tmp_path: Path,
    classification: ClassificationScorer,
    ratings: tuple[OrdinalScorer, ReportContext],
    multilabel: MultilabelScorer,
    entities: tuple[EntityScorer, list[str]],
    asked: tuple[AnswersScorer, ReportContext],
    scored_pairs: tuple[SimilarityScorer, ReportContext],
    pairs: tuple[SimilarityScorer, ReportContext],
    numbers: tuple[RegressionScorer, ReportContext],
) -> None:
    texts = [f"a good text {i}" for i in range(300)]
    words = [Word("text", 0, 1, "a", -2.0), Word("text", 2, 6, "good", 2.0)]  # of full colour
    attributions = [Attribution(0, "a & b", "log-odds", 0.0, words, untried=0)]
    rows = [{"text": text} for text in texts]
    classes = {**vars(CONTEXT), "texts": texts, "rows": rows, "attributions": attributions}
    worse = {"rows": Metric(value=40, low=40, high=40), "macro_f1": Metric(value=0.1, low=0.05, high=0.2)}
    cases: list[tuple[Scorer, ReportContext]] = [
        (classification, ReportContext(**classes)),
        ratings,
        (multilabel, ReportContext(rows=rows[:6])),
        (entities[0], ReportContext(texts=entities[1])),
        asked,
        scored_pairs,
        pairs,
        numbers,
    ]
    likely = np.linspace(0, 1, 60)
    two = ClassificationScorer(
        (likely + np.tile([0, 0.4, -0.4], 20) > 0.5).astype(int), np.c_[1 - likely, likely], ["no", "yes"]
    )
    cases.append((two, ReportContext()))
    costs = costs_of(two, two, Cost(false_positive=1, false_negative=5), resamples=20, confidence=0.9, seed=0)
    means = {"no": [0.6, 0.2], "yes": [0.4, 0.8]}
    curves = [Dependence(input="place", kind="category", values=["a", "b"], means=means, rows=9)]
    decision = Decision(passed=False, checks=[Check(name="accuracy", passed=False), Check(name="mae", passed=True)])
    with browser() as tab:
        for scorer, context in cases:
            path = tmp_path / f"{type(scorer).__name__}.html"
            more = {"costs": costs, "dependences": curves} if scorer is two else {}
            report = report_of(scorer, notes=["int8 was not kept"], slices={"planted": {"hard": worse}}, **more)
            write_html(path, title="t", report=report, scorer=scorer, context=context)
            path.write_text(with_decision(path.read_text(), report, decision))
            assert tab.violations(path) == [], path.name


def test_a_page_needs_no_context(tmp_path: Path, classification: ClassificationScorer) -> None:
    perfect = ClassificationScorer(classification.truth, np.eye(3)[classification.truth], classification.labels)
    path = tmp_path / "report.html"
    write_html(path, title="t", report=report_of(perfect), scorer=perfect, context=ReportContext())
    page = Page(path)
    assert "None: every test row is right." in page.text
    assert page.ids() == {"metrics", "classes", "confusions", "calibration", "run"}


def test_evaluation_json_holds_the_whole_report(tmp_path: Path, classification: ClassificationScorer) -> None:
    report = report_of(classification)
    RunFolder(tmp_path).write_evaluation(report)
    text = RunFolder(tmp_path).evaluation.read_text(encoding="utf-8")
    accuracy = json.loads(text)["metrics"]["accuracy"]
    assert accuracy.keys() == {"value", "low", "high"}
    assert accuracy["value"] == classification.correct().mean()
    assert Report.model_validate_json(text) == report


def test_the_verdict_in_each_tasks_words(
    classification: ClassificationScorer, entities: tuple[EntityScorer, list[str]]
) -> None:
    metric = Metric(value=0.5, low=0.25, high=0.75)
    base = report_of(classification)
    report = base.model_copy(update={"metrics": {"accuracy": metric, "macro_f1": metric}, "confidence": 0.9})
    said = verdict(report).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "Right on 50.0 % of 300 test rows (90 % CI 25.0–75.0 %). Macro F1 is 0.500 (90 % CI 0.250–0.750)."
    assert verdict(report, Decision(passed=True, checks=[])) == verdict(report)  # no champion
    differences = {name: Metric(value=-0.02, low=-0.05, high=0.01) for name in ("macro_f1", "rmse")}
    differences["accuracy"] = Metric(value=0, low=0, high=0)
    decision = Decision(passed=True, checks=[], champion="m version 2", against_champion=differences)
    said = verdict(report, decision).removeprefix(verdict(report)).replace("\N{NO-BREAK SPACE}", " ")
    assert said == (
        " Macro F1 is 0.020 lower than that of the champion, m version 2 (90 % CI -0.050 to +0.010)."
        " RMSE, where less is better, is 0.0200 lower than that of the champion, m version 2"
        " (90 % CI -0.0500 to +0.0100)."
        " Accuracy is equal to that of the champion, m version 2 (90 % CI +0.000 to +0.000)."
    )
    said = verdict(report_of(entities[0])).replace("\N{NO-BREAK SPACE}", " ")
    assert said.startswith(
        "Found 60.0 % of the entities in 3 test rows; 50.0 % of the predicted ones are right. Entity F1 is"
    )
    other = base.model_copy(update={"metrics": {"rmse": metric}, "primary": "rmse"})
    assert verdict(other).startswith("RMSE is 0.500 (95")


def test_confused_pairs_and_confident_mistakes_by_hand() -> None:
    probabilities = np.array([[0.4, 0.6, 0], [0.1, 0.9, 0], [0.8, 0.2, 0], [0, 0.3, 0.7], [0, 0.2, 0.8]])
    scorer = ClassificationScorer(np.array([0, 0, 0, 1, 2]), probabilities, ["x", "y", "z"])
    first, second = confused_pairs(scorer)
    assert (first.truth, first.predicted, first.rows, first.share, first.example) == ("x", "y", 2, 2 / 3, 1)
    assert (second.truth, second.predicted, second.rows, second.share) == ("y", "z", 1, 1.0)
    assert [(mistake.row, mistake.confidence) for mistake in confident_mistakes(scorer)] == [
        (1, 0.9),
        (3, 0.7),
        (0, 0.6),
    ]
    assert confident_mistakes(scorer, limit=1)[0].truth_probability == pytest.approx(0.1)


def test_marked_texts_are_cut_around_the_error_and_lose_nothing_within() -> None:
    text = "".join(f"word{i:03} " for i in range(100))  # 800 characters
    scorer = EntityScorer([[(400, 407, "A"), (404, 420, "B")]], [[(8, 15, "A")]], ["A", "B"])
    (whole,) = marked_mistakes(scorer, [text], characters=1000)
    assert "".join(piece.text for piece in whole.truth) == "".join(piece.text for piece in whole.predicted) == text
    assert [piece for piece in whole.truth if piece.outcome] == [
        Piece(text[400:407], "A", "missed"), Piece(text[407:420], "B", "missed"),
    ]  # fmt: skip
    (cut,) = marked_mistakes(scorer, [text], characters=90)
    assert [piece.text for piece in cut.predicted] == [text[:8], text[8:15], text[15:90], "…"]


# pictures


def figures() -> dict[str, object]:
    random = np.random.default_rng(0)
    many = random.poisson(0.3, (60, 60)) + 9 * np.eye(60)
    labels = [f"a <label> & $formula_{i}$ with a long name" for i in range(60)]
    confidence = random.random(200)
    return {
        "two": of_classes.confusion_matrix(np.array([[3, 1], [0, 0]]), ["no", "yes"]),
        "many": of_classes.confusion_matrix(many, labels),
        "reliability": of_classes.reliability_diagram(reliability(confidence, random.random(200) < confidence)),
        "curve": of_training.learning_curve(HISTORY),
        "only loss": of_training.learning_curve([{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]),
        "nothing": of_training.learning_curve([]),
        "lengths": of_training.length_histogram([(1, 2, 4), (3, 4, 9)], 3),
        "together": of_classes.co_occurrence(random.random((90, 60)) < 0.05, labels),
        "labels": of_classes.labels_a_row(random.poisson(2, 50), random.poisson(1, 50)),
        "distance": of_classes.error_distance(random.integers(-3, 4, 50)),
        "all right": of_classes.error_distance(np.zeros(5, dtype=int)),
        "expected": of_classes.expected_by_truth(random.integers(0, 3, 50), 2 * random.random(50), ["$1", "2", "<3>"]),
        "scores": of_numbers.score_scatter(random.random(5000), random.random(5000)),
        "errors": of_numbers.score_errors(random.normal(size=50)),
        "predicted": of_numbers.predicted_by_true(random.gamma(2, 1, 9000), random.gamma(2, 1, 9000)),
        "few predicted": of_numbers.predicted_by_true(random.random(9), random.random(9)),
        "residuals": of_numbers.residuals(random.normal(size=9000), random.normal(size=9000)),
        "residual histogram": of_numbers.residual_histogram(np.append(random.normal(size=500), 1e6)),
        "intervals": of_numbers.interval_coverage([0.9, 1.0, 0.0], [100, 3, 1], 0.9),
        "ranks": of_answers.rank_histogram(random.integers(1, 3000, 500)),
        "gain": of_classes.gain(np.array([0, 0.5, 1]), np.array([0, 0.8, 1]), 0.3),
        "cost": of_classes.cost_by_threshold(
            random.random(5000), random.random(5001), {"a": (0.1, 0.3), "b": (0.5, 0)}
        ),
        "recall": of_answers.recall_curve(random.integers(1, 3000, 500)),
        "one row": of_answers.recall_curve(np.array([1])),
        "n best": of_answers.coverage([0.4, 0.5], [0.6, 0.7]),
    }


def test_pictures_are_small_well_formed_and_take_the_pages_ink(tmp_path: Path) -> None:
    for name, figure in figures().items():
        text = canvas.svg(figure, f'the "{name}" <picture>')
        root = ElementTree.fromstring(text)
        assert root.attrib["aria-label"] == f'the "{name}" <picture>'
        assert len(text) < 250_000
        assert "currentColor" in text and canvas.INK not in text
        assert "<metadata" not in text and "<image" not in text
        assert set(re.findall(r'href="([^"]*)"', text)) <= {f"#{id_}" for id_ in re.findall(r'id="([^"]*)"', text)}
    canvas.png(figure, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_only_the_most_confused_classes_are_drawn_and_the_picture_says_so() -> None:
    counts = 5.0 * np.eye(40)
    counts[3, 30] = counts[30, 7] = 4
    drawn = canvas.svg(of_classes.confusion_matrix(counts, [f"class-{i}" for i in range(40)], limit=3), "matrix")
    assert "the 3 most confused of 40 classes" in drawn
    assert {int(i) for i in re.findall(r"class-(\d+)<", drawn)} == {3, 7, 30}


def test_a_long_learning_curve_stays_small_and_keeps_its_shape() -> None:
    history = [{"step": step, "loss": 3 - step / 5000} for step in range(10_000)]
    figure = of_training.learning_curve(history)
    raw, smoothed = figure.axes[0].lines
    for line in (raw, smoothed):
        assert len(line.get_xdata()) == 300
        middle = slice(10, -10)  # at its ends a moving mean has neighbours on one side
        steps, losses = np.asarray(line.get_xdata())[middle], np.asarray(line.get_ydata())[middle]
        assert np.allclose(losses, 3 - steps / 5000)
    assert len(canvas.svg(figure, "curve")) < 40_000


def test_a_noisy_loss_stands_faintly_behind_its_moving_mean() -> None:
    losses = np.random.default_rng(0).normal(1, 0.3, 200)
    figure = of_training.learning_curve([{"step": step, "loss": loss} for step, loss in enumerate(losses)])
    raw, smoothed = figure.axes[0].lines
    assert raw.get_alpha() < 0.5 and smoothed.get_alpha() is None
    assert np.array_equal(raw.get_ydata(), losses)
    means = [losses[max(0, step - 5) : step + 6].mean() for step in range(200)]
    assert np.allclose(smoothed.get_ydata(), means)
    (few,) = of_training.learning_curve([{"epoch": epoch, "loss": 1.0} for epoch in range(9)]).axes[0].lines
    assert few.get_alpha() is None  # few points are drawn as they are


@pytest.mark.parametrize("worst, lowest", [(0.93, 0), (-0.2, -0.2)])
def test_validation_has_the_whole_axis_and_its_best_value_in_words(worst: float, lowest: float) -> None:
    history = [{"epoch": epoch, "validation_accuracy": value} for epoch, value in enumerate([worst, 0.9412, 0.94])]
    history.append({"epoch": 3, "validation_accuracy": float("nan")})  # not defined at that point
    (axes,) = of_training.learning_curve(history).axes
    assert axes.get_ylim() == (lowest, 1.02)
    assert axes.get_legend().get_texts()[0].get_text() == "validation_accuracy, best 0.941"


def test_the_learning_curve_draws_losses_and_followed_metrics_only() -> None:
    drawn = canvas.svg(of_training.learning_curve(HISTORY), "curve")
    assert (
        "validation_macro_f1" in drawn
        and "validation_loss" in drawn
        and "learning_rate" not in drawn
        and "brier" not in drawn
    )
