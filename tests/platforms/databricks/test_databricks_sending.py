"""Deploying to a strict Databricks through the real databricks-sdk; and what `lakewright check` sees before that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakewright.api.places import opener
from lakewright.errors import LakewrightError, NotFound, ProfileError
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets.databricks import TARGET
from lakewright.workspace.tracking import Tracking
from platforms.databricks.given import SMALL, WHO, WHOLE, banking
from platforms.databricks.server import TOKEN, served
from platforms.databricks.workspace import Databricks


@pytest.fixture
def databricks(tmp_path: Path, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> Iterator[Databricks]:
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    monkeypatch.setenv("HOME", str(tmp_path))  # nobody's ~/.databrickscfg
    with served(Databricks(tmp_path / ".databricks", tracking.tracking_uri)) as workspace:
        yield workspace


def deploy(project: Project, profile: Profile) -> list[str]:
    return [*TARGET.deploy(TARGET.deployment(project, profile), project, profile, opener(profile))]


def test_all_that_a_profile_can_have_is_made_and_sent_again_changes_nothing(
    databricks: Databricks, tmp_path: Path
) -> None:
    (tmp_path / "source.py").write_text("def rows(): ...\n")
    loaded = banking(tmp_path, {**WHOLE, "host": databricks.host})
    lines = deploy(*loaded)
    assert [job["name"] for job in databricks.jobs.values()] == [
        "main.bank.banking77",
        "main.bank.banking77 base models",
        "main.bank.banking77 approval",
    ]
    stages, base_models, approval = databricks.jobs
    starts = [task["run_job_task"] for task in databricks.jobs[base_models]["tasks"]]
    assert [start["job_id"] for start in starts] == [stages, stages]
    assert starts[1]["job_parameters"] == {
        "BaseModel": "google-bert/bert-base-uncased",
        "Model": "main.bank.banking77_bert",
    }
    assert {*databricks.catalog} == {
        "schemas/main.bank",
        "volumes/main.bank.lakewright",
        "models/main.bank.banking77",
        "models/main.bank.banking77_minilm",
        "models/main.bank.banking77_bert",
    }
    assert "CREATE_MODEL" in databricks.grants["main.bank"][WHO]
    assert databricks.grants["main.bank.banking77"] == {"analysts": {"EXECUTE"}}
    assert databricks.deployment_jobs["main.bank.banking77"] == str(approval)
    (cluster,) = databricks.clusters.values()
    assert cluster["autotermination_minutes"] == 120
    assert [*databricks.experiments] == ["/Shared/main.bank.banking77"]
    folder = databricks.file("/Shared/lakewright/main.bank.banking77")
    assert sorted(path.name for path in folder.iterdir()) == [
        "approval.py",
        "profiles.yml",
        "project.yml",
        "source.py",
    ]
    assert lines[-1].startswith("model main.bank.banking77_bert")
    assert any("waits for a version" in line for line in lines)

    before = json.dumps([databricks.jobs, databricks.catalog, databricks.clusters], default=str)
    databricks.calls.clear()
    again = deploy(*loaded)
    assert again == [line for line in lines if "waits for a version" in line]
    assert json.dumps([databricks.jobs, databricks.catalog, databricks.clusters], default=str) == before
    assert {path for _, path in databricks.calls} == {"/api/2.0/workspace/mkdirs", "/api/2.2/jobs/reset"}


def test_what_was_changed_is_changed_there(databricks: Databricks, tmp_path: Path) -> None:
    target = {**WHOLE, "host": databricks.host}
    deploy(*banking(tmp_path, target))
    changed = {**target, "schedule": None, "interactive": {"node_type": "m5.xlarge"}}
    lines = deploy(*banking(tmp_path, changed, ("register.approval=manual", "train.seed=7")))
    stages = next(iter(databricks.jobs))
    assert f"job main.bank.banking77: changed, {stages}" in lines
    assert "cluster main.bank.banking77: changed" in lines
    assert next(line for line in lines if "profiles.yml" in line).endswith("uploaded")
    assert "schedule" not in databricks.jobs[stages]
    assert {each["name"]: each["default"] for each in databricks.jobs[stages]["parameters"]}["Seed"] == "7"
    assert [each["node_type_id"] for each in databricks.clusters.values()] == ["m5.xlarge"]


def test_the_endpoint_serves_the_versions_that_have_the_aliases(databricks: Databricks, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    client, name = MlflowClient(databricks.registry, databricks.registry), "main.bank.banking77"
    client.create_registered_model(name)
    for _ in range(2):
        client.create_model_version(name, source="s3://models/x")
    client.set_registered_model_alias(name, "champion", "1")
    endpoint = {"traffic": {"champion": 90, "challenger": 10}, "inference_table": "asked"}
    loaded = banking(tmp_path, {**SMALL, "host": databricks.host, "endpoint": endpoint}, ())
    assert deploy(*loaded)[-1] == (
        "endpoint main-bank-banking77: waits for a version of main.bank.banking77 with the alias challenger; "
        "deploy again after that"
    )
    client.set_registered_model_alias(name, "challenger", "2")
    assert deploy(*loaded) == ["endpoint main-bank-banking77: made"]
    made = databricks.endpoints["main-bank-banking77"]
    assert [(each["name"], each["entity_version"]) for each in made["config"]["served_entities"]] == [
        ("champion", "1"),
        ("challenger", "2"),
    ]
    assert made["config"]["served_entities"][0]["scale_to_zero_enabled"] is True
    assert made["ai_gateway"]["inference_table_config"]["table_name_prefix"] == "asked"
    assert deploy(*loaded) == []
    client.set_registered_model_alias(name, "champion", "2")
    assert deploy(*loaded) == ["endpoint main-bank-banking77: changed"]
    assert made["config"]["served_entities"][0]["entity_version"] == "2"


def registered(databricks: Databricks, name: str) -> None:
    """A model with a version that is the champion."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(databricks.registry, databricks.registry)
    client.create_registered_model(name)
    client.create_model_version(name, source="s3://models/x")
    client.set_registered_model_alias(name, "champion", "1")


