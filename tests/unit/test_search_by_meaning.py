"""Search by meaning against brute force, with a stand-in for the model that counts what it is asked to embed."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import lakewright as lw
from lakewright.errors import DataError, ModelError, NotFound, UsageError
from lakewright.records import TableVersion
from lakewright.service import search
from lakewright.service.search import approximate, embeddings, find
from lakewright.settings.profile import Profile
from lakewright.workspace import Workspace

NAME = "main.demo.things"
WORDS = ["dog", "cat", "rose", "oak", "quartz", "opal", "river", "stone", "old", "new", "north", "south"]
WIDTH = 24


class Words:
    """A text's embedding is the sum of its words' random vectors, at unit length."""

    def __init__(self, digest: str = "d1", seconds_a_text: float = 0.0) -> None:
        self.digest = digest
        self.seconds_a_text = seconds_a_text
        self.embedded: list[str] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(self.seconds_a_text * len(texts))
        self.embedded += texts
        vectors = np.stack([sum(map(self._word, text.split()), np.zeros(WIDTH)) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _word(self, word: str) -> NDArray[np.float64]:
        seed = int.from_bytes(hashlib.sha256(f"{self.digest} {word}".encode()).digest()[:8], "big")
        return np.random.default_rng(seed).standard_normal(WIDTH)


class Labels:
    digest = "labels"

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise ModelError("the model gives no embeddings", "name a model whose task is sentence_similarity")


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = np.random.default_rng(seed)
    return [f"{' '.join(draw.choice(WORDS, 3))} {i}" for i in range(count)]


def open_workspace(folder: Path) -> Workspace:
    return Workspace.open(Profile(workspace=str(folder)))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return open_workspace(tmp_path)


def write(workspace: Workspace, texts: Sequence[str | None], **more: Any) -> TableVersion:
    columns = {"id": range(len(texts)), "text": texts, "score": [i % 7 for i in range(len(texts))]}
    return workspace.lake.write(NAME, pa.table({k: list(v) for k, v in columns.items()}), **more)


def by_brute_force(texts: Sequence[str], query: str, k: int) -> list[tuple[str, float]]:
    cosines = Words().embed(texts) @ Words().embed([query])[0]
    order = np.argsort(-cosines, kind="stable")[:k]
    return [(texts[i], pytest.approx(float(cosines[i]), abs=1e-5)) for i in order]


def found_texts(found: search.SearchResult) -> list[tuple[str, float]]:
    return [(hit.row["text"], hit.score) for hit in found.hits]


def test_the_nearest_rows_are_those_of_brute_force(workspace: Workspace) -> None:
    texts = sentences(300)
    table = write(workspace, texts)
    found = find(workspace, Words(), table, "old dog", k=8)
    assert found_texts(found) == by_brute_force(texts, "old dog", 8)
    assert [hit.rank for hit in found.hits] == list(range(1, 9))
    assert all(hit.row == {"id": texts.index(hit.row["text"]), "text": hit.row["text"], "score": hit.row["id"] % 7}
               for hit in found.hits)  # fmt: skip
    assert (found.table, found.column, found.digest, found.exact) == (table, "text", "d1", True)
    assert (found.rows, found.without_text, found.embedded) == (300, 0, 300)


def test_no_text_is_embedded_twice(workspace: Workspace) -> None:
    texts, more = sentences(60), [*sentences(3, seed=1), "opal river"]
    table = write(workspace, [*texts, texts[0], texts[1]])
    first, second = Words(), Words()
    assert find(workspace, first, table, "opal").embedded == 60
    assert sorted(first.embedded) == sorted(["opal", *texts])
    assert find(workspace, second, table, "opal").embedded == 0
    assert second.embedded == ["opal"]  # the query alone

    appended = write(workspace, more, mode="append")
    third = Words()
    found = find(workspace, third, appended, "opal river", k=3)
    assert sorted(third.embedded) == sorted(["opal river", *more])
    assert found_texts(found) == by_brute_force([*texts, *more], "opal river", 3)
    assert find(workspace, Words(), table, "opal river", k=3).hits != found.hits  # v0 is searched as it was

    other = Words("d2")
    assert find(workspace, other, appended, "opal").embedded == 64
    assert find(workspace, Words(), appended, "opal river", k=3).hits == found.hits  # the first model's are still there
    commit = workspace.lake.history(f"{NAME}_embeddings")[0]["properties"]
    assert commit == {"source": str(appended), "column": "text", "model": "", "digest": "d2"}


def test_rows_of_one_text_all_come_in_the_table_s_order(workspace: Workspace) -> None:
    table = write(workspace, ["new opal", "old dog", "new opal", "quartz", "new opal"])
    hits = find(workspace, Words(), table, "opal new", k=4).hits
    assert [hit.row["id"] for hit in hits[:3]] == [0, 2, 4]
    assert [hit.row["id"] for hit in find(workspace, Words(), table, "opal new", k=2).hits] == [0, 2]
    assert [hit.row["id"] for hit in find(workspace, Words(), table, "opal new", k=2, where="id > 0").hits] == [2, 4]


def test_where_filters_before_ranking(workspace: Workspace) -> None:
    texts = sentences(200)
    table = write(workspace, texts)
    words = Words()
    found = find(
        workspace, words, table, "south", k=5, where="id % 2 = 0 and things.score < 5 -- the table's own score"
    )
    kept = [text for i, text in enumerate(texts) if i % 2 == 0 and i % 7 < 5]
    assert found_texts(found) == by_brute_force(kept, "south", 5)
    assert found.rows == found.embedded == len(kept)  # no other text is needed


def test_a_condition_that_no_row_meets(workspace: Workspace) -> None:
    found = find(workspace, Words(), write(workspace, ["dog", None]), "dog", where="id > 0")
    assert (found.hits, found.rows, found.without_text, found.embedded) == ([], 0, 1, 0)


def test_rows_without_text_are_left_out_and_counted(workspace: Workspace) -> None:
    table = write(workspace, ["a dog", None, " \u00a0\t", "", 'it\'s a "cat" — für 猫'])
    found = find(workspace, Words(), table, "cat")
    assert {hit.row["id"] for hit in found.hits} == {0, 4}
    assert (found.rows, found.without_text) == (2, 3)
    with pytest.raises(DataError, match=r"no text in the column 'text' \(2 rows"):
        find(workspace, Words(), write(workspace, [" ", None]), "cat")


def test_a_column_of_any_name(workspace: Workspace) -> None:
    rows = pa.table({'say "what"': ["dog", "cat"], "select": ["x", "y"], "embedding": [1.0, 2.0]})
    table = workspace.lake.write("main.demo.`2nd`", rows)
    assert find(workspace, Words(), table, "cat", column='say "what"', k=1).hits[0].row["select"] == "y"


def test_errors_name_what_to_do(workspace: Workspace) -> None:
    table = write(workspace, ["dog", "cat"])
    with pytest.raises(DataError, match="did you mean 'text'"):
        find(workspace, Words(), table, "dog", column="txt")
    with pytest.raises(DataError, match=r"'id' .* holds int64, not text"):
        find(workspace, Words(), table, "dog", column="id")
    for k in (0, -1):
        with pytest.raises(UsageError, match="1 or more"):
            find(workspace, Words(), table, "dog", k=k)
    with pytest.raises(UsageError, match="blank"):
        find(workspace, Words(), table, " ")
    for where in ("plaice = 1", "id = = 1", "1 = 1; drop table x", "true) union select * from main.demo.things"):
        with pytest.raises(UsageError):
            find(workspace, Words(), table, "dog", where=where)
    with pytest.raises(UsageError, match=r"(?s)plaice.*columns: id, text, score"):
        find(workspace, Words(), table, "dog", where="plaice = 1")
    with pytest.raises(ModelError):
        find(workspace, Labels(), table, "dog")
    two = workspace.lake.write("main.demo.pairs", pa.table({"sentence1": ["a"], "sentence2": ["b"]}))
    with pytest.raises(UsageError, match="sentence1, sentence2"):
        find(workspace, Words(), two, "dog")
    with pytest.raises(DataError, match="no column of texts"):
        find(workspace, Words(), workspace.lake.write("main.demo.numbers", pa.table({"n": [1]})), "dog")
    assert embeddings.stored(workspace.lake, table) is None  # nothing was embedded for any of these


def test_another_table_under_the_name_is_left_alone(workspace: Workspace) -> None:
    table = write(workspace, ["dog", "cat"])
    other = workspace.lake.write(f"{NAME}_embeddings", pa.table({"mine": [1]}))
    with pytest.raises(DataError, match="another table has it"):
        find(workspace, Words(), table, "dog")
    assert workspace.lake.version(f"{NAME}_embeddings") == other


def test_the_model_of_the_last_search_is_known(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.registry import versions

    profiles = {"profiles": {"local": {"workspace": str(workspace.folder)}}}
    (workspace.folder / "profiles.yml").write_text(json.dumps(profiles))
    monkeypatch.chdir(workspace.folder)
    table = write(workspace, ["dog", "cat"])
    loaded: list[str] = []
    monkeypatch.setattr(versions, "open_model", lambda workspace, name: loaded.append(name) or Words())
    with pytest.raises(UsageError, match="no model has embedded"):
        lw.search(NAME, "cat")
    assert lw.search(NAME, "cat", model="models:/near@champion", k=1).hits[0].row["text"] == "cat"
    assert lw.search(str(table), "dog", k=1).model == "models:/near@champion"
    assert loaded == ["models:/near@champion"] * 2
    with pytest.raises(NotFound, match=r"did you mean 'main\.demo\.things'"):
        lw.search("main.demo.thing", "cat")


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_search_by_meaning import Words, embeddings, find, open_workspace
embeddings.CHUNK = 20
workspace = open_workspace(Path({folder!r}))
find(workspace, Words(seconds_a_text=0.01), workspace.lake.version({name!r}), "old dog")
"""


