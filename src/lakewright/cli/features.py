"""Feature tables: make one, write its rows, look at it, and join rows with the values of their time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from lakewright.cli.app import AsJson, ProfileName, app, stoppable
from lakewright.cli.show import print_json, print_rows, visible
from lakewright.errors import UsageError
from lakewright.system.memory import give_back

features = typer.Typer(no_args_is_help=True)
app.add_typer(features, name="features", help="Feature tables: values by key and time, joined to rows.")
Table = Annotated[str, typer.Argument(metavar="TABLE", help="a feature table, catalog.schema.table")]


@features.command(
    "create",
    epilog="Example: lakewright features create main.shop.daily --key customer:bigint --event-time day "
    "--known-at loaded_at --value spend:double --ttl 30d",
)
def create_table(
    table: Table,
    key: Annotated[list[str], typer.Option(help="COLUMN:TYPE of the key, such as customer:bigint; repeatable")],
    event_time: Annotated[str, typer.Option(help="the column that holds when the event was that a row describes")],
    value: Annotated[list[str], typer.Option(help="COLUMN:TYPE of a value, such as spend:double; repeatable")],
    known_at: Annotated[
        str | None, typer.Option(help="the column that holds when the values were known; default: when the event was")
    ] = None,
    ttl: Annotated[
        str | None, typer.Option(help="how long after its event a value is used: 12h, 30d; default: for ever")
    ] = None,
    description: Annotated[str, typer.Option(help="what the table holds")] = "",
    owner: Annotated[str, typer.Option(help="who answers for it")] = "",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Make a feature table, without rows."""
    from lakewright import features as of_lake

    made = of_lake.create(
        table,
        keys=_pairs(key, ":", "--key", "COLUMN:TYPE"),
        event_time=event_time,
        values=_pairs(value, ":", "--value", "COLUMN:TYPE"),
        known_at=known_at,
        ttl=ttl,
        description=description,
        owner=owner,
        profile=profile,
    )
    if as_json:
        print_json(made.as_json())
    else:
        print(f"{made.name} is made; write its rows: lakewright features write {made.name} ROWS")


