"""Words for a missing value in columns of numbers and times, as R, Excel, SQL and pandas write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakewright.data.sources import Intake
from lakewright.data.sources.opening import open_source
from lakewright.errors import DataError, UsageError
from lakewright.records import Finding

FOUND = "words_read_as_missing"


def read(folder: Path, uri: str, intake: Intake | None = None, **options: Any) -> tuple[pa.Table, dict[str, Finding]]:
    findings: list[Finding] = []
    source, located = open_source(uri, None, {}, folder)
    named = Intake(*((intake.as_written,) if intake else ()), notice=findings.append)
    return source.open(located, options, {}, named).read_all(), {each.name: each for each in findings}


def csv_of(folder: Path, **columns: Sequence[str]) -> str:
    rows = zip(*columns.values(), strict=True)
    (folder / "m.csv").write_text("\n".join([",".join(columns), *map(",".join, rows)]) + "\n", encoding="utf-8")
    return "m.csv"


def json_of(folder: Path, **columns: Sequence[Any]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return "m.jsonl"


@pytest.mark.parametrize("word", ["NA", "N/A", "nan", "NULL", "-", "?", "None", "#N/A", ".", " NA "])
def test_a_word_among_numbers_or_times_is_missing(tmp_path: Path, word: str) -> None:
    uri = csv_of(
        tmp_path,
        whole=["1", word, "3"],
        float=[word, "2.5", "-3e4"],
        day=["2024-01-01", "2024-01-02", word],
        time=["2024-01-01T10:00:00Z", word, word],
    )
    table, findings = read(tmp_path, uri)
    kinds = [pa.int64(), pa.float64(), pa.date32(), pa.timestamp("us", "UTC")]
    assert table.schema.types == kinds and [each.null_count for each in table.columns] == [1, 1, 1, 2]
    finding = findings[FOUND]
    assert finding.count == 5 and "data.options.missing: []" in finding.detail
    assert finding.rows[0] == f"whole: {word!r} (1): row 1" and finding.rows[3] == f"time: {word!r} (2): row 1, row 2"


def test_columns_of_words_keep_them(tmp_path: Path) -> None:
    columns = {
        "country": ["DE", "NA", "FR"],
        "flag": ["true", "false", "NA"],
        "code": ["007", "NA", "012"],
        "nothing": ["NA", "NA", "-"],
        "odd": ["1", "NA", "2 kg"],
    }
    table, findings = read(tmp_path, csv_of(tmp_path, **columns))
    assert table.to_pydict() == columns and FOUND not in findings
    label = Intake(as_written=frozenset({"n"}))
    for uri in (csv_of(tmp_path, n=["1", "NA", "3"]), json_of(tmp_path, n=["1", "NA", "3"])):
        table, findings = read(tmp_path, uri, label)
        assert table["n"].to_pylist() == ["1", "NA", "3"] and FOUND not in findings


def test_a_late_word_changes_no_column(tmp_path: Path) -> None:
    numbers = [str(i % 977) for i in range(100_000)]
    uri = csv_of(tmp_path, n=[*numbers, "NA", "7"], m=[*numbers, "n/a", "seven"])
    table, findings = read(tmp_path, uri)
    assert table["n"].type == pa.int64() and table["n"].null_count == 1 and table["n"][100_001].as_py() == 7
    assert table["m"].to_pylist()[-2:] == ["n/a", "seven"]
    assert findings[FOUND].rows == ["n: 'NA' (1): row 100000"]
    values: list[Any] = [*range(12_000), "NA", 3.5]
    table, findings = read(tmp_path, json_of(tmp_path, n=values, m=["NA"] * 6_000 + values[6_000:]))
    assert table["n"].type == table["m"].type == pa.float64()
    assert table["n"].null_count == 1 and table["m"].null_count == 6_001
    assert findings[FOUND].rows[0] == "n: 'NA' (1): m.jsonl line 12001"


def test_json_of_words_alone_or_of_other_texts_stays(tmp_path: Path) -> None:
    table, findings = read(tmp_path, json_of(tmp_path, n=["NA"] * 6_000 + ["x"], m=["NA"] * 6_001))
    assert table["n"].to_pylist()[-2:] == ["NA", "x"] and table["m"].type == pa.string() and FOUND not in findings
    with pytest.raises(DataError, match=r"m\.jsonl line 2: the value of column 'n' does not fit"):
        read(tmp_path, json_of(tmp_path, n=[1, "seven", "NA"]))
    with pytest.raises(DataError, match="does not fit the values before it"):
        read(tmp_path, json_of(tmp_path, n=["NA"] * 6_000 + [[1]]))


def test_the_words_of_the_project_replace_ours(tmp_path: Path) -> None:
    for uri in (csv_of(tmp_path, n=["1", "NA", "-999"]), json_of(tmp_path, n=[1, "NA", -999])):
        assert read(tmp_path, uri)[0]["n"].to_pylist() == [1, None, -999]
        table, findings = read(tmp_path, uri, missing=["NA", -999])
        assert table["n"].to_pylist() == [1, None, None] and findings[FOUND].count == 2
    table, findings = read(tmp_path, csv_of(tmp_path, n=["1", "NA"], m=["-999", "-999"]), missing=[-999])
    assert table["n"].to_pylist() == ["1", "NA"] and table["m"].to_pylist() == [-999, -999] and FOUND not in findings
    assert read(tmp_path, "m.csv", missing=[])[0]["n"].to_pylist() == ["1", "NA"]
    with pytest.raises(DataError, match="does not fit the values before it"):
        read(tmp_path, json_of(tmp_path, n=[1, "NA"]), missing=[])
    for wrong in ("NA", [False], [None]):
        with pytest.raises(UsageError, match=r"options\.missing"):
            read(tmp_path, "m.csv", missing=wrong)


def test_declared_numbers_and_times_lose_the_words(tmp_path: Path) -> None:
    types = {"n": "double", "w": "timestamp"}
    for uri in (
        csv_of(tmp_path, n=["007", "NA", "1"], w=["2024-01-01", "2024-01-01 10:00", "-"]),
        json_of(tmp_path, n=["007", "NA", 1], w=["2024-01-01", "2024-01-01 10:00", "-"]),
    ):
        table, findings = read(tmp_path, uri, types=types)
        assert table["n"].to_pylist() == [7, None, 1] and table["w"].null_count == 1
        assert findings[FOUND].count == 2
    with pytest.raises(DataError, match="'NA'"):
        read(tmp_path, csv_of(tmp_path, n=["007", "NA", "1"]), types={"n": "double"}, missing=[])


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
def test_a_whole_number_beyond_64_bits_is_named(tmp_path: Path, number: int) -> None:
    uri = json_of(tmp_path, n=[1, number, 3])
    with pytest.raises(
        DataError, match=r"m\.jsonl line 2: the value of column 'n' is a whole number beyond 64 bits"
    ) as no:
        read(tmp_path, uri)
    assert "{types: {n: double}}" in no.value.remedy
    if number < 2**1000:
        assert read(tmp_path, uri, types={"n": "double"})[0]["n"].to_pylist() == [1, float(number), 3]
    else:
        with pytest.raises(DataError, match="is not of type double"):
            read(tmp_path, uri, types={"n": "double"})
    (tmp_path / "m.jsonl").write_text('{"n": 1}\n{"n": ' + "9" * 5000 + "}\n")
    with pytest.raises(DataError, match=r"line 2: a number has more than 4,300 digits"):
        read(tmp_path, uri)


def test_forms_that_coincide_are_found_beside_words(tmp_path: Path) -> None:
    table, findings = read(tmp_path, csv_of(tmp_path, n=["1.0", "1.00", "NA"]))
    assert table["n"].to_pylist() == [1, 1, None] and {*findings} == {FOUND, "written_forms"}
