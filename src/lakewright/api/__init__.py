"""The verbs as Python functions. The command line calls nothing else.

This is their only list. The functions imported here are public: `lakewright` exports them, docs/python.md shows them.
"""

from types import FunctionType as _Function
from typing import TYPE_CHECKING

from lakewright.api.arriving import ingest, ingest_arriving, score_arriving
from lakewright.api.deriving import derive
from lakewright.api.exporting import export
from lakewright.api.lake import history, insert_once, profile, sql, table, tables
from lakewright.api.parameters import params
from lakewright.api.platforms import check, deploy, follow, runs
from lakewright.api.predictions import predict, recipe, score, search, start_scoring
from lakewright.api.projects import compare, plan, run, schema, shown_run, stage, uses
from lakewright.api.registry import approve, load, models
from lakewright.api.schedules import schedule
from lakewright.api.servers import add_key, keys, remove_key, serve, traffic

if not TYPE_CHECKING:  # a type checker takes every import
    __all__ = sorted(name for name, value in vars().items() if type(value) is _Function)
