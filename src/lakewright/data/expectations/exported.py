"""Expectations in the forms of others: what a form cannot hold is named, and left out of it.

constraints    constraints.json of SageMaker Model Monitor, version 0:
               https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-byoc-constraints.html
databricks     constraints of a streaming table or a materialized view:
               https://docs.databricks.com/aws/en/ldp/expectations
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from lakewright.data.expectations.values import ABOVE, BELOW, bound, value
from lakewright.settings.expectations import Expectation, Range

Left = list[str]  # names of expectations, with what is not held of them


def constraints(
    expectations: Sequence[Expectation], schema: pa.Schema, complete: Mapping[str, float]
) -> tuple[dict[str, Any], Left]:
    """`complete` is the share of each column's values that are not null in the table."""
    features: dict[str, dict[str, Any]] = {
        field.name: {"name": field.name, "inferred_type": _inferred(field.type), "completeness": complete[field.name]}
        for field in schema
    }
    left = list[str]()
    for each in expectations:
        feature = features[each.columns[0]] if len(each.columns) == 1 else {}
        if each.kind == "not_null":
            feature["completeness"] = 1.0
        elif each.kind == "range" and _is_from_zero(each.argument) and feature["inferred_type"] in NUMBERS:
            feature["num_constraints"] = {"is_non_negative": True}
            left += [f"{each.name} (its max)"] if each.argument.max is not None else []
            left += [f"{each.name} (its min above 0)"] if each.argument.min else []
        elif each.kind == "allowed" and feature["inferred_type"] == "String":
            feature["string_constraints"] = {"domains": list(each.argument)}
        else:
            left.append(each.name)
    return {"version": 0, "features": list(features.values()), "monitoring_config": MONITORING}, left


NUMBERS = ("Integral", "Fractional")
MONITORING = {
    "evaluate_constraints": "Enabled",
    "emit_metrics": "Enabled",
    "datatype_check_threshold": 1.0,
    "domain_content_threshold": 1.0,
    "distribution_constraints": {
        "perform_comparison": "Disabled",
        "comparison_threshold": 0.1,
        "comparison_method": "Robust",
    },
}


def _inferred(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "Integral"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "Fractional"
    return "String" if pa.types.is_string(kind) else "Unknown"


def _is_from_zero(limits: Range) -> bool:
    return isinstance(limits.min, int | float) and limits.min >= 0


def databricks(expectations: Sequence[Expectation], schema: pa.Schema) -> tuple[str, Left]:
    """Conditions that keep the rows which these expectations keep, those with a null among them."""
    lines, left = list[str](), list[str]()
    for each in expectations:
        condition = CONDITIONS[each.kind](each, schema) if each.kind in CONDITIONS else None
        if condition is None:
            left.append(each.name)
            continue
        if each.kind != "not_null":
            condition = f"coalesce({condition}, true)"
        name = each.name.replace("`", "``")
        action = {"warn": "", "drop": " ON VIOLATION DROP ROW", "fail": " ON VIOLATION FAIL UPDATE"}[each.severity]
        lines.append(f"CONSTRAINT `{name}` EXPECT ({condition}){action}")
    head = "-- In CREATE OR REFRESH STREAMING TABLE name ( … ), or after the columns of a materialized view.\n"
    return head + ",\n".join(lines) + "\n", left


def _not_null(each: Expectation, schema: pa.Schema) -> str:
    return f"{_quoted(each.columns[0])} IS NOT NULL"


def _range(each: Expectation, schema: pa.Schema) -> str:
    kind, name, limits = schema.field(each.columns[0]).type, _quoted(each.columns[0]), each.argument
    low = BELOW if limits.min is None else bound(limits.min, kind, "min")
    high = ABOVE if limits.max is None else bound(limits.max, kind, "max")
    if low is ABOVE or high is BELOW:
        return f"{name} IS NULL"
    parts = [f"{name} >= {_literal(low, kind)}"] if low is not BELOW else []
    parts += [f"{name} <= {_literal(high, kind)}"] if high is not ABOVE else []
    parts += [f"NOT isnan({name})"] if pa.types.is_floating(kind) else []  # Spark's NaN is above every number
    return " AND ".join(parts) or "true"


def _regex(each: Expectation, schema: pa.Schema) -> str:
    return f"{_quoted(each.columns[0])} RLIKE {_text(each.argument)}"


def _allowed(each: Expectation, schema: pa.Schema) -> str:
    kind = schema.field(each.columns[0]).type
    return f"{_quoted(each.columns[0])} IN ({', '.join(_literal(value(one, kind), kind) for one in each.argument)})"


def _sql(each: Expectation, schema: pa.Schema) -> str | None:
    import sqlglot
    from sqlglot.errors import ErrorLevel, SqlglotError

    try:
        (text,) = sqlglot.transpile(each.argument, "duckdb", "databricks", unsupported_level=ErrorLevel.RAISE)
    except SqlglotError:
        return None
    return text


CONDITIONS: dict[str, Callable[[Expectation, pa.Schema], str | None]] = {
    "not_null": _not_null,
    "range": _range,
    "regex": _regex,
    "allowed": _allowed,
    "sql": _sql,
}


def _literal(typed: Any, kind: pa.DataType) -> str:
    """A value of the column's type."""
    if isinstance(typed, str):
        return _text(typed)
    if isinstance(typed, float):
        return f"{typed!r}D" if math.isfinite(typed) else f"CAST('{typed}' AS DOUBLE)"
    if isinstance(typed, datetime):
        return f"TIMESTAMP{'' if kind.tz else '_NTZ'}'{typed.isoformat(' ')}'"
    return f"DATE'{typed}'" if isinstance(typed, date) else str(typed).lower()


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _quoted(name: str) -> str:
    escaped = name.replace("`", "``")
    return f"`{escaped}`"
