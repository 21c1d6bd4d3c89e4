"""The Terraform files are well formed, fit their providers' schemas, and can be planned: judged by Terraform itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from described import INFRASTRUCTURE, PROVIDERS, VALUES, complaints, needs_terraform, planned, schemas, terraform

pytestmark = needs_terraform
NAMES = sorted(PROVIDERS)


@pytest.mark.parametrize("name", NAMES)
def test_terraform_fmt_would_change_nothing(name: str) -> None:
    assert terraform("fmt", INFRASTRUCTURE / name) == ""


def test_terraform_fmt_would_change_what_is_not_formatted(tmp_path: Path) -> None:
    (tmp_path / "crooked.tf").write_text("locals {\na = 1\n  bc   = 2\n}\n")
    assert "+  a  = 1" in terraform("fmt", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_fit_their_providers_schema(name: str) -> None:
    assert complaints(INFRASTRUCTURE / name, PROVIDERS[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_schema_is_that_of_the_version_that_is_pinned(name: str) -> None:
    pinned = re.search(r'version = "([\d.]+)"', (INFRASTRUCTURE / name / "versions.tf").read_text())
    (known,) = json.loads(schemas(INFRASTRUCTURE / name, PROVIDERS[name]).read_text()).values()
    assert pinned and known["version"] == pinned[1]


# Each line that ends in a comment is wrong, in the way that the comment says, in Terraform's own words.
BROKEN = """\
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

resource "aws_s3_buckets" "x" { # Invalid resource type
}

data "aws_caller" "x" { # Invalid data source
}

resource "aws_vpc_endpoint" "x" { # Missing required argument
}

resource "aws_subnet" "x" {
  vpc_id     = "vpc-1"
  cidr_blocks = "10.0.0.0/24" # Unsupported argument
}

resource "aws_s3_bucket_versioning" "x" { # Insufficient versioning_configuration blocks
  bucket                   = "b"
  versioning_configuration = { status = "Enabled" } # Unsupported argument
}

resource "aws_s3_bucket_versioning" "y" { # Insufficient versioning_configuration blocks
  bucket = "b"
}

resource "aws_s3_bucket_server_side_encryption_configuration" "x" {
  bucket = "b"
  rule {
    encrypt { # Unsupported block type
    }
  }
}

resource "aws_budgets_budget" "x" {
  budget_type = "COST"
  time_unit   = "MONTHLY"
  notification { # Missing required argument
    notification_type   = "ACTUAL"
    comparison_operator = "GREATER_THAN"
    threshold           = 80
  }
}

resource "aws_ecr_repository" "x" {
  name = ["a", "list"] # Incorrect attribute value type
}
"""
DANGLING = """\
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

resource "aws_subnet" "x" {
  vpc_id = "vpc-1"
}

resource "aws_route_table" "x" {
  vpc_id = aws_subnet.x.vpc # Unsupported attribute
}

resource "aws_route_table_association" "x" {
  route_table_id = aws_route_table.y.id # Reference to undeclared resource
}

resource "aws_vpc" "x" {
  cidr_block = var.network # Reference to undeclared input variable
}
"""


@pytest.mark.parametrize(("text", "count"), [(BROKEN, 10), (DANGLING, 3)], ids=["schema", "references"])
def test_what_is_wrong_is_told_with_file_and_line(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "broken.tf").write_text(text)
    wrong = [
        f"broken.tf:{number}: {line.partition(' # ')[2]}"
        for number, line in enumerate(text.splitlines(), 1)
        if " # " in line
    ]
    assert len(wrong) == count
    assert complaints(tmp_path, PROVIDERS["aws"]) == wrong


@pytest.mark.parametrize("name", NAMES)
def test_what_profiles_need_is_put_out(name: str) -> None:
    outputs = planned(name)["planned_values"]["outputs"]
    readme = (INFRASTRUCTURE / name / "README.md").read_text()
    assert len(outputs) >= 5
    assert [output for output in outputs if f"`{output}`" not in readme] == []
    assert all(output.get("value") for output in outputs.values())


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("aws", "bucket", "Our.Lake"),
        ("aws", "network", "10.20.0.0/24"),
        ("databricks", "storage", "dbfs:/lake"),
        ("databricks", "azure_connector", "/subscriptions/1/…/accessConnectors/ours"),
        ("azure", "unique", "Ours"),
        ("azure", "budget_from", "2026-12-15"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name: str, variable: str, value: object, tmp_path: Path) -> None:
    values = {**VALUES[name], "variables": {**VALUES[name]["variables"], variable: value}}
    (tmp_path / "values.json").write_text(json.dumps(values))
    folder = INFRASTRUCTURE / name
    with pytest.raises(AssertionError, match=r"Invalid value for variable|Resource precondition failed"):
        terraform("plan", folder, schemas(folder, PROVIDERS[name]), tmp_path / "values.json")