@features.command("write", epilog="Example: lakewright features write main.shop.daily spend.parquet")
def write_rows(
    table: Table,
    rows: Annotated[str, typer.Argument(help='catalog.schema.table, a file or folder of rows, or "select …"')],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Add the rows that a feature table does not hold yet.

    Writing them again adds none.
    """
    from lakewright import features as of_lake

    give_back()
    with stoppable("nothing was written", "run the same command again"):
        added = of_lake.write(table, rows, profile=profile)
    counts = {"rows": added.rows, "repeated": added.repeated, "known": added.known}
    if as_json:
        found = [finding.model_dump() for finding in added.findings]
        print_json({"table": str(added.table), **counts, "findings": found})
        return
    print(f"{added.rows:,} rows → {added.table} ({added.table.rows:,} rows)")
    if added.known or added.repeated:
        print(f"{added.known:,} were there before, {added.repeated:,} stand twice in {visible(rows)}")
    for finding in added.findings:
        print(f"- {finding.detail}")


@features.command(
    "join",
    epilog="Example: lakewright features join main.shop.orders main.shop.training --time at --lookup main.shop.daily",
)
def join_rows(
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="catalog.schema.table, or catalog.schema.table@v3")],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="the table that is written, catalog.schema.table")],
    time: Annotated[str, typer.Option(help="the column that holds each row's time")],
    lookup: Annotated[
        list[str],
        typer.Option(
            help="a feature table, or '{table: NAME, keys: {KEY: COLUMN}, values: {VALUE: NAME}}'; repeatable"
        ),
    ],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Write rows with the values that were known at their time."""
    from lakewright import features as of_lake

    give_back()
    with stoppable("nothing was written", "run the same command again"):
        joined = of_lake.join(rows, [_lookup(each) for each in lookup], time=time, output=output, profile=profile)
    if as_json:
        parts = {"without": dict(joined.without), "too_old": dict(joined.too_old), "parts": dict(joined.parts)}
        print_json({"table": str(joined.table), "rows": joined.rows, **parts})
        return
    print(f"{joined.rows:,} rows → {joined.table}")
    for column, count in joined.without.items():
        if count:
            print(f"{visible(column)}: {count:,} rows without a value that was known at their time")
    for table, count in joined.too_old.items():
        if count:
            print(f"{table}: {count:,} rows whose values were older than its time to live")


@features.command("get", epilog="Example: lakewright features get main.shop.daily customer=7 --at 2026-01-31")
def get_values(
    table: Table,
    key: Annotated[list[str], typer.Argument(metavar="KEY", help="COLUMN=VALUE of the key; all its columns")],
    at: Annotated[str | None, typer.Option(help="as of this time, ISO 8601 (UTC without a zone); default: now")] = None,
    online: Annotated[bool, typer.Option("--online", help="those that were published, as a server reads them")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print the values of a key that were known at a time."""
    from lakewright import features as of_lake

    given = _key(table, key, profile)
    (values,) = of_lake.get(table, [given], at=_time(at), online=online, profile=profile)
    print_rows([values], as_json, "values")


@features.command("history", epilog="Example: lakewright features history main.shop.daily customer=7")
def show_history(
    table: Table,
    key: Annotated[list[str], typer.Argument(metavar="KEY", help="COLUMN=VALUE of the key; all its columns")],
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print all values that a key ever had, in the order of events."""
    from lakewright import features as of_lake

    print_rows(of_lake.history(table, _key(table, key, profile), profile=profile), as_json, "rows")


@features.command("publish", epilog="Example: lakewright features publish main.shop.daily")
def publish_values(
    table: Table,
    to: Annotated[
        Literal["sagemaker"] | None,
        typer.Option(help="SageMaker Feature Store, of the profile's target; default: the profile's online store"),
    ] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Put the newest values of each key into an online store.

    A server then predicts for a row that has the key alone.
    """
    from lakewright import features as of_lake

    give_back()
    if to is None:
        with stoppable("the online store has what it had before", "run the same command again"):
            published = of_lake.publish(table, profile=profile)
        if as_json:
            print_json(published.model_dump())
        else:
            print(f"{published.table}@v{published.version}: {published.entries:,} keys online, as of {published.as_of}")
            if not published.entries:
                print(
                    "no value is known now, or all are older than the table's time to live: lakewright features status"
                )
        return
    with stoppable("what was put stays"):
        there = of_lake.publish(table, to=to, profile=profile)
    if as_json:
        print_json(there.as_json())
        return
    made = ", which was made" if there.made else ""
    print(f"{there.written:,} of {there.records:,} records of {there.table} → {there.group}{made}")
    if there.replaced:
        print(f"{there.replaced:,} correct what was there")
    if there.ahead:
        print(f"{there.ahead:,} were left, since a later event is there, which the table does not have")


@features.command("unpublish", epilog="Example: lakewright features unpublish main.shop.daily")
def unpublish_values(table: Table, profile: ProfileName = None) -> None:
    """Delete a table's values from the online store."""
    from lakewright import features as of_lake

    of_lake.unpublish(table, profile=profile)
    print(f"{table} is no longer online")


@features.command("list", epilog="Example: lakewright features list --json")
def list_feature_tables(profile: ProfileName = None, as_json: AsJson = False) -> None:
    """List the lake's feature tables, with their keys and values."""
    from lakewright import features as of_lake

    tables = [each.as_json() for each in of_lake.tables(profile=profile)]
    shown = [{**each, "keys": ", ".join(each["keys"]), "values": ", ".join(each["values"])} for each in tables]
    print_rows(tables if as_json else shown, as_json, "feature tables")


@features.command("show", epilog="Example: lakewright features show main.shop.daily")
def show_definition(table: Table, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show what a feature table is: keys, times, values."""
    from lakewright import features as of_lake

    definition = of_lake.show(table, profile=profile).as_json()
    if as_json:
        print_json(definition)
        return
    for name, value in definition.items():
        text = ", ".join(f"{column} {kind}" for column, kind in value.items()) if isinstance(value, dict) else value
        print(visible(f"{name}: {'' if text is None else text}"))


@features.command("status", epilog="Example: lakewright features status main.shop.daily")
def show_status(
    table: Table,
    of: Annotated[
        Literal["sagemaker"] | None,
        typer.Option(help="how far SageMaker Feature Store, of the profile's target, holds it, online and offline"),
    ] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show what a feature table holds, and what is missing."""
    from lakewright import features as of_lake

    if of is None:
        standing = of_lake.status(table, profile=profile).as_json()
    else:
        standing = of_lake.published(table, profile=profile).as_json()
    if as_json:
        print_json(standing)
        return
    for name, value in standing.items():
        if name not in ("missing", "findings") and not isinstance(value, dict):
            print(visible(f"{name}: {'' if value is None else value}"))
    if of is not None:
        return
    if (online := standing["online"]) is not None:
        print(f"online: version {online['version']}, {online['entries']:,} keys, as of {online['as_of']}")
    print_rows(
        [{"value": name, "missing": f"{share:.1%}"} for name, share in standing["missing"].items()], False, "values"
    )
    for finding in standing["findings"]:
        print(f"- {finding['detail']}")


def _key(table: str, written: Iterable[str], profile: str | None) -> dict[str, Any]:
    """The key, with whole numbers as such."""
    from lakewright import features as of_lake

    types = of_lake.show(table, profile=profile).key_types
    pairs = _pairs(written, "=", "KEY", "COLUMN=VALUE")
    read = {"bool": _truth, **dict.fromkeys(("int8", "int16", "int32", "int64"), _whole)}
    return {name: read.get(str(types.get(name)), str)(value) for name, value in pairs.items()}


def _pairs(written: Iterable[str], mark: str, option: str, form: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in written:
        name, found, value = each.partition(mark)
        if not found or not name or not value:
            raise UsageError(f"{option} {each} is not of the form {form}", f"write {form}")
        if name in pairs:
            raise UsageError(f"{option} names {name!r} twice", "name it once")
        pairs[name] = value
    return pairs


def _lookup(written: str) -> Any:
    import yaml

    if not written.lstrip().startswith("{"):
        return written
    try:
        return yaml.safe_load(written)
    except yaml.YAMLError as failure:
        raise UsageError(
            f"--lookup {written} is no YAML: {failure}", "write '{table: NAME, keys: {KEY: COLUMN}}'"
        ) from None


def _truth(value: str) -> bool:
    if value not in ("true", "false"):
        raise UsageError(f"{value!r} is no truth value, and the key is one", "write COLUMN=true, or COLUMN=false")
    return value == "true"


def _whole(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"{value!r} is no whole number, and the key is one", "write COLUMN=7") from None


def _time(written: str | None) -> datetime | None:
    from datetime import UTC

    if written is None:
        return None
    try:
        time = datetime.fromisoformat(written)
    except ValueError:
        raise UsageError(f"--at {written} is no time", "write 2026-01-31, or 2026-01-31T12:00:00+00:00") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
