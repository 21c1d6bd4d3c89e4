"""Every example goes to every platform as it is: nothing is wrong with it, and what would be sent is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from lakewright import plugins
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets.checks import problems
from lakewright.targets.files import REQUESTS, texts, write

EXAMPLES = Path(__file__).parents[2] / "examples"
PROJECTS = sorted(path.parent.name for path in EXAMPLES.glob("*/project.yml"))
TARGETS = [name for name in plugins.TARGETS.names() if name != "local"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PROJECTS)
def test_an_example_can_be_sent(name: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    local = load_project(name).data.source in (f"{name}.parquet",)  # the user's own copy of a public set
    moved = [f"data.source=s3://company/{name}.parquet"] if local else []
    project, profile = load_project(name, moved), load_profile(target)
    assert not [problem for problem in problems(project, profile) if problem.kind == "error"]
    told = texts(plugins.TARGETS.find(target).deployment(project, profile))
    assert any(name in text for text in told.values())
    assert "MinAccuracyValue" in "".join(told.values()) or "accuracy" not in project.gate.minimum
    files = {"databricks": "databricks.yml", "sagemaker": "pipeline.json", "azureml": "pipeline.yml"}
    assert files[target] in told and (target == "azureml" or REQUESTS in told)


@pytest.mark.parametrize("target", TARGETS)
def test_a_package_that_is_a_source_goes_along(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("banking77/project.yml", "profiles.yml"):
        (tmp_path / Path(name).name).write_text((EXAMPLES / name).read_text())
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "source.py").write_text("# a package's module\n")
    monkeypatch.chdir(tmp_path)
    deployment = plugins.TARGETS.find(target).deployment(load_project(tmp_path), load_profile(target))
    write(deployment, tmp_path / "out")
    (found,) = (tmp_path / "out").rglob("rows/source.py")
    assert found.read_text() == "# a package's module\n"
    again = plugins.TARGETS.find(target).deployment(load_project(tmp_path), load_profile(target))
    assert again == deployment  # what was written out is not sent
