"""Text that the model cannot read and truth that it cannot predict: a finding with its share of each split, the rows
and a remedy; an error where nothing is left to learn."""

from __future__ import annotations

import json
import random
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from conftest import ANIMALS, sentences
from lakewright.api import profile as profile_table
from lakewright.cli.show import print_run
from lakewright.errors import DataError
from lakewright.pipeline.stages.prepare import prepare
from lakewright.records import Finding, Ingested, Prepared

Rows = list[dict[str, Any]]
THAI = "ขนมปัง"
THINGS = {"text": "text", "label": "label"}
SPANS = {"text": "text", "spans": "spans"}
ANSWERS = {"question": "question", "context": "context", "answers": "answers"}


@pytest.fixture
def findings_of(tmp_path: Path, tiny_base: Path) -> Any:
    """The findings of the stage alone, by name, over a table of these rows."""

    def prepared(
        rows: Rows, columns: dict[str, Any], task: Any, train: dict[str, Any] | None = None, **settings: Any
    ) -> dict[str, Finding]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        tokens = {key: settings.pop(key) for key in ("max_length", "long_texts") if key in settings}
        settings["recipe"] = {**settings.get("recipe", {}), **({"tokens": tokens} if tokens else {})}
        project = {"name": "things", "schema": "main.demo", "task": task, "prepare": settings}
        project["train"] = train or {"learner": "encoder", "base_model": str(tiny_base)}
        project["data"] = {"table": "main.demo.things", "columns": columns}
        (folder / "project.yml").write_text(yaml.safe_dump(project))
        with chdir(folder):
            loaded, workspace = lw.load_project("project.yml"), lw.Workspace.open(lw.load_profile())
        workspace = replace(workspace, work=workspace.folder / "work" / "prepare", run_id="a run")
        workspace.work.mkdir(parents=True)
        table = workspace.lake.write("main.demo.things", pa.Table.from_pylist(rows))
        record = prepare(loaded, workspace, ingested=Ingested(table=table, source="", fingerprint=""))
        assert isinstance(record, Prepared)
        return {finding.name: finding for finding in record.findings}

    return prepared


