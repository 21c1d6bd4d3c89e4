"""Products with few rows each, known by the company that they keep: vectors of categories beside the categories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import lakewright as lw
from lakewright.model.predictor import Predictor


def sales() -> pa.Table:
    """A product's sort decides whether it comes back; its city and color show the sort in three rows of five."""
    draw = np.random.default_rng(8)
    product = np.repeat(np.arange(400), 6)
    sort, rows = product % 4, len(product)
    shown = [np.where(draw.random(rows) < 0.6, sort, draw.integers(0, 4, rows)) for _ in range(2)]
    return pa.table(
        {
            "product": [f"p{each}" for each in product],
            "city": [f"c{4 * draw.integers(0, 5) + each}" for each in shown[0]],
            "color": [None if at % 40 == 0 else f"r{each}" for at, each in enumerate(shown[1])],
            "back": (sort < 2) ^ (draw.random(rows) < 0.1),
        }
    )


def project(recipe: dict[str, Any]) -> Path:
    described = {
        "name": "sales",
        "schema": "main.shop",
        "task": "classification",
        "data": {
            "source": "sales.parquet",
            "columns": {"label": "back", "categories": ["product", "city", "color"], "others": False},
        },
        "prepare": {"recipe": recipe, "duplicates": "keep"},
        "train": {"learner": "trees"},
        "evaluate": {"resamples": 100},
        "gate": {},
    }
    file = Path("sales.yml")
    file.write_text(yaml.safe_dump(described))
    return file


def test_products_are_known_by_their_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(sales(), "sales.parquet")
    plain = lw.run(project({}))
    vectors = {"inputs": ["product", "city", "color"], "dimensions": 4}
    run = lw.run(project({"category_vectors": vectors, "native": {"inputs": ["city", "color"]}}))
    before, after = (each.report.metrics["roc_auc"].value for each in (plain, run))
    assert after > before + 0.02
    predictor = Predictor.open(run.model_folder)
    rows: list[dict[str, Any]] = [
        {"product": "p4", "city": "c1", "color": "r2"},
        {"product": "p7", "city": "c1", "color": None},
        {"product": "never seen", "city": "c0", "color": "r0"},
        {"product": None, "city": None, "color": None},
    ]
    together = predictor.predict(rows)
    assert [predictor.predict([row])[0] for row in rows] == together and together[3]["label"] is None
    table = predictor.predict_table(pa.Table.from_pylist(rows)).to_pylist()
    assert [row["label"] for row in table] == [each["label"] for each in together]
    (explained, *_) = predictor.explain(rows, together, 3)
    assert "product" in {each["input"] for each in explained["reasons"]}
