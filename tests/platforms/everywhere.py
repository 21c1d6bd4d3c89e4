"""What every platform's proof needs: a project whose rows, workspace and tracking are where several machines see them,
the wheel in an environment of its own, and what the same project gives when it runs here."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

import lakewright as lw
from conftest import free_port, sentences
from lakewright.records import Report

ROOT = Path(__file__).parents[2]
PASSING, FAILING = 0.8, 1.01  # least accuracies: no model is better than perfect


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory, mlflow_template: Path) -> Iterator[str]:
    """The address of a real MLflow server, which keeps runs, models and their files."""
    folder, port = tmp_path_factory.mktemp("mlflow server"), free_port()
    (folder / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        for _ in range(1800):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise AssertionError(f"mlflow server did not come up: {(folder / 'log').read_text()}")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(60)


@dataclass(frozen=True)
class Everywhere:
    """A project in a folder, and where its rows and its workspace lie: on S3 (moto's), with a real MLflow server."""

    folder: Path
    workspace: str  # s3://…
    tracking: str
    environment: Mapping[str, str]  # the storage options, as every process needs them

    @property
    def project(self) -> Path:
        return self.folder / "project.yml"

    def profile(self, name: str, target: dict[str, Any], **more: Any) -> None:
        """Adds a profile to profiles.yml."""
        path = self.folder / "profiles.yml"
        known = yaml.safe_load(path.read_text()) if path.exists() else {"profiles": {}}
        known["profiles"][name] = {
            "target": target,
            "workspace": self.workspace,
            "tracking": self.tracking,
            "storage_options": {option: f"${{env:{option}}}" for option in self.environment},
            "device": "cpu",
            "threads": 1,
            **more,
        }
        path.write_text(yaml.safe_dump(known, sort_keys=False))


@pytest.fixture
def everywhere(tmp_path: Path, s3: dict[str, str], mlflow_server: str, monkeypatch: pytest.MonkeyPatch) -> Everywhere:
    """A small linear project, in seconds; the current folder is its own, and the environment is set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakewright.data.sources.files import file_system

    folder, name = tmp_path / "project", f"things_{uuid4().hex[:8]}"
    folder.mkdir()
    system, _ = file_system("s3://lake", s3)
    pq.write_table(pa.Table.from_pylist(sentences(300)), f"lake/{name}/things.parquet", filesystem=system)
    project = {
        "name": name,
        "schema": "main.demo",
        "task": "text_classification",
        "data": {
            "source": f"s3://lake/{name}/things.parquet",
            "columns": {"text": "text", "label": "label", "id": "id"},
        },
        "train": {"learner": "linear"},
        "evaluate": {"resamples": 100},
        "gate": {"minimum": {"accuracy": PASSING}},
    }
    (folder / "project.yml").write_text(yaml.safe_dump(project, sort_keys=False))
    for option, value in s3.items():
        monkeypatch.setenv(option, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "this machine"))
    monkeypatch.chdir(folder)
    return Everywhere(folder, f"s3://lake/{name}/workspace", mlflow_server, s3)


def metrics_here(everywhere: Everywhere) -> Any:
    """The project's metrics when all of it runs on this machine, in a workspace of its own, approximately: in a process
    of its own numpy's BLAS may have other threads and sum in another order, which moves the seventh digit."""
    everywhere.profile("here", {"name": "local"}, workspace="here", tracking=None)
    report = lw.run(everywhere.project, profile="here").report
    return pytest.approx(values(report), rel=1e-5)


def values(report: Report) -> dict[str, float]:
    return {name: metric.value for name, metric in report.metrics.items()}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's wheel, built from its source."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True)
    return next(folder.glob("lakewright-*.whl"))


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that has the wheel, and not this source; other packages are those installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = folder / "bin" / "lakewright"
    command.write_text(f"#!{python}\nfrom lakewright.cli import main\nmain()\n")
    command.chmod(0o755)
    said = subprocess.run(
        [python, "-c", "import lakewright; print(lakewright.__file__)"], capture_output=True, text=True
    )
    assert Path(said.stdout.strip()).is_relative_to(site), said
    return folder / "bin"