def of_schema(folder: Path, schema: str, target: dict[str, Any]) -> tuple[Project, Profile]:
    """examples/banking77 in another schema, in a folder of its own."""
    folder.mkdir()
    return banking(folder, target, (f"schema={schema}",))


def test_an_endpoint_of_another_project_is_left_alone(databricks: Databricks, tmp_path: Path) -> None:
    """By its tag; without one, by the model that it serves."""
    schemas = ("main.support", "main.sales")
    for schema in schemas:
        registered(databricks, f"{schema}.banking77")
    named = {**SMALL, "host": databricks.host, "endpoint": {"name": "messages"}}
    support, sales = (of_schema(tmp_path / schema, schema, named) for schema in schemas)
    assert "endpoint messages: made" in deploy(*support)
    for tags in ([{"key": "lakewright.project", "value": "main.support.banking77"}], None, []):
        databricks.endpoints["messages"]["tags"] = tags
        before = json.dumps([databricks.endpoints, databricks.jobs, databricks.catalog], default=str)
        databricks.calls.clear()
        with pytest.raises(ProfileError, match=r"the endpoint messages serves main\.support\.banking77") as refused:
            deploy(*sales)
        assert "target.endpoint.name" in refused.value.remedy
        assert json.dumps([databricks.endpoints, databricks.jobs, databricks.catalog], default=str) == before
        assert databricks.calls == []  # nothing at all was changed, nor uploaded
        assert deploy(*support) == []
    default = {**SMALL, "host": databricks.host, "endpoint": {}}
    for schema in schemas:
        loaded = of_schema(tmp_path / f"default {schema}", schema, default)
        assert f"endpoint {schema.replace('.', '-')}-banking77: made" in deploy(*loaded)


