"""A registered model as a function of Spark: `mlflow.pyfunc.spark_udf` gives what `score` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_a_million_rows import TABLE, project_of, rows_of
from test_places import stop_sessions

import clusters
import lakewright as lw
from lakewright import Workspace, load_profile
from lakewright.workers.spark import SparkSettings, session_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not())]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster")) as url:
        session = session_of(SparkSettings(url=url))
        yield session
        session.stop()
        stop_sessions()


@pytest.mark.parametrize("learner", ["linear", "trees", "encoder"])
def test_it_gives_what_score_writes(
    session: Any, learner: str, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    monkeypatch.chdir(tmp_path)
    Path("profiles.yml").write_text(yaml.safe_dump({"default": "one", "profiles": {"one": {"workspace": "all"}}}))
    workspace = Workspace.open(load_profile())
    workspace.lake.write(TABLE, rows_of(3000))
    project = project_of(tmp_path, learner, tiny_base)
    ran = lw.run(project, settings=["prepare.split.test=0.1", "prepare.split.validation=0.1"])
    assert ran.error is None
    version = ran.records["register"]
    scored = lw.score(f"models:/{version.name}@champion", TABLE, id="id")  # type: ignore[attr-defined]
    expected = {row["record_id"]: row for row in workspace.lake.read(scored.output).to_pylist()}

    mlflow.set_tracking_uri(f"sqlite:///{(workspace.folder / 'mlflow.db').resolve()}")
    given = workspace.lake.read(workspace.lake.version(TABLE))
    uri = f"models:/{version.name}@champion"  # type: ignore[attr-defined]
    inputs = mlflow.models.get_model_info(uri).signature.inputs.input_names()
    kind = "string" if learner == "trees" else "label string, confidence double"
    predict = mlflow.pyfunc.spark_udf(session, uri, result_type=kind, env_manager="local")
    rows = session.createDataFrame(given.select(["id", *inputs]).to_pandas()).repartition(4)
    found = rows.withColumn("prediction", predict(*inputs)).select("id", "prediction").collect()
    assert len(found) == len(expected) == 3000
    for row in found:
        theirs = expected[row["id"]]
        if learner == "trees":
            assert row["prediction"] == theirs["label"]
        else:
            assert row["prediction"]["label"] == theirs["label"]
            assert row["prediction"]["confidence"] == pytest.approx(theirs["confidence"], abs=1e-6)