def test_a_killed_search_goes_on_from_what_it_had_committed(workspace: Workspace) -> None:
    texts = sentences(400)
    table = write(workspace, texts)
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(workspace.folder), name=NAME)
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        for _ in range(600):
            committed = embeddings.stored(workspace.lake, table)
            if committed is not None and committed.rows >= 40:
                break
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    committed = embeddings.stored(workspace.lake, table)
    assert committed is not None and 40 <= committed.rows < 400
    words = Words()
    found = find(workspace, words, table, "old dog")
    assert found.embedded == len(words.embedded) - 1 == 400 - committed.rows
    assert found_texts(found) == by_brute_force(texts, "old dog", 10)


def test_embeddings_there_twice_count_once(workspace: Workspace) -> None:
    """As two searches at the same time leave them."""
    texts = sentences(30)
    table = write(workspace, texts)
    find(workspace, Words(), table, "opal")
    lake, name = workspace.lake, f"{NAME}_embeddings"
    lake.write(name, lake.read(lake.version(name)).slice(10), mode="append")
    assert found_texts(find(workspace, Words(), table, "opal", k=30)) == by_brute_force(texts, "opal", 30)
    wanted = pa.array(sorted(map(embeddings.sha256, texts)))
    places = np.concatenate([places for places, _ in embeddings.embeddings_of(lake, table, wanted, "d1")])
    assert sorted(places.tolist()) == list(range(30))