def test_jobs_and_clusters_that_are_not_ours_are_left_alone(databricks: Databricks, tmp_path: Path) -> None:
    loaded = banking(tmp_path, {**SMALL, "host": databricks.host, "interactive": {"node_type": "i3.xlarge"}})
    databricks.jobs[7] = {"name": "main.bank.banking77", "tags": {"team": "others"}, "tasks": []}
    with pytest.raises(ProfileError, match=r"the job main\.bank\.banking77 was not made by Lakewright"):
        deploy(*loaded)
    del databricks.jobs[7]
    databricks.clusters["c"] = {"cluster_name": "main.bank.banking77", "spark_version": "17.3.x-scala2.13"}
    with pytest.raises(ProfileError, match=r"the cluster main\.bank\.banking77 was not made by Lakewright"):
        deploy(*loaded)
    assert databricks.calls == []


def test_errors_say_what_to_do(databricks: Databricks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = banking(tmp_path, {**SMALL, "host": databricks.host})
    with pytest.raises(NotFound, match=r"no job main\.bank\.banking77"):
        TARGET.executions(*loaded, opener(loaded[1]))
    monkeypatch.setenv("DATABRICKS_TOKEN", "another")
    with pytest.raises(LakewrightError, match="answered"):
        deploy(*loaded)
    monkeypatch.delenv("DATABRICKS_TOKEN")
    with pytest.raises(LakewrightError, match="cannot reach") as failure:
        deploy(*loaded)
    assert "DATABRICKS_TOKEN" in failure.value.remedy


GRANTS = [{"securable": "schema", "to": WHO, "privileges": ["USE_SCHEMA", "SELECT"]}]


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"host": None}, "target", "no workspace is named"),
        ({"package": "dist/nothing-0.1.0-py3-none-any.whl"}, "package", "does not exist"),
        ({"cluster": {"node_type": "i3.xlarge", "access_mode": "NONE"}}, "access_mode", "Unity Catalog"),
        ({"cluster": {"node_type": "i3.xlarge", "gpu_node_type": "p3.2xlarge"}}, "gpu_node_type", "no longer exists"),
        ({"cluster": {"node_type": "i3.xlarge", "gpu_node_type": "Standard_NC6s_v3"}}, "gpu_node_type", "no longer"),
        ({"cluster": {"node_type": "i3.xlarge", "gpu_node_type": "standard_nv12"}}, "gpu_node_type", "no longer"),
        ({"cluster": {"node_type": "i3.xlarge", "workers": {"min": 6, "max": 4}}}, "workers", "min (6) is more than"),
        ({"cluster": {"node_type": "i3.xlarge", "gpu_node_type": "m5.xlarge"}}, "gpu_node_type", "no GPU"),
        (
            {"cluster": {"node_type": "i3.xlarge", "gpu_node_type": "g5.xlarge", "gpu_spark_version": "17.3.x-cpu"}},
            "gpu_spark_version",
            "no CUDA",
        ),
        ({"cluster": {"node_type": "g5.xlarge"}}, "node_type", "does not use"),
        ({"interactive": {"node_type": "i3.xlarge", "access_mode": "NONE"}}, "access_mode", "Unity Catalog"),
        ({"cluster": {"node_type": "i3.xlarge"}, "accelerator": "GPU_1xA10"}, "accelerator", "serverless"),
        ({"endpoint": {"traffic": {"champion": 90}}}, "traffic", "sums to 90"),
        ({"endpoint": {"traffic": {"Production": 100}}}, "traffic", "old registry"),
        ({"endpoint": {"traffic": {"challenger": 100}}}, "traffic", "nobody has approved"),
        ({"run_as": WHO, "grants": GRANTS}, "grants", "CREATE_MODEL, CREATE_TABLE, MODIFY"),
        ({"base_models": {"a b": "x"}, "max_concurrent_runs": 1}, "base_models", "end a model's name"),
    ],
)
def test_what_is_wrong_is_seen_and_where(
    changes: dict[str, Any], key: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    found = [*TARGET.problems(*banking(tmp_path, {**SMALL, **changes}))]
    problem = next(each for each in found if said in each.cause)
    lines = (tmp_path / "profiles.yml").read_text().splitlines()
    file, _, line = problem.where.partition(":")
    assert (file, problem.kind) == ("profiles.yml", "error")
    assert key in lines[int(line) - 1], (problem, lines[int(line) - 1])
    assert [each for each in found if each.kind == "error"] == [problem]


def test_a_machine_that_azure_retires_is_a_warning(tmp_path: Path) -> None:
    """As the target azureml has it: the clouds' facts stand once."""
    cluster = {"node_type": "i3.xlarge", "gpu_node_type": "Standard_ND24rs"}
    (problem,) = TARGET.problems(*banking(tmp_path, {**SMALL, "cluster": cluster}))
    assert problem.kind == "warning" and "Standard_ND24rs may be unavailable" in problem.cause


def test_nothing_is_wrong_with_a_whole_profile(tmp_path: Path) -> None:
    assert [*TARGET.problems(*banking(tmp_path, WHOLE))] == []


def test_what_the_profile_itself_refers_to_must_be_set_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KEY", "k")
    options = {"AWS_ACCESS_KEY_ID": "${env:LAKE_KEY}"}
    cluster = {**SMALL, "cluster": {"node_type": "i3.xlarge"}}
    (problem,) = TARGET.problems(*banking(tmp_path, cluster, storage_options=options))
    assert "storage_options needs LAKE_KEY" in problem.cause
    known = {**cluster, "environment": {"LAKE_KEY": "{{secrets/lake/key}}"}}
    assert [*TARGET.problems(*banking(tmp_path, known, storage_options=options))] == []


def test_the_old_registry_and_others_are_not_unity_catalog(tmp_path: Path) -> None:
    (problem,) = TARGET.problems(*banking(tmp_path, SMALL, registry=None))
    assert "stages and no grants" in problem.cause
    (problem,) = TARGET.problems(*banking(tmp_path, {**SMALL, "endpoint": {}}, registry="https://mlflow.example"))
    assert problem.remedy == "registry: databricks-uc"


def test_approval_waits_and_then_promotes(databricks: Databricks, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployment job's script, with a real MLflow registry and the endpoint of the server."""
    from mlflow.tracking import MlflowClient

    from lakewright.targets.databricks.approval import check, promote

    registry, name = databricks.registry, "main.bank.things"
    client = MlflowClient(registry, registry)
    client.create_registered_model(name)
    client.create_model_version(name, source="s3://models/x")
    with pytest.raises(PermissionError, match="not approved"):
        check(registry, name, "1", "approval")
    client.set_model_version_tag(name, "1", "approval", "Approved")
    check(registry, name, "1", "approval")
    served_one = {"name": "champion", "entity_name": name, "entity_version": "7", "workload_size": "Small"}
    routes = {"routes": [{"served_entity_name": "champion", "traffic_percentage": 100}]}
    databricks.endpoints["things"] = {"name": "things", "config": {"served_entities": [served_one]}}
    databricks.endpoints["things"]["config"]["traffic_config"] = routes
    monkeypatch.setenv("DATABRICKS_HOST", databricks.host)
    promote(registry, name, "1", "things")
    assert client.get_model_version_by_alias(name, "champion").version == 1
    assert databricks.endpoints["things"]["config"]["served_entities"][0]["entity_version"] == "1"
    served_one["entity_name"] = "main.bank.others"
    databricks.endpoints["things"]["config"]["served_entities"] = [served_one]
    with pytest.raises(PermissionError, match=r"serves main\.bank\.others, not main\.bank\.things"):
        promote(registry, name, "1", "things")
