"""What once went wrong on the way to a platform: secrets in clear, files that were not meant, names that were shared,
values that a stage read as others."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lakewright import plugins
from lakewright.errors import LakewrightError, ProfileError, ProjectError, UsageError
from lakewright.pipeline.runs import LOG, log_to
from lakewright.records import Trained
from lakewright.settings.profile import Profile, load_profile
from lakewright.settings.project import Project, load_project
from lakewright.settings.yamlfile import value_of
from lakewright.system.paths import stays_inside
from lakewright.system.secrets import concealed, names_secret, secret_in
from lakewright.targets import Deployment, Problem
from lakewright.targets.checks import problems
from lakewright.targets.files import texts, write
from lakewright.targets.parameters import as_text
from lakewright.targets.project_files import shipped
from lakewright.workspace import Workspace
from lakewright.workspace.mirror import Mirror

PLACE = {"workspace": "s3://our-lake/lakewright", "tracking": "https://mlflow.example.org"}
TARGETS: dict[str, dict[str, Any]] = {
    "databricks": {"name": "databricks", "host": "https://example.cloud.databricks.com"},
    "sagemaker": {
        "name": "sagemaker",
        "region": "eu-west-1",
        "role": "arn:aws:iam::123456789012:role/stages",
        "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/lakewright:0.1.0",
    },
    "azureml": {"name": "azureml", "subscription": "s", "resource_group": "g", "workspace": "w"},
}
every_target = pytest.mark.parametrize("target", TARGETS)


def made(folder: Path, target: str, profile: Mapping[str, Any] = {}, **project: Any) -> tuple[Project, Profile]:
    """A small project, and a profile `prod` on the target; `profile` has more of it, its `target` more of that."""
    folder.mkdir(exist_ok=True)
    whole = {
        "name": "messages",
        "schema": "main.support",
        "task": "text_classification",
        "data": {"source": "s3://b/messages.csv", "columns": {"text": "message", "label": "topic"}},
        "train": {"learner": "linear"},
        "gate": {"minimum": {"accuracy": 0.5}},
        **project,
    }
    written = {**PLACE, **profile, "target": TARGETS[target] | profile.get("target", {})}
    (folder / "project.yml").write_text(yaml.safe_dump(whole, allow_unicode=True))
    (folder / "profiles.yml").write_text(yaml.safe_dump({"profiles": {"prod": written}}, allow_unicode=True))
    return load_project(folder / "project.yml"), load_profile("prod", folder)


def errors(project: Project, profile: Profile) -> list[Problem]:
    return [each for each in problems(project, profile) if each.kind == "error"]


def lakewright(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The command in this process: its exit code."""
    from lakewright.cli import main

    monkeypatch.setattr(sys, "argv", ["lakewright", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


# Secrets

FORMS = {
    "https://user:hunter2@mlflow.example.org": "a password in an address",
    "https://user:p@ss:w0rd@mlflow.example.org/x": "a password in an address",
    "redis://:hunter2@cache": "a password in an address",
    "git+https://tok3n@github.com/us/ours": "a token in an address",
    "https://ours.blob.core.windows.net/c/x.csv?sv=2024&sig=aBc%2BdEf": "a key or signature in an address",
    "https://b.s3.amazonaws.com/x?X-Amz-Signature=0123abcd": "a key or signature in an address",
    "AccountName=ours;AccountKey=aBcDeF==;": "a key or signature in an address",
    "the key is AKIAIOSFODNN7EXAMPLE": "an AWS access key",
    "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----": "a private key",
    "dapi0123456789abcdef0123456789abcdef": "an access token",
}


@pytest.mark.parametrize("text", FORMS)
def test_a_secret_is_known_by_its_form_and_concealed(text: str) -> None:
    assert secret_in(text) == FORMS[text]
    assert secret_in(concealed(text)) == ""
    for part in ("hunter2", "p@ss:w0rd", "tok3n", "aBc%2BdEf", "0123abcd", "aBcDeF", "AKIAIOSFODNN7EXAMPLE", "\nabc"):
        assert part not in concealed(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/a@b",
        "http://[::1]:5000/a@b",
        "abfss://lake@ours.dfs.core.windows.net/x",
        "postgresql://user@host/db",
        "https://{user}:{password}@host, https://$TOKEN@host",
        "s3://b/x?tokenizer=a&key_columns=b",
    ],
)
def test_no_secret_is_seen_where_there_is_none(text: str) -> None:
    assert secret_in(text) == "" and concealed(text) == text


def test_names_of_secrets() -> None:
    for name in ("LAKE_SECRET", "MYSECRETVALUE", "HF_TOKEN", "accountKey", "DB_PWD", "sas-token", "aws_access_key_id"):
        assert names_secret(name), name
    for name in ("TOKENIZERS_PARALLELISM", "AWS_WEB_IDENTITY_TOKEN_FILE", "kms_key", "MLFLOW_TIMEOUT", "disaster"):
        assert not names_secret(name), name
    assert not names_secret("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1") and not names_secret("AWS_SKIP_SIGNATURE", "true")


REMEDIES = {"databricks": "{{secrets/SCOPE/KEY}}", "sagemaker": "AWS Secrets Manager", "azureml": "Azure Key Vault"}


@every_target
@pytest.mark.parametrize(
    ("name", "value"),
    [("LAKE_SECRET", "${env:OURS}"), ("DB", "${env:OURS}"), ("API_TOKEN", "s3cr3t"), ("DB", "pg://u:s3cr3t@db/x")],
)
def test_no_secret_goes_into_the_variables_of_stages(
    target: str, name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("OURS", "s3cr3t")
    monkeypatch.setenv("HOME", str(tmp_path))
    variables = {"variables": {name: value}} if target == "azureml" else {name: value}
    project, profile = made(tmp_path, target, {"target": {"environment": variables}})
    found = [each for each in errors(project, profile) if each.where.startswith("profiles.yml:")]
    assert found and all("s3cr3t" not in str(each) for each in found)
    if not value.startswith("pg:"):
        assert REMEDIES[target] in found[0].remedy
        assert name in (tmp_path / "profiles.yml").read_text().splitlines()[int(found[0].where[13:]) - 1]
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--dry-run",), ("--dry-run", "--json", "--out", "b"), ("--out", "b")):
        assert lakewright("deploy", "--profile", "prod", *options, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr()
    assert "s3cr3t" not in said.out + said.err and not (tmp_path / "b").exists()


@every_target
def test_what_names_a_secret_that_the_platform_keeps_is_fine(target: str, tmp_path: Path) -> None:
    kept: dict[str, dict[str, Any]] = {
        "databricks": {"environment": {"HF_TOKEN": "{{secrets/ours/hf}}"}, "cluster": {"node_type": "i3.xlarge"}},
        "sagemaker": {"secrets": {"HF_TOKEN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:hf-AbCdEf"}},
        "azureml": {"environment": {"variables": {"TOKENIZERS_PARALLELISM": "false"}}},
    }
    assert errors(*made(tmp_path, target, {"target": kept[target]})) == []


@every_target
@pytest.mark.parametrize(
    "change",
    [
        {"tracking": "https://user:hunter2hunter2@mlflow.example.org"},
        {"registry": "https://user:hunter2hunter2@mlflow.example.org"},
        {"storage_options": {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}},
        {"storage_options": {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2${env:OURS}"}},
        {"storage_options": {"endpoint": "https://ours.blob.core.windows.net?sig=hunter2hunter2"}},
        {"catalog": {"name": "unity", "host": "https://ours", "token": "hunter2hunter2"}},
    ],
    ids=str,
)
def test_no_secret_of_the_profile_is_sent(
    target: str, change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OURS", "x")
    found = [each for each in errors(*made(tmp_path, target, change)) if each.secret]
    assert found and all("hunter2" not in str(each) and each.remedy for each in found)
    assert next(iter(change)) in found[0].cause


def test_a_secret_that_is_filled_in_stays_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`${env:…}` goes along as it is written: but where the platform's own request would show its value."""
    monkeypatch.setenv("OURS", "hunter2hunter2")
    approving = {"target": {"approval": {}}, "registry": "https://user:${env:OURS}@mlflow.example.org"}
    project, profile = made(tmp_path, "databricks", approving, register={"approval": "manual"})
    found = [each for each in errors(project, profile) if each.secret]
    assert found and {each.where.split(":")[0] for each in found} == {"databricks.yml", "requests.json"}
    project, profile = made(tmp_path, "databricks", {"tracking": "https://user:${env:OURS}@mlflow.example.org"})
    assert not [each for each in errors(project, profile) if each.secret]


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"source": "https://user:hunter2@ours.org/x.csv", "columns": {"text": "m", "label": "t"}}},
        {
            "data": {
                "source": "s3://b",
                "options": {"storage": "a;AccountKey=abc"},
                "columns": {"text": "m", "label": "t"},
            }
        },
        {"register": {"tags": {"by": "AKIAIOSFODNN7EXAMPLE"}}},
        {"register": {"tags": {"api_key": "s3cr3t"}}},
        {"data": {"source": "s3://b", "options": {"password": "s3cr3t"}, "columns": {"text": "m", "label": "t"}}},
    ],
    ids=str,
)
def test_a_project_holds_no_secret_for_it_is_stored_and_logged(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"project\.yml:\d+: .* holds an? .*"):
        made(tmp_path, "sagemaker", **change)
    made(tmp_path, "sagemaker")
    with pytest.raises(ProjectError, match=r"--set: register\.description holds a password") as refused:
        load_project(tmp_path / "project.yml", ["register.description=https://u:hunter2@ours.org"])
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", ["lake", "workspace"])
def test_an_address_that_records_name_holds_no_secret(key: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=rf"profiles\.yml:\d+: .*{key}.*a password in an address") as refused:
        made(tmp_path, "sagemaker", {key: "s3://key:hunter2@lake/tables"})
    assert "hunter2" not in str(refused.value)


def test_errors_and_logs_show_no_secret(tmp_path: Path) -> None:
    error = LakewrightError("cannot read https://user:hunter2@ours.org/x", "open https://user:hunter2@ours.org")
    assert str(error) == "cannot read https://ours.org/x\nopen https://ours.org"
    options = {"AWS_SECRET_ACCESS_KEY": "s3cr3t-s3cr3t", "AWS_REGION": "eu-west-1"}
    workspace = Workspace.open(Profile(workspace=str(tmp_path), storage_options=options))  # type: ignore[arg-type]
    with log_to(workspace, "r") as log:
        LOG.warning("asked %s", "https://user:hunter2@ours.org")
        try:
            raise ValueError("https://user:hunter2@ours.org")
        except ValueError:
            LOG.exception("failed with s3cr3t-s3cr3t in eu-west-1")
    written = Path(log).read_text()
    assert "hunter2" not in written and "s3cr3t" not in written
    assert "ours.org" in written and "with *** in eu-west-1" in written


# Files

KEY = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"


def test_links_lead_to_no_other_file_and_end(tmp_path: Path) -> None:
    folder, outside = tmp_path / "project", tmp_path / "outside"
    for name, text in {
        "project/source.py": "x",
        "project/rows/more.py": "x",
        "project/.env": "TOKEN=x",
        "outside/secret.txt": "secret",
        "project/here/.writable": "",
        "project/here/model": "of a workspace",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    links = {"loop": ".", "loop2": ".", "data": outside, "one.txt": outside / "secret.txt", "env.txt": ".env"}
    links |= {
        "model": "here/model",
        "again.py": "source.py",
        "rows/up": "..",
        "gone": "nowhere",
        "itself": "itself",
        "other": "rows",
    }
    for name, to in links.items():
        (folder / name).symlink_to(to)
    os.mkfifo(folder / "pipe")
    found = shipped(folder)
    assert [*found.files] == ["again.py", "rows/more.py", "source.py"]
    assert {*found.left_out} == {*links, "pipe"} - {"again.py"}
    assert "outside the project" in found.left_out["data"] and "not sent" in found.left_out["env.txt"]
    project, profile = made(folder, "sagemaker")
    told = {each.cause for each in problems(project, profile) if each.kind == "warning"}
    assert any("'data'" in cause for cause in told) and any("'loop'" in cause for cause in told)


def test_lakewrightignore_is_read_as_git_reads_its_own(tmp_path: Path) -> None:
    names = (
        "a.csv",
        "b.csv",
        "keep/a.csv",
        "drafts/x.py",
        "deep/drafts/y.py",
        "venv/pyvenv.cfg",
        "venv/lib/z.py",
        ".git/c",
    )
    for name in (*names, ".venv/x.py", "node_modules/m.js", "p/__pycache__/q.pyc", "s.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert [*shipped(tmp_path, ".py").files] == ["deep/drafts/y.py", "drafts/x.py", "s.py"]
    (tmp_path / ".lakewrightignore").write_text("# not ours\n*.csv\n!/b.csv\n/drafts/\n")
    assert [*shipped(tmp_path).files] == ["b.csv", "deep/drafts/y.py", "s.py"]
    (tmp_path / ".lakewrightignore").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="lakewrightignore cannot be read"):
        shipped(tmp_path)


def test_files_of_secrets_are_named_before_they_are_sent(tmp_path: Path) -> None:
    project, profile = made(tmp_path, "sagemaker")
    for name in ("server-key.pem", "credentials.json", "api_key.txt", "source_keys.py"):
        (tmp_path / name).write_text("x = 1\n")
    warned = {each.where for each in problems(project, profile) if each.kind == "warning"}
    assert warned == {"server-key.pem", "credentials.json", "api_key.txt"} and not errors(project, profile)
    (tmp_path / ".lakewrightignore").write_text("*.pem\ncredentials.json\napi_key.txt\n")
    assert problems(project, profile) == []
    for name, text in {
        "id_rsa": "x", "mine.p12": "x", "cert.pem": KEY, "notes.txt": "AKIAIOSFODNN7EXAMPLE", "source_keys.py": KEY,
    }.items():  # fmt: skip
        (tmp_path / ".lakewrightignore").write_text("")
        (tmp_path / name).write_text(text)
        found = [each for each in errors(project, profile) if each.secret]
        assert [each.where.split(":")[0] for each in found] == [name], name
        (tmp_path / name).unlink()
    (tmp_path / ".env").write_text("TOKEN=x")
    assert ".env" not in shipped(tmp_path).files
    (tmp_path / ".lakewrightignore").write_text("!.env\n")
    assert ".env" in {each.where for each in errors(project, profile)}


@every_target
def test_the_python_of_a_project_is_looked_at_on_every_target(target: str, tmp_path: Path) -> None:
    project, profile = made(tmp_path, target)
    (tmp_path / "source.py").write_text("ADDRESS = 'https://user:hunter2@ours.org'\n")
    (found,) = errors(project, profile)
    assert found.where.endswith("source.py:1") and found.secret


def test_more_files_than_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lakewright.targets import project_files as module

    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("x" * number)
    monkeypatch.setattr(module, "MOST_FILES", 4)
    with pytest.raises(UsageError, match=r"5 files.* the largest file is 4\.txt"):
        shipped(tmp_path).read()
    assert shipped(tmp_path, ".py").read() == {}
    assert problems(*made(tmp_path, "databricks")) == []  # to which only the Python goes
    assert any("in 7 files" in each.cause for each in errors(*made(tmp_path, "sagemaker")))


@every_target
def test_what_is_written_out_is_of_this_deployment_alone(target: str, tmp_path: Path) -> None:
    project, profile = made(tmp_path / "project", target)
    (tmp_path / "project" / "old.py").write_text("x")
    find, out = plugins.TARGETS.find(target), tmp_path / "out"
    paths = write(find.deployment(project, profile), out)
    assert all(path.is_relative_to(out) and ".." not in path.parts and "s3:" not in path.parts for path in paths)
    (out / ".databricks").mkdir()
    (out / ".databricks" / "state").write_text("another tool's")
    write(find.deployment(project, profile), out)
    (tmp_path / "project" / "old.py").unlink()
    with pytest.raises(UsageError, match=r"holds files that are not of this deployment: .*old\.py"):
        write(find.deployment(project, profile), out)


# Keys, members and names that become paths


class Odd(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def warned() -> Iterator[list[str]]:
    handler = Odd()
    LOG.addHandler(handler)
    yield handler.lines
    LOG.removeHandler(handler)


BAD_KEYS = [
    "runs/../../../../pwned.json",
    "runs/./here.json",
    "runs//empty.json",
    "runs/a\\..\\pwned.json",
    "runs/new\nline.json",
    f"runs/{'n' * 240}.json",
    "records/../../pwned.json",
]


class Keys:
    """A store that keeps keys as they are, as S3 does: what Mirror asks of pyarrow's file systems."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.contents = contents

    def get_file_info(self, asked: Any) -> Any:
        from pyarrow.fs import FileInfo, FileType

        if isinstance(asked, str):
            return FileInfo(asked, FileType.File if asked in self.contents else FileType.Directory)
        found = [key for key in self.contents if key.startswith(f"{asked.base_dir}/")]
        return [FileInfo(key, FileType.File, size=len(self.contents[key]), mtime_ns=10**18) for key in found]

    def open_input_stream(self, key: str) -> io.BytesIO:
        return io.BytesIO(self.contents[key])


def test_no_key_of_a_store_leaves_the_copy_and_the_others_are_brought(
    tmp_path: Path, warned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good = ["runs/ok/run.json", "runs/zz/run.json", "models/m/a.txt", "models/m/b/c"]
    also_bad = ["runs/ok/run.json/under.json", "models/m/../../../pwned.sh", "models/m//d", "models/m/b"]
    keys = [*BAD_KEYS, *good, *also_bad]
    store = Keys({f"lake/ws/{key}": b"{}" for key in keys})
    monkeypatch.setattr(Mirror, "_store", lambda self: (store, "lake/ws"))
    folder = tmp_path / "deep" / "copy"
    mirror = Mirror("s3://lake/ws", folder)
    for _ in range(2):
        mirror.bring_small()
        mirror.bring(folder / "models" / "m")
    brought = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert brought == {f"deep/copy/{key}" for key in good}
    for key in (*BAD_KEYS, *also_bad):
        assert any(repr(f"s3://lake/ws/{key}") in line for line in warned), key
    assert not any("\n" in line for line in warned)  # what a stranger wrote makes no lines of a log


def test_a_workspace_in_a_mounted_folder_is_not_left_by_links(tmp_path: Path, warned: list[str]) -> None:
    store, outside = tmp_path / "store", tmp_path / "outside"
    for name in ("store/runs/ok/run.json", "outside/secret.json", "store/models/m/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    links = {"runs/link": outside, "runs/one.json": outside / "secret.json", "models/n": outside}
    for name, to in {**links, "runs/ok/up": "..", "runs/ok/up2": "..", "records": outside}.items():
        (store / name).symlink_to(to)
    folder = tmp_path / "copy"
    mirror = Mirror(f"file://{store}", folder)
    mirror.bring_small()
    mirror.bring(folder / "models" / "m")
    mirror.bring(folder / "models" / "n")
    brought = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert brought == {"runs/ok/run.json", "models/m/a.txt"}
    assert any("one.json" in line and "link" in line for line in warned)
    (folder / "records").mkdir()
    (folder / "records" / "ours.json").write_text("{}")
    with pytest.raises(UsageError, match=r"records/ours\.json is behind a link"):
        mirror.send()
    assert [path.name for path in outside.iterdir()] == ["secret.json"]


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "..", "a/../b", "a//b", "a/.", "a\\b", "a\0b", "a\x1b[2J", "\udcff"]
)
def test_a_path_from_outside_that_leaves_its_folder(name: str) -> None:
    assert (not stays_inside(name) and not stays_inside(f"{name}/x")) or name == ""


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
@example("a..b/...c/.d")
def test_what_stays_inside_does(name: str) -> None:
    assume(stays_inside(name))
    assert os.path.normpath(f"/x/{name}") == f"/x/{name}"


def test_a_record_names_no_place_outside_of_its_workspace(tmp_path: Path) -> None:
    kept = {"model_folder": "workspace:../../etc", "digest": "d", "learner": "linear"}
    with pytest.raises(ValueError, match="not a place in the workspace"):
        Trained.from_stored(kept, tmp_path)
    inside = Trained.from_stored(kept | {"model_folder": "workspace:models/m"}, tmp_path)
    assert inside.places == [str(tmp_path / "models/m")]


# Whose something is


def test_two_projects_share_no_name() -> None:
    from lakewright.targets.sagemaker.names import plain

    names = ["main.a_b.c", "main.a.b_c", "main_a.b.c", "main.a.b__c", "main.a._b_c", "main.a.b_c_", "main.a_.b_c"]
    assert len({plain(name) for name in names}) == len(names)
    assert plain("main.bank.banking77") == "main-bank-banking77" and plain("main.a.b_c") == "main-a-b-c"
    assert all(re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", plain(name)) for name in names)


@every_target
def test_a_default_name_has_the_schema_in_it(target: str, tmp_path: Path) -> None:
    """Everything that is named after a project differs between two that differ in their schema alone."""
    find = plugins.TARGETS.find(target)
    more = {
        "databricks": {"endpoint": {}, "interactive": {"node_type": "i3.xlarge"}},
        "azureml": {"schedule": "0 5 * * 1"},
    }
    named = []
    for schema, name in (("main.a_b", "c"), ("main.a", "b_c")):
        project, profile = made(tmp_path / name, target, {"target": more.get(target, {})}, schema=schema, name=name)
        deployment: Deployment = find.deployment(project, profile)
        keys = ("name", "cluster_name", "PipelineName", "ModelPackageGroupName", "EndpointName")
        bodies = [request.body for request in deployment.requests]
        bodies += [deployment.files[file] for file in ("schedule.yml",) if file in deployment.files]
        named.append({str(body[key]) for body in bodies for key in keys if key in body} - {"a", "a_b", "b_c", "c"})
        assert named[-1], deployment
    assert not named[0] & named[1]


# What a stage reads

ODD = [
    "s3://b/messages #2.csv", "a: b.csv", "*.csv", "[ab]*.csv", "{a}.csv", "s3://b/a.csv ", " s3://b/a.csv", "a\nb",
    "2024", "2024-01-01", "null", "~", "yes", "1e3", "0x1F", "'quoted'", '"x".csv', "o'brien.csv", "%7Ex", "@x", "`id`",
    "&a b", "!!python/name:os.system", "${{inputs.x}}", "{{job.run_id}}", "${var.x}", "$(touch x)", "ü😀", "\u2028",
    "\ufeffx", "\x85", "- a", "? a", "| a", "> a", "--- a", "a\\nb", "a=b", "#", "x" * 300,
]  # fmt: skip


def stages_read(target: str, deployment: Deployment) -> dict[str, list[str]]:
    """Stage → what it is given by --set, as the platform fills in the definition that it was sent."""
    found: dict[str, list[str]] = {}
    if target == "databricks":
        job = json.loads(json.dumps(deployment.files["databricks.yml"]["resources"]["jobs"]["stages"]))
        values = {each["name"]: each["default"] for each in job["parameters"]}
        for task in job["tasks"]:
            if "python_wheel_task" in task:
                found[task["task_key"]] = [
                    re.sub(r"\{\{job\.parameters\.(\w+)\}\}", lambda name: values[name[1]], part)
                    for part in task["python_wheel_task"]["parameters"]
                ]
        assert not any("{{" in part.replace("{{job.run_id}}", "") for parts in found.values() for part in parts)
    elif target == "sagemaker":
        definition = json.loads(json.dumps(deployment.files["pipeline.json"]))
        known = {each["Name"]: each["DefaultValue"] for each in definition["Parameters"]}

        def filled(value: Any) -> str:
            if isinstance(value, dict) and "Std:Join" in value:
                return "".join(filled(part) for part in value["Std:Join"]["Values"])
            return str(known.get(value["Get"].partition(".")[2], "RUN")) if isinstance(value, dict) else str(value)

        for step in definition["Steps"]:
            if step["Type"] == "Processing":
                app = step["Arguments"]["AppSpecification"]
                found[step["Name"]] = [filled(part) for part in app["ContainerArguments"]]
            elif step["Type"] == "Training":
                values = {name: filled(value) for name, value in step["Arguments"]["HyperParameters"].items()}
                parts = [
                    *json.loads(values["given"]),
                    *(f"{name}={each}" for name, each in values.items() if "." in name),
                ]
                found["train"] = [word for part in parts for word in ("--set", part)]
                assert all("\n" not in each for each in values.values())
    else:
        files = {name: yaml.safe_load(text) for name, text in texts(deployment).items() if name.endswith(".yml")}
        values = files["pipeline.yml"]["inputs"]
        for name, component in files.items():
            if name.startswith("components/"):
                command = re.sub(
                    r"\$\{\{(\w+)\.(\w+)\}\}", lambda each: str(values.get(each[2], "PLACE")), component["command"]
                )
                found[component["display_name"]] = shlex.split(command)
                assert "${{" not in command
    return {
        stage: [words[at + 1] for at, word in enumerate(words) if word == "--set"] for stage, words in found.items()
    }


def check_stages(target: str, project: Project, profile: Profile) -> None:
    found = stages_read(target, plugins.TARGETS.find(target).deployment(project, profile))
    assert len(found) >= 5
    for words in {*map(tuple, found.values())}:  # one, but for the order
        again = load_project(project.path, words)
        assert again.resolved == project.resolved
        assert again.digest == project.digest


@every_target
@pytest.mark.parametrize("value", ODD)
def test_what_a_stage_reads_is_what_the_project_says(target: str, value: str, tmp_path: Path) -> None:
    more = {"target": {"parameters": {"Text": "register.description", "Options": "data.options"}}}
    data = {"source": value, "options": {"delimiter": value[:9]}, "columns": {"text": "message", "label": "topic"}}
    project, profile = made(tmp_path, target, more, data=data, register={"description": value})
    check_stages(target, project, profile)
    given = load_project(project.path, [f"register.description={as_text(value)}", f"data.source={value}"])
    check_stages(target, given, profile)
    assert not [each for each in problems(project, profile) if "read another project" in each.cause]


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_read_as_it_is_written(value: str, tmp_path: Path) -> None:
    """Round trip over strings, through each target's definition."""
    assume(not secret_in(value) and "${env:" not in value)
    source = {"source": f"s3://b/{value}", "columns": {"text": "message", "label": "topic"}}
    for target in TARGETS:
        project, profile = made(
            tmp_path, target, {"target": {"parameters": {"Text": "register.description"}}}, data=source
        )
        project = load_project(project.path, [f"register.description={as_text(value)}"])
        assert project.register_.description == value
        check_stages(target, project, profile)


@given(st.recursive(st.text(max_size=8) | st.integers() | st.booleans() | st.none(), lambda of: st.lists(of, max_size=3)
       | st.dictionaries(st.text(max_size=4), of, max_size=3)))  # fmt: skip
def test_a_value_of_any_kind_comes_back(value: Any) -> None:
    assert value_of(as_text(value)) == value


@pytest.mark.parametrize("text", [text for text in ODD if text not in ("null", "~", "'quoted'")])
def test_set_keeps_a_string_as_it_is_written(text: str, tmp_path: Path) -> None:
    project, _ = made(tmp_path, "sagemaker")
    changed = load_project(project.path, [f"data.source={text}", f"register.tags.by={text}", f"data.columns.id={text}"])
    assert changed.data.source == changed.register_.tags["by"] == changed.data.columns.id == text


def test_set_reads_what_is_no_string_as_yaml(tmp_path: Path) -> None:
    project, _ = made(tmp_path, "sagemaker")
    changed = load_project(
        project.path,
        [
            "train.C=3", "data.source=null", "evaluate.slices=[a, b]", "gate.minimum.accuracy=1e-1", "gate.champion=no",
            "data.options.skip=2", "register={tags: {a: x}}", "register.description='null'",
        ],
    )  # fmt: skip
    assert (changed.train.C, changed.data.source, changed.evaluate.slices) == (3, None, ["a", "b"])  # type: ignore[attr-defined]
    assert changed.gate.minimum == {"accuracy": 0.1} and changed.gate.champion is False
    assert changed.data.options == {"skip": 2} and changed.register_.tags == {"a": "x"}
    assert changed.register_.description == "null"
    for wrong in ("evaluate.slices=[a", "train.C=x: y", "gate.minimum=2024-99-99"):
        with pytest.raises(ProjectError, match="--set"):
            load_project(project.path, [wrong])


@every_target
def test_a_metric_that_cannot_name_a_parameter_keeps_its_bound(target: str, tmp_path: Path) -> None:
    project, profile = made(tmp_path, target, gate={"minimum": {"ac-cu'racy": 0.5, "macro_f1": 1, "a.b": 0.1}})
    check_stages(target, project, profile)


@every_target
def test_a_deployment_whose_stages_would_read_another_project_is_refused(target: str, tmp_path: Path) -> None:
    project, profile = made(tmp_path, target)
    assert errors(project, profile) == []
    file = tmp_path / "project.yml"
    file.write_text(file.read_text() + "evaluate: {resamples: 200}\n")  # after it was read
    (found,) = errors(project, profile)
    assert "stages would read another project: evaluate would be" in found.cause and found.remedy