def test_a_build_has_a_bounded_number_of_commits(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "CHUNK", 1)
    monkeypatch.setattr(embeddings, "MOST_COMMITS", 4)
    find(workspace, Words(), write(workspace, sentences(30)), "opal")
    assert [commit["rows"] for commit in workspace.lake.history(f"{NAME}_embeddings")] == [6, 8, 8, 8]


def test_without_the_package_a_long_search_is_exact_and_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "EXACT_UP_TO", 50)
    monkeypatch.setattr(approximate, "installed", lambda: False)
    texts = sentences(80)
    found = find(workspace, Words(), write(workspace, texts), "opal")
    assert found.exact and "lakewright[search]" in found.note
    assert found_texts(found) == by_brute_force(texts, "opal", 10)
    assert not (workspace.folder / "indexes").exists()


@pytest.mark.skipif(not approximate.installed(), reason="usearch is not installed: pip install 'lakewright[search]'")
class TestApproximate:
    def test_many_texts_are_found_through_a_file_kept_for_the_version(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(search, "EXACT_UP_TO", 50)
        texts = sentences(200)
        table = write(workspace, texts)
        found = find(workspace, Words(), table, "old dog")
        assert not found.exact and found.embedded == 200 and not found.note
        exact = find(workspace, Words(), table, "old dog", exact=True)
        assert exact.exact and found_texts(exact) == by_brute_force(texts, "old dog", 10)
        assert [hit.row for hit in found.hits] == [hit.row for hit in exact.hits]
        assert [hit.score for hit in found.hits] == pytest.approx([hit.score for hit in exact.hits], abs=1e-3)
        assert find(workspace, Words(), table, "old dog", where="true").exact

        (index,) = (workspace.folder / "indexes").iterdir()
        made = index.stat().st_mtime_ns
        assert find(workspace, Words(), table, "old dog").hits == found.hits
        assert index.stat().st_mtime_ns == made
        index.write_bytes(index.read_bytes()[:100])
        with pytest.raises(DataError, match=r"damaged"):
            find(workspace, Words(), table, "old dog")
        index.unlink()
        assert {hit.row["id"] for hit in find(workspace, Words(), table, "old dog").hits} == {
            hit.row["id"] for hit in found.hits
        }
        appended = write(workspace, ["old dog"], mode="append")
        assert find(workspace, Words(), appended, "old dog", k=500).hits[0].row["text"] == "old dog"
        assert len(list((workspace.folder / "indexes").iterdir())) == 2

    @pytest.mark.slow
    def test_recall_of_the_nearest_ten(self, tmp_path: Path) -> None:
        """50,000 vectors around 500 centres in 48 dimensions, laid into 128: as embeddings of real texts lie."""
        draw = np.random.default_rng(0)
        centres, basis = draw.standard_normal((500, 48)), draw.standard_normal((48, 128))

        def vectors(count: int) -> NDArray[np.float32]:
            inner = centres[draw.integers(0, 500, count)] + 0.7 * draw.standard_normal((count, 48))
            outer = inner @ basis + 0.5 * draw.standard_normal((count, 128))
            return (outer / np.linalg.norm(outer, axis=1, keepdims=True)).astype(np.float32)

        stored, queries = vectors(50_000), vectors(200)
        blocks = ((np.arange(at, at + 5000), stored[at : at + 5000]) for at in range(0, 50_000, 5000))
        approximate.build(tmp_path / "index", 128, 50_000, blocks, threads=2)
        nearest = np.argsort(-(queries @ stored.T), axis=1)[:, :10]
        found = [approximate.search(tmp_path / "index", query, 10)[0] for query in queries]
        recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(found, nearest, strict=True)])
        assert recall >= 0.95
