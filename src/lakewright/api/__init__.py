"""The verbs as Python functions: what `lakewright.__all__` hands out, and all that the command line calls."""

from lakewright.api.lake import history, insert_once, profile, sql, table, tables
from lakewright.api.platforms import check, deploy, follow, runs
from lakewright.api.predictions import predict, score, search
from lakewright.api.projects import compare, plan, run, schema, stage
from lakewright.api.registry import approve, load, models
from lakewright.api.schedules import schedule
from lakewright.api.servers import add_key, keys, remove_key, serve, traffic

__all__ = [
    "add_key",
    "approve",
    "check",
    "compare",
    "deploy",
    "follow",
    "history",
    "insert_once",
    "keys",
    "load",
    "models",
    "plan",
    "predict",
    "profile",
    "remove_key",
    "run",
    "runs",
    "schedule",
    "schema",
    "score",
    "search",
    "serve",
    "sql",
    "stage",
    "table",
    "tables",
    "traffic",
]
