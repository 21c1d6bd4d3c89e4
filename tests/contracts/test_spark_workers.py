"""Workers of Spark: the contract on a standalone cluster, a Connect server and Sail, and what ends with an error.

The standalone cluster comes first: once a process has had a session of Connect, PySpark starts no other kind in it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import clusters
from lakewright.errors import LakewrightError, UsageError
from lakewright.testing import WorkersCase, WorkersSuite
from lakewright.tune import SparkTrials, fmin, hp, minimize, search
from lakewright.workers.spark import SparkSettings, SparkWorkers
from projects import write_project_of_columns

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(clusters.why_not()), reason=clusters.why_not()),
]


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with clusters.standalone(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture(scope="class")  # stopped before a session of Connect begins
def on_cluster(master: str) -> Iterator[SparkWorkers]:
    workers = SparkWorkers.open(SparkSettings(url=master), 2)
    yield workers
    workers.session.stop()


@pytest.fixture(scope="module")
def on_connect(master: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkWorkers]:
    with clusters.connect_server(tmp_path_factory.mktemp("connect"), master) as url:
        workers = SparkWorkers.open(SparkSettings(url=url), 2)
        yield workers
        workers.session.stop()


@pytest.fixture(scope="module")
def on_sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkWorkers]:
    with clusters.sail(tmp_path_factory.mktemp("sail")) as url:
        workers = SparkWorkers.open(SparkSettings(url=url, processes=2), 2)
        yield workers
        workers.session.stop()


def finds_a_minimum(trials: SparkTrials) -> tuple[dict[str, Any], list[int]]:
    best = fmin(
        lambda x: {"loss": (x - 3) ** 2, "status": "ok", "pid": os.getpid()},
        hp.uniform("x", -10, 10),
        max_evals=20,
        trials=trials,
        rstate=7,
        verbose=False,
    )
    return best, [result["pid"] for result in trials.results]


def the_same_in_one_process() -> dict[str, Any]:
    found = minimize(lambda x: (x - 3) ** 2, hp.uniform("x", -10, 10), max_evals=20, max_queue_len=2, seed=7)
    return dict(found.point)


class Hidden(type(Path())):  # type: ignore[misc]
    """A folder of another machine: what is made in it is not there on the workers."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path, (f"/not-here{self}",)


class TestStandalone(WorkersSuite):
    @pytest.fixture
    def case(self, on_cluster: SparkWorkers, tmp_path: Path) -> WorkersCase:
        return WorkersCase(on_cluster, tmp_path)

    def test_there_are_as_many_as_cores(self, on_cluster: SparkWorkers) -> None:
        assert on_cluster.processes == 2 and on_cluster.threads(ahead=7) == 1

    def test_a_session_of_the_users_own_carries_fmin(self, on_cluster: SparkWorkers) -> None:
        best, pids = finds_a_minimum(SparkTrials(spark_session=on_cluster.session))
        assert abs(best["x"] - 3) < 1 and os.getpid() not in pids
        assert best == the_same_in_one_process()

    def test_a_projects_trials_are_those_of_this_machine(
        self, master: str, on_cluster: SparkWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        space = {"train.C": {"loguniform": [0.01, 100]}}
        write_project_of_columns(tmp_path, 300, tune={"trials": 6, "sampler": "random", "space": space})
        own = {"workspace": str(tmp_path / "here")}
        there = {"workspace": str(tmp_path / "there"), "workers": {"name": "spark", "url": master}}
        (tmp_path / "profiles.yml").write_text(yaml.safe_dump({"profiles": {"local": own, "spark": there}}), "utf-8")
        monkeypatch.chdir(tmp_path)
        here, on_spark = (search("project.yml", profile=profile) for profile in ("local", "spark"))
        assert len(on_spark.trials) == 6 and {trial.status for trial in on_spark.trials} == {"ok"}
        assert [(each.values, each.metric) for each in on_spark.trials] == [
            (each.values, each.metric) for each in here.trials
        ]

    def test_a_session_of_another_cluster_is_refused(self, on_cluster: SparkWorkers) -> None:
        with pytest.raises(UsageError, match=r"a session of Spark at spark://.* already, and local\[2\] is asked for"):
            SparkWorkers.open(SparkSettings(url="local[2]"), 2)

    def test_a_worker_that_does_not_see_a_folder(self, on_cluster: SparkWorkers, tmp_path: Path) -> None:
        on_cluster.reach(tmp_path)
        assert not list(tmp_path.iterdir())
        with pytest.raises(UsageError, match="do not see the folder"):
            on_cluster.reach(Hidden(tmp_path))
        assert not list(tmp_path.iterdir())

    def test_the_active_session_is_found(self, on_cluster: SparkWorkers) -> None:
        assert isinstance(SparkTrials().workers, SparkWorkers)
        assert SparkTrials(parallelism=1).workers.processes == 1


@pytest.mark.connect
class TestConnect(WorkersSuite):
    @pytest.fixture
    def case(self, on_connect: SparkWorkers, tmp_path: Path) -> WorkersCase:
        return WorkersCase(on_connect, tmp_path)

    def test_fmin_finds_the_same(self, on_connect: SparkWorkers) -> None:
        best, _ = finds_a_minimum(SparkTrials(parallelism=2, spark_session=on_connect.session))
        assert best == the_same_in_one_process()


@pytest.mark.connect
class TestSail(WorkersSuite):
    @pytest.fixture
    def case(self, on_sail: SparkWorkers, tmp_path: Path) -> WorkersCase:
        return WorkersCase(on_sail, tmp_path, separate=False)


def test_a_master_or_server_that_is_not_there() -> None:
    port = clusters.free_port()
    for url, what in (
        (f"spark://127.0.0.1:{port}", "no Spark master answers"),
        (f"sc://127.0.0.1:{port}", "no Connect"),
    ):
        with pytest.raises(UsageError, match=what) as failure:
            SparkWorkers.open(SparkSettings(url=url), 2)
        assert "workers: url" in failure.value.remedy


def test_no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UsageError, match="Spark needs Java"):
        SparkWorkers.open(SparkSettings(url="local[2]"), 2)


def test_databricks_is_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABRICKS_RUNTIME_VERSION", raising=False)
    with pytest.raises(UsageError, match="no notebook or job of Databricks"):
        SparkWorkers.open(SparkSettings(url="databricks"), 2)


def test_a_secret_in_the_url_is_refused() -> None:
    with pytest.raises(ValueError, match="put it into token"):
        SparkSettings(url="sc://host:443/;token=dapi0123456789abcdef0123456789abcdef")


@pytest.mark.connect
def test_workers_with_other_packages(on_connect: SparkWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.workers import spark

    versions = spark._versions
    monkeypatch.setattr(spark, "_versions", lambda: {**versions(), "numpy": "1.0"})
    with pytest.raises(UsageError, match=r"numpy 2[.\d]+, here 1\.0") as failure:
        SparkWorkers.of(on_connect.session, 1)
    assert "archives" in failure.value.remedy


@pytest.mark.connect
def test_a_server_that_goes_away(tmp_path: Path) -> None:
    with clusters.sail(tmp_path) as url:
        workers = SparkWorkers.open(SparkSettings(url=url, processes=2), 2)
        results = workers.map(abs, iter(range(100)), ahead=2)
        assert next(results) == 0
    with pytest.raises(LakewrightError, match="Spark could not compute a part") as failure:
        list(results)
    assert "run the same command again" in failure.value.remedy
    assert sys.exc_info() == (None, None, None)
