"""The files of expectations beside a profile: for a project, for SageMaker Model Monitor and for Databricks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lakewright.data.expectations.exported import constraints, databricks
from lakewright.data.expectations.proposed import as_yaml, proposed
from lakewright.data.expectations.writing import check
from lakewright.records import Finding
from lakewright.settings.expectations import Expected, expectations
from lakewright.system.files import write_whole

if TYPE_CHECKING:
    from lakewright.data.lake.tables import Lake
    from lakewright.data.profile import TableProfile

PROPOSED, CONSTRAINTS, DATABRICKS = "expect.yml", "constraints.json", "expectations.sql"


def write_expectations(lake: Lake, profile: TableProfile, own: Sequence[Expected]) -> TableProfile:
    """The profile with the files and with what a form cannot hold. Raises DataError and ProjectError for expectations
    of the project, `own`, that do not fit the table."""
    entries = proposed(lake, profile.table, profile.columns)
    schema = lake.scan(profile.table).schema
    chosen = expectations(own or [Expected.model_validate(each) for each in entries])
    check(chosen, schema, str(profile.table))
    complete = {each.name: 1 - each.null / each.rows if each.rows else 1.0 for each in profile.columns}
    of_sagemaker, not_there = constraints(chosen, schema, complete)
    of_databricks, nor_there = databricks(chosen, schema)
    texts = {
        PROPOSED: as_yaml(entries, profile.table),
        CONSTRAINTS: json.dumps(of_sagemaker, indent=2, ensure_ascii=False) + "\n",
        DATABRICKS: of_databricks,
    }
    folder = Path(profile.json_file).parent
    for name, text in texts.items():
        write_whole(folder / name, text)
    findings = [
        Finding(name="not_exported", count=len(left), detail=f"{name} cannot hold {why}: {', '.join(left)}.", rows=left)
        for name, left, why in (
            (CONSTRAINTS, not_there, "severities, nor these expectations"),
            (DATABRICKS, nor_there, "these expectations, which are no condition of one row in its SQL"),
        )
        if left
    ]
    return profile.model_copy(
        update={
            "expectations": [str(folder / name) for name in texts],
            "findings": [*profile.findings, *findings],
        }
    )
