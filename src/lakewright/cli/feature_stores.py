"""Feature tables in the feature stores of clouds."""

from __future__ import annotations

from typing import Annotated

import typer

from lakewright.cli.app import AsJson, ProfileName
from lakewright.cli.features import Table, features
from lakewright.cli.show import print_json, print_rows


@features.command(
    "query",
    epilog="Example: lakewright features query main.shop.daily 'select customer, max(spend) from {table} group by 1'",
)
def query_offline(
    table: Table,
    query: Annotated[str, typer.Argument(help="a select in Athena's SQL; {table} is the offline store's table")],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Query the offline store of SageMaker Feature Store in SQL."""
    from lakewright import features as of_lake

    print_rows(of_lake.query(table, query, profile=profile), as_json, "rows")


@features.command("constraints", epilog="Example: lakewright features constraints main.shop.daily > constraints.sql")
def print_constraints(table: Table, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Print the SQL of a feature table's primary key on Databricks.

    FeatureLookup and create_training_set find the table by it.
    """
    from lakewright import features as of_lake

    statements = of_lake.constraints(table, profile=profile)
    if as_json:
        print_json({"statements": statements})
    else:
        print("".join(f"{each};\n" for each in statements), end="")
