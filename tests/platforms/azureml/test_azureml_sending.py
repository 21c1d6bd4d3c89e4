"""What is sent is what was written, in an order that works; a client that records stands for the workspace."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from conftest import greeting_model
from lakewright.api.places import opener
from lakewright.errors import LakewrightError, ProfileError
from lakewright.model.folder import digest_of
from lakewright.plugins import TARGETS
from lakewright.registry.versions import register, set_alias
from lakewright.settings.profile import load_profile
from lakewright.settings.project import load_project
from lakewright.targets.azureml import pipeline, sending
from lakewright.workspace import Workspace

ONLINE = {"name": "greetings", "blue": {"traffic": 90, "model": "1"}, "green": {"traffic": 10}}


class Recorded:
    """One of MLClient's collections: what was made, in `all` with the others'."""

    def __init__(self, kind: str, everything: list[tuple[str, Any]]) -> None:
        self.kind, self.everything, self.there = kind, everything, list[Any]()

    def create_or_update(self, entity: Any) -> Any:
        seen = dict(entity.traffic) if hasattr(entity, "traffic") else entity
        self.everything.append((self.kind, seen))
        if self.kind == "model":
            entity.version = str(len(self.there) + 1)
        self.there.append(entity)
        return entity

    def begin_create_or_update(self, entity: Any) -> Any:
        made = self.create_or_update(entity)
        return SimpleNamespace(result=lambda: made)

    def list(self, name: str | None = None, parent_job_name: str | None = None) -> list[Any]:
        return [each for each in self.there if getattr(each, "parent", None) == parent_job_name]


class Client(SimpleNamespace):
    def __init__(self) -> None:
        self.everything: list[tuple[str, Any]] = []
        kinds = {
            "compute": "cluster", "environments": "environment", "data": "data", "schedules": "schedule",
            "models": "model", "online_endpoints": "endpoint", "online_deployments": "deployment",
            "batch_endpoints": "batch endpoint", "batch_deployments": "batch deployment", "jobs": "job",
        }  # fmt: skip
        super().__init__(**{name: Recorded(kind, self.everything) for name, kind in kinds.items()})


@pytest.fixture
def place(tmp_path: Path, mlflow_template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    target = {
        "name": "azureml", "subscription": "s", "resource_group": "g", "workspace": "w", "location": "westeurope",
        "schedule": "0 5 * * 1", "online": ONLINE, "batch": {"name": "greetings-batch"},
    }  # fmt: skip
    profiles = {"default": "prod", "profiles": {"prod": {"target": target, "workspace": ".lakewright"}}}
    (tmp_path / "profiles.yml").write_text(yaml.safe_dump(profiles))
    project = {
        "name": "greetings",
        "schema": "main.demo",
        "task": "text_classification",
        "data": {"source": "abfss://raw@ours.dfs.core.windows.net/x", "columns": {"text": "text", "label": "label"}},
        "train": {"learner": "linear"},
    }
    (tmp_path / "project.yml").write_text(yaml.safe_dump(project))
    (tmp_path / ".lakewright").mkdir()
    (tmp_path / ".lakewright" / "mlflow.db").write_bytes(mlflow_template.read_bytes())
    return tmp_path


def champion(place: Path, weight: float) -> None:
    """A model version made elsewhere, approved."""
    workspace = Workspace.open(load_profile(None, place))
    folder = greeting_model(place / f"model-{weight}", weight)
    run = workspace.tracking.start("main.demo.greetings", f"run {weight}", {})
    version = register(
        workspace.tracking, run_id=run, folder=folder, digest=digest_of(folder), name="main.demo.greetings",
        alias="challenger", tags={}, example=[{"text": "Good morning!"}],
    )  # fmt: skip
    set_alias(workspace.tracking, version.name, "champion", version.version)


def send(client: Client, place: Path) -> list[str]:
    project, profile = load_project(place / "project.yml"), load_profile(None, place)
    target = TARGETS.find("azureml")
    settings: Any = profile.target
    return list(sending.send(client, target.deployment(project, profile), project, opener(profile), settings))  # type: ignore[arg-type]


def test_before_a_model_is_approved_endpoints_wait(place: Path) -> None:
    client = Client()
    lines = send(client, place)
    kinds = [kind for kind, _ in client.everything]
    assert kinds == ["cluster", "cluster", "environment", "environment", "environment", "schedule"]
    assert "has no champion yet" in lines[-1]
    schedule = client.everything[-1][1]
    assert schedule.trigger.expression == "0 5 * * 1"
    assert list(schedule.create_job.jobs) == ["ingest", "prepare", "train", "evaluate", "gate", "register"]


def test_the_champion_becomes_the_newest_model_asset_and_traffic_comes_last(place: Path) -> None:
    champion(place, 5.0)
    client = Client()
    send(client, place)
    kinds = [kind for kind, _ in client.everything]
    assert kinds[6:] == [
        "model", "endpoint", "deployment", "deployment", "endpoint", "batch endpoint", "batch deployment"
    ]  # fmt: skip
    traffic = [seen for kind, seen in client.everything if kind == "endpoint"]
    assert traffic == [{}, {"blue": 90, "green": 10}]  # not to deployments that are not there yet
    (model,) = client.models.there
    assert (model.name, model.type) == ("main-demo-greetings", "custom_model")
    assert digest_of(Path(model.path)) == model.tags["lakewright.digest"]
    blue, green = client.online_deployments.there
    assert (blue.model, green.model) == ("main-demo-greetings:1", "main-demo-greetings@latest")  # without azureml:

    # Sent again, the asset and the endpoint that are there stay; another champion is another version.
    send(client, place)
    assert len(client.models.there) == 1
    champion(place, 7.0)
    send(client, place)
    assert [each.version for each in client.models.there] == ["1", "2"]
    assert client.models.there[0].tags != client.models.there[1].tags


def test_what_is_started_has_the_values_that_were_given(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    monkeypatch.setattr(sending, "connect", lambda settings: client)
    project, profile = load_project(place / "project.yml"), load_profile(None, place)
    target = TARGETS.find("azureml")
    monkeypatch.setattr(client.jobs, "create_or_update", started := Started(client.jobs))
    execution = target.start(project, profile, {"Seed": "5", "InputData": "abfss://other@ours.dfs.core.windows.net/x"})
    assert (execution.id, execution.status) == ("clever_fig_1", "waiting")
    inputs = started.job._to_dict()["inputs"]
    assert inputs["Seed"] == 5 and inputs["InputData"] == "abfss://other@ours.dfs.core.windows.net/x"
    settings: Any = profile.target
    for values, said in (
        ({"Sead": "5"}, "did you mean 'Seed'"),
        ({"Seed": "five"}, "the kind Integer"),
    ):
        with pytest.raises(ProfileError) as refused:
            pipeline.quoted(project, settings, values)
        assert said in str(refused.value)
    assert pipeline.quoted(project, settings, {"InputData": "it's"})["InputData"] == r'"it\U00000027s"'


@pytest.mark.parametrize("kind", ["online", "batch"])
def test_an_endpoint_of_another_project_is_left_alone(kind: str, place: Path) -> None:
    champion(place, 5.0)
    client = Client()
    name = {"online": "greetings", "batch": "greetings-batch"}[kind]
    there = getattr(client, f"{kind}_endpoints").there
    for tags, whose in (
        ({"lakewright.project": "main.sales.greetings"}, r"is of the project main\.sales\.greetings"),
        ({}, "was not made by Lakewright"),
        (None, "was not made by Lakewright"),
    ):
        there[:] = [SimpleNamespace(name=name, tags=tags, parent=None), SimpleNamespace(name="x", tags={}, parent=None)]
        with pytest.raises(ProfileError, match=f"the {kind} endpoint {name} {whose}") as refused:
            send(client, place)
        assert f"target.{kind}.name" in refused.value.remedy and client.everything == []
    there[:] = [SimpleNamespace(name=name, tags={"lakewright.project": "main.demo.greetings"}, parent=None)]
    send(client, place)


def test_a_model_asset_of_another_model_is_left_alone(place: Path) -> None:
    champion(place, 5.0)
    client = Client()
    tags = {"lakewright.model_version": "main.sales.greetings version 3"}
    client.models.there.append(SimpleNamespace(name="main-demo-greetings", version="1", tags=tags, parent=None))
    with pytest.raises(ProfileError, match=r"model asset main-demo-greetings serves main\.sales\.greetings"):
        send(client, place)
    assert not {"model", "endpoint", "batch endpoint"} & {kind for kind, _ in client.everything}


def test_who_is_not_signed_in_is_told_so_in_a_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    settings: Any = load_profile(None, place).target
    with pytest.raises(LakewrightError) as failure, sending.answered(settings):
        raise ClientAuthenticationError("DefaultAzureCredential failed.\nAttempted credentials:\n\tEnvironment…\n" * 5)
    assert failure.value.cause == "signing in to Azure failed: DefaultAzureCredential failed."
    assert "az login" in failure.value.remedy


class Started:
    """Azure ML names a job that has no name, and says how it stands."""

    def __init__(self, jobs: Recorded) -> None:
        self.jobs, self.job = jobs, None

    def __call__(self, job: Any) -> Any:
        self.job = job
        return SimpleNamespace(name="clever_fig_1", status="NotStarted", creation_context=None, studio_url="https://x")


def test_executions_and_their_logs(place: Path, tmp_path: Path) -> None:
    client = Client()
    project = load_project(place / "project.yml")
    ours = {"lakewright.project": "main.demo.greetings"}

    def job(name: str, status: str, hour: int, tags: dict[str, str]) -> Any:
        made = SimpleNamespace(created_at=datetime(2026, 11, 1, hour, tzinfo=UTC))
        return SimpleNamespace(name=name, status=status, tags=tags, creation_context=made, studio_url=f"https://{name}")

    def step(name: str, status: str, parent: str) -> Any:
        return SimpleNamespace(name=f"{parent}-{name}", display_name=name, status=status, parent=parent)

    client.jobs.there = [
        job("old", "Completed", 1, ours), job("new", "Failed", 3, ours), job("others", "Running", 2, {}),
        step("prepare", "Failed", "new"), step("ingest", "Completed", "new"),
    ]  # fmt: skip
    new, old = sending.executions(client, project)  # type: ignore[arg-type]
    assert (new.id, new.status, new.began) == ("new", "failed", "2026-11-01T03:00:00+00:00")
    assert new.stages == {"prepare": "failed", "ingest": "done"} and "prepare" in new.why
    assert (old.id, old.status, old.stages) == ("old", "done", {})

    (tmp_path / "std_log.txt").write_text("one\ntwo\n")
    files = {"user_logs/std_log.txt": (tmp_path / "std_log.txt").as_uri(), "system_logs/x.txt": "file:///nothing"}
    client.jobs._runs_operations = SimpleNamespace(get_run_details=lambda name: SimpleNamespace(log_files=files))
    lines = list(sending.log(client, new))  # type: ignore[arg-type]
    assert lines == ["ingest: one", "ingest: two", "prepare: one", "prepare: two"]


def test_every_status_of_azures_has_a_meaning() -> None:
    from azure.ai.ml._restclient.v2024_01_01_preview.models import JobStatus

    assert {status.value for status in JobStatus} == sending.STATUS.keys()


def test_what_azure_refuses_is_told_as_an_error_of_ours(place: Path) -> None:
    from azure.core.exceptions import ClientAuthenticationError

    settings: Any = load_profile(None, place).target
    with pytest.raises(LakewrightError, match="no token") as told, sending.answered(settings):
        raise ClientAuthenticationError("no token")
    assert "resource group" in told.value.remedy