def split_of(rows: Rows) -> Rows:
    """80 % train, 10 % validation, 10 % test, in this order."""
    names = ["train"] * 8 + ["validation", "test"]
    return [{**row, "split": names[10 * i // len(rows)]} for i, row in enumerate(rows)]


def named(count: int, spans: Any) -> Rows:
    """Texts with an animal each, whose span `spans(text, start, end)` says in the table."""
    draw, rows = random.Random(1), []
    for i in range(count):
        animal = draw.choice(ANIMALS)
        text = f"we saw a {animal} today number {i}"
        rows.append({"text": text, "spans": json.dumps([{**spans(text, 9, 9 + len(animal)), "label": "animal"}])})
    return rows


class TestTexts:
    def test_texts_of_another_script_are_counted_by_split(self, findings_of: Any) -> None:
        rows = split_of([{"text": row["text"], "label": row["label"]} for row in sentences(200)])
        for i in (*range(80), 160, *range(180, 190)):  # 80 of train, 1 of validation, 10 of test
            rows[i]["text"] = f"{THAI} {THAI}{i} dog"  # two of three pieces are unknown
        findings = findings_of(rows, THINGS, "text_classification")
        unread, pieces = findings["unread_texts"], findings["unknown_pieces"]
        assert unread.count == 91 and "(50.0% in train, 5.0% in validation, 50.0% in test)" in unread.detail
        assert "base_model" in unread.detail and unread.rows[0].startswith("row 0: ") and THAI in unread.rows[0]
        assert pieces.count == 182 and "in train" in pieces.detail
        assert "long_words" not in findings

    def test_nothing_that_can_be_read_is_an_error(self, findings_of: Any) -> None:
        rows = [{**row, "text": f"{THAI}{i}"} for i, row in enumerate(sentences(100))]
        with pytest.raises(DataError, match=r"nothing to learn: 100 of 100 texts mean nothing .*\n  row ") as caught:
            findings_of(rows, THINGS, "text_classification")
        assert "base_model" in caught.value.remedy
        # A column beside the text is still there to be learned from.
        beside = findings_of(rows, {**THINGS, "categories": ["place"]}, "text_classification")
        assert beside["unread_texts"].count == 100

    def test_words_of_more_than_a_hundred_characters(self, findings_of: Any) -> None:
        rows = [{**row} for row in sentences(100)]
        rows[3]["text"] += " " + "dog" * 33 + "d"  # 100 letters
        rows[4]["text"] += " " + "dog" * 33 + "do"
        rows[5]["text"] += " " + "dog-" * 50  # taken apart at the hyphens
        findings = findings_of(rows, THINGS, "text_classification", max_length=64, duplicates="keep")
        assert findings["long_words"].count == 1 and findings["long_words"].rows[0].startswith("row 4: ")

    def test_texts_without_a_visible_character(self, findings_of: Any) -> None:
        rows = [{**row} for row in sentences(100)]
        rows[7]["text"], rows[8]["text"] = "\u200b\u200e", "\x00\x01"
        findings = findings_of(rows, THINGS, "text_classification")
        assert findings["empty_text"].count == 2 and "unread_texts" not in findings  # they are blank: left out

    def test_what_is_read_is_no_finding(self, findings_of: Any) -> None:
        for train in (None, {"learner": "linear"}):
            findings = findings_of(sentences(100), THINGS, "text_classification", train)
            assert not findings.keys() & {"unread_texts", "unknown_pieces", "long_words"}

    def test_rows_without_a_term_that_train_holds(self, findings_of: Any) -> None:
        rows = split_of(sentences(100))
        rows[80]["text"], rows[81]["text"], rows[95]["text"] = "?!", "…", "unheard-of"
        unread = findings_of(rows, THINGS, "text_classification", {"learner": "linear"})["unread_texts"]
        assert unread.count == 3 and "(0.0% in train, 20.0% in validation, 10.0% in test)" in unread.detail
        silent = [{**row, "text": "?" * (i + 1)} for i, row in enumerate(sentences(50))]
        with pytest.raises(DataError, match="hold no known term"):
            findings_of(silent, THINGS, "text_classification", {"learner": "linear"})

    def test_the_profile_tells_it_too(self, project: Path, tiny_base: Path) -> None:
        workspace = lw.Workspace.open(lw.load_profile())
        rows = split_of([{**row, "text": f"{THAI} {row['text']}" * (i % 2 + 1)} for i, row in enumerate(sentences(50))])
        rows[0]["text"] = THAI
        table = workspace.lake.write("main.t.things", pa.Table.from_pylist(rows))
        findings = {each.name: each for each in profile_table(str(table), project=project).findings}
        assert findings["unread_texts"].count == 1 and "2.5% in train" in findings["unread_texts"].detail
        assert findings["unread_texts"].rows == [f"row 0: '{rows[0]['label']}': {THAI}"]
        whole = pa.Table.from_pylist(rows).drop_columns("split")
        table = workspace.lake.write("main.t.whole", whole)
        findings = {each.name: each for each in profile_table(str(table), tokenizer=str(tiny_base)).findings}
        assert findings["unread_texts"].detail.startswith("'text': 1 of 50 texts")
        assert "(2.0% in all rows)" in findings["unread_texts"].detail

    def test_the_profile_makes_the_projects_round_trip(self, project: Path, tiny_base: Path) -> None:
        workspace = lw.Workspace.open(lw.load_profile())
        rows = named(60, lambda text, start, end: {"start": start, "end": end - 1})
        table = workspace.lake.write("main.t.spans", pa.Table.from_pylist(rows))
        train = {"learner": "encoder", "base_model": str(tiny_base)}
        spans: dict[str, Any] = {"name": "spans", "schema": "main.t", "task": "token_classification", "train": train}
        spans["data"] = {"table": "main.t.spans", "columns": SPANS}
        project.write_text(yaml.safe_dump(spans))
        profile = profile_table(str(table), project=project)
        (within,) = (each for each in profile.findings if each.name == "spans_within_words")
        assert within.detail.startswith("60 of 60 spans begin or end within a word")
        project.write_text(yaml.safe_dump({**spans, "train": {"learner": "linear"}}))
        assert any("cannot be prepared" in note for note in profile_table(str(table), project=project).notes)


def test_linear_reads_scripts_without_spaces_and_says_what_it_cannot(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = random.Random(0)
    words = {"配送": ["物流", "快递", "包裹"], "账单": ["发票", "账单", "退款"]}
    rows = []
    for i in range(200):
        label = "配送" if i % 2 else "账单"
        noise = "".join(draw.choices("的一是我他有这来们到说国和地也子时道出会", k=8))
        rows.append({"text": noise[:4] + draw.choice(words[label]) + noise[4:], "label": label})
    rows = split_of(rows)
    rows[165]["text"] = "!?"
    pq.write_table(pa.Table.from_pylist(rows), "things.parquet")
    columns = "data={source: things.parquet, columns: {text: text, label: label}}"
    run = lw.run("project.yml", settings=["train={learner: linear}", columns, "evaluate={resamples: 100}"])
    assert run.report.metrics["accuracy"].value == 1.0
    print_run(run)
    sentence = "1 of 200 texts hold no known term (0.0% in train, 5.0% in validation, 0.0% in test)"
    assert sentence in " ".join(capsys.readouterr().out.split())
    assert sentence in Path(run.report.html).read_text(encoding="utf-8")
    predictions = lw.load(run.model_folder).predict(["我的快递到了", "我的发票"])
    assert [each["label"] for each in predictions] == ["配送", "账单"]


class TestSpans:
    def test_white_space_at_their_ends_is_no_part_of_them(self, findings_of: Any, tmp_path: Path) -> None:
        def blank(text: str, start: int, end: int) -> dict[str, Any]:
            return {"start": start - 1, "end": end + 1, "text": f" {text[start:end]}\n"}

        assert not findings_of(named(60, blank), SPANS, "token_classification").keys() & {"spans_within_words"}
        (workspace,) = tmp_path.glob("*/.lakewright")
        with chdir(workspace.parent):
            lake = lw.Workspace.open(lw.load_profile()).lake
        for row in lake.read(lake.version("main.demo.things_features")).to_pylist():
            (span,) = row["truth"]
            assert row["inputs"]["text"][span["start"] : span["end"]] in ANIMALS

    def test_what_contradicts_its_own_text_is_an_error(self, findings_of: Any) -> None:
        rows = named(60, lambda text, start, end: {"start": start, "end": end, "text": text[start:end]})
        rows[4]["spans"] = json.dumps([{"start": 3, "end": 6, "label": "animal", "text": "a cow"}])
        with pytest.raises(DataError, match=r"wrong in 1 place:\n  row 4: span 3–6 is 'saw', not 'a cow'"):
            findings_of(rows, SPANS, "token_classification")

    def test_utf16_is_named_where_it_would_be_right(self, findings_of: Any) -> None:
        rows = []
        for i, row in enumerate(named(60, lambda text, start, end: {"start": start, "end": end})):
            (span,) = json.loads(row["spans"])
            astral = "😀🎉"[: i % 3]
            word = row["text"][span["start"] : span["end"]]
            spans = [{**span, "start": span["start"] + 2 * len(astral), "end": span["end"] + 2 * len(astral)}]
            rows.append({"text": astral + row["text"], "spans": spans, "word": word})
        findings = findings_of(rows, SPANS, "token_classification")
        assert "40 of 60 spans begin or end within a word" in findings["spans_in_utf16"].detail
        assert "task.offsets: utf16" in findings["spans_in_utf16"].detail
        task = {"name": "token_classification", "offsets": "utf16"}
        assert not [name for name in findings_of(rows, SPANS, task) if name.startswith("spans_")]
        contradicted = [{**row, "spans": [{**row["spans"][0], "text": row["word"]}]} for row in rows]
        with pytest.raises(DataError, match=r"wrong in 40 places:\n  row 1: .*correct with task.offsets: utf16"):
            findings_of(contradicted, SPANS, "token_classification")
        assert not [name for name in findings_of(contradicted, SPANS, task) if name.startswith("spans_")]

    def test_parts_of_words_are_counted(self, findings_of: Any) -> None:
        rows = split_of(named(100, lambda text, start, end: {"start": start, "end": end - 1 if end % 2 else end}))
        within = sum(json.loads(row["spans"])[0]["end"] < 9 + len(row["text"].split()[3]) for row in rows)
        findings = findings_of(rows, SPANS, "token_classification")["spans_within_words"]
        assert 0 < findings.count == within < 100 and f"{within} of 100 spans" in findings.detail

    def test_what_is_cut_and_what_cannot_be_seen(self, findings_of: Any) -> None:
        rows = named(60, lambda text, start, end: {"start": start, "end": end})
        far = "the dog " * 10
        rows[2] = {"text": far + "cow", "spans": json.dumps([{"start": 80, "end": 83, "label": "animal"}])}
        rows[3] = {"text": "a dog \ufffd", "spans": json.dumps([{"start": 6, "end": 7, "label": "animal"}])}
        cut = {"max_length": 16, "long_texts": "cut"}
        findings = findings_of(rows, SPANS, "token_classification", **cut)
        assert [findings[name].rows[0].partition(":")[0] for name in ("spans_cut", "spans_unread")] == [
            "row 2",
            "row 3",
        ]
        assert "prepare.recipe.tokens.max_length" in findings["spans_cut"].detail
        with pytest.raises(DataError, match="end after the part of their text that the model reads"):
            findings_of(
                [rows[2]] * 20, SPANS, "token_classification", max_length=16, long_texts="cut", duplicates="keep"
            )

    def test_tokens_that_cannot_be_seen(self, findings_of: Any) -> None:
        tags = {"tokens": "tokens", "tags": "tags"}
        rows: Rows = [
            {"tokens": ["the", row["text"].split()[1], str(i)], "tags": ["O", "B-x", "O"]}
            for i, row in enumerate(sentences(60))
        ]
        rows[1] = {"tokens": ["\u200b", "dog", "\u200b"], "tags": ["B-x", "I-x", "I-x"]}  # the dog comes back
        rows[2] = {"tokens": ["a", "\u200b", "dog"], "tags": ["O", "B-x", "O"]}
        findings = findings_of(rows, tags, "token_classification")
        assert findings["spans_unread"].count == 1 and findings["spans_unread"].rows[0].startswith("row 2: ")
        assert "spans_within_words" not in findings
        rows[3] = {"tokens": ["a", ""], "tags": ["O", "B-x"]}
        with pytest.raises(DataError, match=r"row 3: the token 1 is empty, but is tagged 'B-x'"):
            findings_of(rows, tags, "token_classification")


def answered(lengths: list[int]) -> Rows:
    """Questions whose answers have so many words."""
    draw, rows = random.Random(2), []
    for i, length in enumerate(lengths):
        before, answer = draw.choices(ANIMALS, k=3 + i % 3), draw.choices(ANIMALS, k=length)
        context = " ".join([*before, *answer, *draw.choices(ANIMALS, k=4)])
        start = len(" ".join(before)) + 1
        given = [{"text": " ".join(answer), "answer_start": start}] if length else []
        rows.append({"question": f"who is number {i} ?", "context": context, "answers": given})
    return rows


class TestAnswers:
    def test_a_length_is_named_that_holds_those_that_are_too_long(self, findings_of: Any) -> None:
        rows = split_of(answered([3, 12, 3, 9] * 50))
        task = {"name": "question_answering", "max_answer_length": 8}
        findings = findings_of(rows, ANSWERS, task)["answers_too_long"]
        assert (
            findings.count == 100
            and "100 of 200 answers are longer than task.max_answer_length (8 pieces)" in findings.detail
        )
        assert "(50.0% in train, 50.0% in validation, 50.0% in test)" in findings.detail
        assert "task.max_answer_length: 12, which covers 99.5% of train's" in findings.detail
        assert "answers_too_long" not in findings_of(rows, ANSWERS, {**task, "max_answer_length": 12})

    def test_the_longest_few_do_not_set_the_length(self, findings_of: Any) -> None:
        rows = split_of(answered([3] * 700 + [9] * 99 + [20] + [3] * 200))
        findings = findings_of(rows, ANSWERS, {"name": "question_answering", "max_answer_length": 8}, max_length=64)
        assert "max_answer_length: 9, which" in findings["answers_too_long"].detail
        findings = findings_of(rows, ANSWERS, {"name": "question_answering", "max_answer_length": 9}, max_length=64)
        assert "max_answer_length: 20, which" in findings["answers_too_long"].detail

    def test_answers_that_no_sequence_holds(self, findings_of: Any) -> None:
        rows = answered([3] * 60)
        rows[5]["context"] = "the dog " * 30 + rows[5]["context"]
        rows[5]["answers"] = [{"text": "number", "answer_start": len(rows[5]["context"]) + 1}]
        rows[5]["context"] += " number"
        findings = findings_of(rows, ANSWERS, "question_answering", max_length=40, long_texts="cut")
        assert findings["answers_cut"].count == 1 and findings["answers_cut"].rows[0].startswith("row 5: ")
        assert "answers_cut" not in findings_of(rows, ANSWERS, "question_answering", max_length=40)

    def test_parts_of_words_and_questions_without_an_answer(self, findings_of: Any) -> None:
        rows = split_of(answered([2] * 80 + [2] * 10 + [0, 0] + [2] * 8))
        rows[0]["answers"] = [{"text": rows[0]["context"][1:3], "answer_start": 1}]
        rows[1]["answers"][0]["text"] += " "  # white space is of no piece, and scores nothing
        findings = findings_of(rows, ANSWERS, "question_answering")
        assert findings["answers_within_words"].count == 1
        assert "(0.0% in train, 0.0% in validation, 20.0% in test)" in findings["no_answer_unlearned"].detail


def test_scores_that_lie_outside_trains(findings_of: Any) -> None:
    rows = [{"text": row["text"], "other": f"a {row['text']}", "score": i % 5} for i, row in enumerate(sentences(100))]
    rows = split_of(rows)
    rows[85]["score"], rows[95]["score"] = 9, -1
    columns = {"text": "text", "text_pair": "other", "score": "score"}
    findings = findings_of(rows, columns, "sentence_similarity")["scores_out_of_range"]
    assert findings.count == 2 and "lie outside train's range, 0 to 4" in findings.detail
    assert "(0.0% in train, 10.0% in validation, 10.0% in test)" in findings.detail


@pytest.mark.parametrize("task", ["text_classification", "multilabel_classification"])
def test_categories_beyond_those_that_count(findings_of: Any, task: str) -> None:
    kinds = ["usual" if i % 4 else f"rare {i % 12}" for i in range(240)]
    kinds[215], kinds[1] = "unseen", None
    rows = split_of([{**row, "kind": kind} for row, kind in zip(sentences(240), kinds, strict=True)])
    label = "label" if task == "text_classification" else "labels"
    columns = {"text": "text", label: label, "categories": ["kind"]}
    for row in rows:
        row["labels"] = [row["label"]]
    linear = {"learner": "linear"}
    findings = findings_of(rows, columns, task, linear, recipe={"dense": {"max_categories": 1}})["unknown_categories"]
    assert (
        findings.count == 61
        and "61 of 239 rows hold a value of column 'kind' that counts as unknown" in findings.detail
    )
    assert (
        "3 of train's 4 values are rarer than the 1 that count; set prepare.recipe.dense.max_categories: 4"
        in findings.detail
    )
    findings = findings_of(rows, columns, task, linear)["unknown_categories"]
    assert (
        findings.count == 1 and "train has no such value" in findings.detail and "4.2% in validation" in findings.detail
    )


def test_what_is_cut_is_counted_by_split(findings_of: Any) -> None:
    rows = split_of([{**row} for row in sentences(100)])
    for i in (0, 1, 85):
        rows[i]["text"] += " the dog" * 20
    for long_texts, part in (("cut", "end"), ("head_tail", "middle")):
        cut = findings_of(rows, THINGS, "text_classification", max_length=20, long_texts=long_texts)["truncated"]
        assert f"3 of 100 rows are longer than 20 tokens and lose their {part}" in cut.detail
        assert "(2.5% in train, 10.0% in validation, 0.0% in test)" in cut.detail and cut.rows[2].startswith("row 85: ")
    asked = answered([2] * 60)
    asked[7]["question"] = "the dog " * 20
    cut = findings_of(asked, ANSWERS, "question_answering", max_length=24)["truncated"]
    assert cut.count == 1 and "first text's end" in cut.detail
