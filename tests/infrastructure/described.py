"""What the files under infrastructure/ describe, as Terraform and CloudFormation themselves would see it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml
from provider_schemas import schema

INFRASTRUCTURE = Path(__file__).parents[2] / "infrastructure"
PLACE = Path(sys.prefix) / "terraform"
PROVIDERS = {"aws": "hashicorp/aws", "databricks": "databricks/databricks", "azure": "hashicorp/azurerm"}
needs_terraform = pytest.mark.skipif(
    not (PLACE / "made").exists(), reason="Terraform is not here: infrastructure/check.sh (make check) brings it"
)

# What a user would give, and what the account's data sources find.
VALUES: dict[str, dict[str, Any]] = {
    "aws": {
        "variables": {
            "region": "eu-central-1",
            "bucket": "our-lake",
            "email": "team@our.org",
            "monthly_budget": 300,
        },
        "data": {
            "aws_caller_identity": {"account_id": "123456789012"},
            "aws_partition": {"partition": "aws"},
            "aws_availability_zones": {"names": ["eu-central-1a", "eu-central-1b", "eu-central-1c"]},
        },
    },
    "databricks": {
        "variables": {
            "storage": "s3://our-lake/catalog",
            "aws_role": "arn:aws:iam::123456789012:role/our-catalog",
            "readers": "analysts",
            "approvers": "owners",
            "node_types": ["m6i.xlarge", "g5.xlarge"],
            "models": ["bank_intents"],
            "warehouse": True,
        }
    },
    "azure": {
        "variables": {
            "subscription": "00000000-0000-0000-0000-000000000001",
            "location": "westeurope",
            "unique": "our1",
            "operators": "00000000-0000-0000-0000-000000000002",
            "outbound": ["mlflow.our.org"],
            "email": "team@our.org",
            "monthly_budget": 300,
            "budget_from": "2026-12-01",
        },
        "data": {"azurerm_client_config": {"tenant_id": "00000000-0000-0000-0000-000000000003"}},
    },
}


def terraform(verb: str, folder: Path, *files: Path) -> str:
    command = [PLACE / "bin" / "python", Path(__file__).with_name("terraform.py"), verb, folder, *files]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout


def schemas(folder: Path, provider: str) -> Path:
    """A file with the provider's schema, of the types that the folder's files name."""
    (wheel,) = (PLACE / "wheels").glob(f"cdktn_provider_{provider.rpartition('/')[2]}-*.whl")
    found = Path(mkdtemp()) / "schemas.json"
    found.write_text(json.dumps({provider: _schema(wheel, _types(folder))}))
    return found


def _types(folder: Path) -> frozenset[str]:
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    named = re.findall(r'^(resource|data) "(\w+)"', text, re.MULTILINE)
    return frozenset(f"data.{kind}" if word == "data" else kind for word, kind in named)


@cache
def _schema(wheel: Path, types: frozenset[str]) -> dict[str, Any]:
    return schema(wheel, types)


def complaints(folder: Path, provider: str) -> list[str]:
    """Of `terraform validate`: "FILE:LINE: SUMMARY", in the order of the files' lines."""
    told = json.loads(terraform("validate", folder, schemas(folder, provider)))["diagnostics"]
    found = []
    for each in told:
        place = each.get("range", {"filename": "", "start": {"line": 0}})
        found.append((place["filename"], place["start"]["line"], each["summary"]))
    return [f"{file}:{line}: {summary}" for file, line, summary in sorted(found)]


@cache
def planned(name: str) -> dict[str, Any]:
    """`terraform show -json` of the plan for the folder of that name, with VALUES."""
    folder, values = INFRASTRUCTURE / name, Path(mkdtemp()) / "values.json"
    values.write_text(json.dumps(VALUES[name]))
    found: dict[str, Any] = json.loads(terraform("plan", folder, schemas(folder, PROVIDERS[name]), values))
    return found


def resources(name: str, kind: str | None = None) -> list[dict[str, Any]]:
    """The values of what is planned: all, or those of a type."""
    whole = planned(name)["planned_values"]["root_module"]["resources"]
    return [each["values"] for each in whole if kind in (None, each["type"])]


class _Template(yaml.SafeLoader):
    """CloudFormation's short forms as what they stand for: !Ref X is {Ref: X}."""


def _short(loader: _Template, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        value = value.split(".") if tag == "GetAtt" else value
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)  # type: ignore[arg-type]
    return {tag if tag == "Ref" else f"Fn::{tag}": value}


_Template.add_multi_constructor("!", _short)  # type: ignore[no-untyped-call]


@cache
def template() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((INFRASTRUCTURE / "aws" / "template.yaml").read_text(), _Template)
    return found
