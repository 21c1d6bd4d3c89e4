"""`lakewright profile`: a table is looked at first, with a project or without: the page, the numbers, the notebook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

import lakewright as lw
from conftest import one_object, sentences, small_project
from lakewright.api import profile as profile_table
from lakewright.data.profile.labels import read_labels
from lakewright.data.profile.splits import planned_split
from lakewright.data.profile.texts import find_text_rows
from lakewright.data.rows.splits import Method
from lakewright.errors import ModelError, NotFound
from lakewright.records import Prepared, Record

Lakewright = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = """
import json, sys
import matplotlib
matplotlib.use("Agg")
names = {}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
duplicates = names.get("duplicates")
print("RESULT", json.dumps({
    "rows": len(names["rows"]),
    "missing": {name: int(n) for name, n in names["missing"].items()},
    "words": float(names["words"].mean()) if "words" in names else None,
    "tokens": float(names["tokens"].mean()) if "tokens" in names else None,
    "normalised": len(duplicates.normalised) if duplicates else None,
    "balance": {str(name): int(n) for name, n in names["balance"].items()} if "balance" in names else None,
    "bias": [facet.jensen_shannon for facet in names["bias"]] if "bias" in names else None,
}))
"""


def messy(rows: int) -> pa.Table:
    """The sentences of the other tests with what real tables have: nothing, markup, doubles, odd names."""
    found: list[dict[str, Any]] = [dict(row) for row in sentences(rows)]
    for i, row in enumerate(found):
        row["split"] = "test" if i % 5 == 0 else "dev" if i % 5 == 1 else "train"
        row['<b>score</b> "ü".$'] = 999.0 if i % 50 == 3 else None if i % 7 == 0 else float(i % 23)
        row["tags"] = [row["place"], row["label"]] if i % 4 else []
    found[3]["text"] = found[0]["text"].upper()
    found[4]["text"] = "<script>alert('x')</script> caf\u00c3\u00a9"
    found[5]["place"] = " North"
    found[6]["text"] = ""
    return pa.Table.from_pylist(found)


class Balanced(HTMLParser):
    """That every element ends where it should, and which addresses the page names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action")]
        self.ids |= {value or "" for name, value in attributes if name == "id"}
        if tag not in ("meta", "link", "br", "img", "input", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> in line {self.getpos()[0]}"


def executed(notebook: str, folder: Path) -> dict[str, Any]:
    """What the notebook's cells leave behind, run in order in a fresh process and another folder."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, notebook], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT")[2])
    return result


def test_a_table_is_looked_at(tmp_path: Path, tiny_base: Path, lakewright: Lakewright, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    lake = lw.Workspace.open(lw.load_profile()).lake
    lake.write("main.demo.messy", messy(200))

    command = ("profile", "main.demo.messy", "--bias", "place", "--tokenizer", str(tiny_base))
    done = lakewright(*command)
    assert done.returncode == 0, done.stderr
    assert "main.demo.messy@v0: 200 rows in 7 columns" in done.stdout
    assert "in both train and test" in done.stdout and "999" not in done.stdout.splitlines()[0]
    folder = tmp_path / ".lakewright" / "profiles" / "main.demo.messy@v0"
    for name in ("profile.html", "profile.json", "profile.ipynb"):
        assert str(folder / name) in done.stdout and (folder / name).stat().st_size > 1000

    found = one_object(lakewright(*command, "--json").stdout)
    assert found == json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    columns = {column["name"]: column for column in found["columns"]}
    assert [finding["name"] for finding in columns['<b>score</b> "ü".$']["suspicious"]] == ["sentinels"]
    assert {finding["name"] for finding in columns["text"]["suspicious"]} == {"html", "mojibake"}
    assert [finding["name"] for finding in columns["place"]["suspicious"]] == ["padded", "spellings"]
    assert found["roles"]["text"] == ["text"] and found["roles"]["label"] == ["label"]
    assert found["splits"]["rows"] == {"train": 120, "validation": 40, "test": 40}
    assert found["texts"][0]["tokens"]["quantiles"]["p50"] > found["texts"][0]["words"]["quantiles"]["p50"]
    assert max(found["texts"][0]["languages"], key=found["texts"][0]["languages"].get) == "en"
    assert {facet["value"] for facet in found["bias"]} == {"north", "south", "east", "west", " North"}

    page = (folder / "profile.html").read_text(encoding="utf-8")
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert all(address.startswith("#") and address[1:] in parser.ids for address in parser.addresses)
    assert not re.search(r"url\(|@import|fetch\(", page)
    assert "<b>score</b>" not in page and "&lt;b&gt;score&lt;/b&gt;" in page
    assert "alert(&#39;x&#39;)" in page and "<script>alert" not in page
    assert "prefers-color-scheme:dark" in page

    notebook = json.loads((folder / "profile.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4 and notebook["metadata"]["kernelspec"]["language"] == "python"
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        code = cell["cell_type"] == "code"
        assert set(cell) == {"id", "cell_type", "metadata", "source", *(["outputs", "execution_count"] if code else [])}
    again = executed(str(folder / "profile.ipynb"), tmp_path / "elsewhere")
    assert again["rows"] == 200
    assert again["missing"] == {name: column["missing"] for name, column in columns.items()}
    assert again["words"] == found["texts"][0]["words"]["mean"]
    assert again["tokens"] == found["texts"][0]["tokens"]["mean"]
    assert again["normalised"] == found["duplicates"]["normalised"] == 1
    assert again["balance"] == {each["label"]: each["rows"] for each in found["labels"]["balance"]}
    assert again["bias"] == [facet["jensen_shannon"] for facet in found["bias"]]


def test_names_that_are_not_there_are_answered(tmp_path: Path, lakewright: Lakewright, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    lw.Workspace.open(lw.load_profile()).lake.write("main.demo.messy", messy(20))
    unknown = lakewright("profile", "main.demo.mesy", "--json")
    assert unknown.returncode == 1 and "main.demo.messy" in one_object(unknown.stdout)["error"]["remedy"]
    refused = lakewright("profile", "main.demo.messy", "--label", "lable")
    assert refused.returncode == 1 and "did you mean 'label'" in refused.stderr
    for options, nearest in (
        ({"text": ["tekst"]}, "text"),
        ({"split": "splitt"}, "split"),
        ({"bias": ["plase=north"]}, "place"),
        ({"bias": ["place=nort"]}, "north"),
    ):
        with pytest.raises(NotFound) as unknown_name:
            profile_table("main.demo.messy", **options)  # type: ignore[arg-type]
        assert f"did you mean '{nearest}'" in unknown_name.value.remedy
    with pytest.raises(ModelError, match="no_such_model"):
        profile_table("main.demo.messy", tokenizer="package:no_such_model")
    version = lakewright("profile", "main.demo.messy@v7")
    assert version.returncode == 1 and "v0" in version.stderr
    assert not (tmp_path / ".lakewright" / "profiles").exists()


def split_by_profile(project: Path, method: Method) -> dict[int, str]:
    """Row → split."""
    lake = lw.Workspace.open(lw.load_profile()).lake
    table = lake.version("main.demo.things")
    known, labels = find_text_rows(lake, table, ["text"], None), read_labels(lake, table, ["label"], "label")
    split = planned_split(lake, table, lw.load_project(project), method, known, labels)
    return {row: name for row, name in enumerate(split.tolist()) if name is not None}


def split_by_prepare(record: Record) -> dict[int, str]:
    assert isinstance(record, Prepared)
    features = lw.Workspace.open(lw.load_profile()).lake.read(record.features, ["row", "split"]).to_pylist()
    return {row["row"]: row["split"] for row in features}


def test_a_project_says_what_the_columns_are_and_how_rows_will_be_split(project: Path, tiny_base: Path) -> None:
    """The split that is told is the split that prepare then draws."""
    settings = small_project(tiny_base)
    settings["data"]["columns"]["group"] = "place"
    settings["prepare"] = {"split": {"method": "random", "seed": 5}}
    settings["train"] = {"learner": "linear"}
    rows = sentences(300)
    rows[7]["text"], rows[8]["text"] = rows[9]["text"].upper(), " "
    settings["data"]["source"] = None
    settings["data"]["table"] = "main.demo.things"
    project.write_text(yaml.safe_dump(settings, sort_keys=False))
    lw.Workspace.open(lw.load_profile()).lake.write("main.demo.things", pa.Table.from_pylist(rows))

    told = profile_table("main.demo.things", project=project)
    assert told.splits is not None and (told.splits.source, told.splits.by, told.splits.without) == (
        "project",
        "random",
        2,
    )
    assert told.splits.leaks == [] and told.texts[0].tokens is None
    prepared = lw.run("project.yml").records["prepare"]
    assert split_by_profile(project, "random") == split_by_prepare(prepared)
    assert told.splits.rows == prepared.splits  # type: ignore[attr-defined]
    counts = prepared.label_counts  # type: ignore[attr-defined]
    for split, shares in told.splits.label_shares.items():
        assert shares == {label: counts[split][label] / told.splits.rows[split] for label in shares}

    settings["train"] = {"learner": "encoder", "base_model": str(tiny_base)}
    settings["prepare"] = {"split": {"method": "grouped"}}
    project.write_text(yaml.safe_dump(settings, sort_keys=False))
    counted = profile_table("main.demo.things", project=project, out="looked at")
    assert counted.texts[0].tokens is not None and counted.tokenizer == str(tiny_base)
    assert counted.splits is not None and counted.splits.by == "grouped"
    grouped = lw.run("project.yml", settings=["train={learner: linear}"]).records["prepare"]
    assert split_by_profile(project, "grouped") == split_by_prepare(grouped)
    assert Path(counted.page) == project.parent.resolve() / "looked at" / "profile.html"
