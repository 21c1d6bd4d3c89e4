"""The command line: thin verbs over the functions that Python has too.

Exit codes: 0 done, 1 failed, 2 wrong usage or project file, 3 below the gate, 4 waiting for approval.
Results go to stdout (with --json: one JSON object and nothing else), progress and messages to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lakewright.errors import LakewrightError, missing_package
from lakewright.memory import give_back
from lakewright.show import complain, print_json, print_rows, print_run, say

if TYPE_CHECKING:
    from lakewright.runs import Run
    from lakewright.workspace import Workspace

app = typer.Typer(
    help="From a lakehouse table to an approved model: one project file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ProjectFile = Annotated[str, typer.Argument(help="project.yml, or the folder that holds it")]
Settings = Annotated[list[str], typer.Option("--set", help="a.b=value: change a setting for this run; repeatable")]
ProfileName = Annotated[str | None, typer.Option("--profile", help="a profile of profiles.yml")]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object on stdout")]


@app.command()
def run(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    rerun: Annotated[str | None, typer.Option(help="do this stage and those after it again")] = None,
    as_json: AsJson = False,
) -> None:
    """Run a project: ingest, prepare, train, evaluate, gate, register. What is done already is skipped."""
    from lakewright import plugins
    from lakewright.profile import load_profile
    from lakewright.project import load_project

    loaded = load_project(project, settings)
    place = load_profile(profile, loaded.folder)
    give_back()
    with redirect_stdout(sys.stderr):  # a source of the user's may print; stdout belongs to results
        finished: Run = plugins.find("targets", place.target).run(loaded, place, say, rerun)
    if as_json:
        print_json(finished.as_json())
    else:
        print_run(finished)
    if finished.error is not None:
        complain(finished.error)
    raise typer.Exit(finished.exit_code)


@app.command()
def plan(
    project: ProjectFile = "project.yml",
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print what `run` would do now, and why. Nothing is run."""
    from lakewright import pipeline

    with redirect_stdout(sys.stderr):
        steps = pipeline.plan(project, settings=settings, profile=profile)
    rows = [{"stage": step.stage, "action": "skip" if step.skip else "run", "why": step.why} for step in steps]
    print_rows(rows, as_json, "stages")


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help="ingest, prepare, train, evaluate, gate or register")],
    project: Annotated[str, typer.Option(help="project.yml")],
    run_id: Annotated[str, typer.Option("--run", help="the run that the stage belongs to")],
    settings: Settings = [],  # noqa: B006
    profile: ProfileName = None,
) -> None:
    """Run one stage of a run and print its record: what targets execute."""
    from lakewright.pipeline import run_stage
    from lakewright.profile import load_profile
    from lakewright.project import load_project
    from lakewright.records import plain
    from lakewright.workspace import Workspace

    loaded = load_project(project, settings)
    workspace = Workspace.open(load_profile(profile, loaded.folder))
    give_back()
    with redirect_stdout(sys.stderr):
        record = run_stage(name, loaded, workspace, run_id)
    print_json(plain(record) if record is not None else {"skipped": name})


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    rows: Annotated[
        list[str] | None,
        typer.Argument(help="texts, or JSON objects where the model reads more than a text; none: one a line on stdin"),
    ] = None,
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: what the model names")] = "auto",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Predict rows: one line of JSON a row (with --json, one object that holds them all)."""
    from lakewright.pipeline import load

    if not rows and sys.stdin.isatty():
        print("reading rows from stdin, one a line; end with Ctrl-D", file=sys.stderr)
    predictor = load(model, profile=profile, runtime=runtime)
    several = len(predictor.task.inputs) > 1
    given = (_row(line, several) for line in (rows or (line.rstrip("\n") for line in sys.stdin)))
    predictions = (prediction for chunk in _chunks(given, 256) for prediction in predictor.predict(chunk))
    if as_json:
        print_json({"model": model, "digest": predictor.digest, "predictions": list(predictions)})
        return
    for prediction in predictions:
        print(json.dumps(prediction, ensure_ascii=False), flush=True)


@app.command()
def score(
    model: Annotated[str, typer.Option(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    input: Annotated[str, typer.Option(help="catalog.schema.table, or catalog.schema.table@v3")],
    output: Annotated[str | None, typer.Option(help="the predictions table; default: INPUT_predictions")] = None,
    full: Annotated[bool, typer.Option("--full", help="all rows anew, in the place of what is there")] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="INPUT=COLUMN: where the table's name differs; repeatable"),
    ] = None,
    id: Annotated[str | None, typer.Option(help="the column that identifies a row; default: the project's")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="a column to copy beside the predictions; repeatable")] = None,
    least_confidence: Annotated[
        float, typer.Option(help="below it `abstain` is true; 0: never, but for rows without a text")
    ] = 0.0,
    probabilities: Annotated[bool, typer.Option(help="write every label's probability")] = True,
    commit_rows: Annotated[
        int | None, typer.Option(min=1, help="rows a commit: what a kill loses at most; default: 25,000")
    ] = None,
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: what the model names")] = "auto",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Score a table's new rows into a predictions table: each row once, whatever happens; run it again to go on."""
    from lakewright import scoring
    from lakewright.errors import UsageError

    pairs = [pair.partition("=") for pair in columns or ()]
    for name, _, column in pairs:
        if not name or not column:
            raise UsageError(f"--column {name} maps nothing", "write --column text=NAME")
    give_back()
    scored = scoring.score(
        model,
        input,
        output,
        full=full,
        columns={name: column for name, _, column in pairs},
        id=id,
        keep=keep or (),
        least_confidence=least_confidence,
        probabilities=probabilities,
        commit_rows=commit_rows or scoring.COMMIT_ROWS,
        runtime=runtime,
        profile=profile,
    )
    if as_json:
        print_json(scored.as_json())
        return
    for line in scored.why or [f"nothing is new in {scored.input}"]:
        print(line)
    print(f"{scored.rows:,} rows → {scored.output} ({scored.output.rows:,} rows), by {scored.model}")
    if scored.without:
        print(f"{scored.without:,} of them lack what the model reads: their prediction is null")
    if scored.abstained:
        print(f"{scored.abstained:,} of them with a confidence below {least_confidence:g}: abstain is true")
    if scored.rows:
        print(f"{scored.seconds:.1f} s, {scored.seconds_per_1000_rows:.3f} s per 1,000 rows")


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    host: Annotated[str, typer.Option(help="the address to listen at; others than this machine's own need a key")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="processes that share the port")] = 1,
    split: Annotated[
        str | None, typer.Option(help="champion=90,challenger=10: versions side by side, and their shares in percent")
    ] = None,
    follow_alias: Annotated[
        bool, typer.Option("--follow-alias", help="serve another version as soon as the alias moves to it")
    ] = False,
    endpoint: Annotated[str | None, typer.Option(help="its name, for `traffic`; default: the model's")] = None,
    settings: Annotated[
        list[str], typer.Option("--set", help="name=value: one of the profile's `serve` settings; repeatable")
    ] = [],  # noqa: B006
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: what the model names")] = "auto",
    profile: ProfileName = None,
) -> None:
    """Answer predictions over HTTP: POST /predict, MLflow's /invocations, /v2 and others; pages at /docs."""
    from lakewright import serving

    serving.serve(
        model,
        name=endpoint,
        split=split,
        follow_alias=follow_alias,
        host=host,
        port=port,
        workers=workers,
        profile=profile,
        settings=settings,
        runtime=runtime,
    )


@app.command()
def traffic(
    endpoint: Annotated[str, typer.Argument(help="its name: the model's, if `serve` gave no other")],
    split: Annotated[
        str | None, typer.Option(help="champion=90,challenger=10, or versions: 3=100; what is served from now on")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="what was served before")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Show or change which versions an endpoint's servers answer with. They follow within a second or two."""
    from lakewright.serving import endpoint as endpoints

    changed = endpoints.change(_workspace(profile), endpoint, split, rollback, profile)
    rows = [
        {"variant": one.name, "version": one.at, "percent": one.percent, "folder": one.folder}
        for one in changed.variants
    ]
    print_rows(rows, as_json, "variants")


@app.command()
def keys(
    action: Annotated[str, typer.Argument(help="add, remove or list")],
    name: Annotated[str | None, typer.Argument(help="whose key")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The API keys that servers take. A key is shown once, when it is made; only its hash is kept."""
    from lakewright.errors import UsageError, nearest
    from lakewright.serving import access, keys_file

    file = keys_file(_workspace(profile))
    if action not in ("add", "remove", "list") or (name is None) != (action == "list"):
        remedy = (
            nearest(action, ("add", "remove", "list")) if action not in ("add", "remove", "list") else "keys add NAME"
        )
        raise UsageError(f"keys {action}{f' {name}' if name else ''} says nothing", remedy)
    if action == "add":
        made = access.add_key(file, str(name))
        print_json({"name": name, "key": made}) if as_json else print(made)
        print(f"its hash is in {file}; the key is not shown again", file=sys.stderr)
        return
    if action == "remove":
        access.remove_key(file, str(name))
    print_rows([{"name": key.name, "made": key.made} for key in access.read_keys(file)], as_json, "keys")


@app.command(context_settings={"allow_interspersed_args": False})
def schedule(
    command: Annotated[list[str], typer.Argument(help="the command and its options: score --model … --input …")],
    every: Annotated[str, typer.Option(help="hourly, daily, weekly or monthly")] = "daily",
    at: Annotated[str, typer.Option(help="HH:MM of this machine's clock")] = "03:00",
    on: Annotated[str, typer.Option(help="weekly: the day")] = "Mon",
    kind: Annotated[str, typer.Option(help="systemd or cron")] = "systemd",
    name: Annotated[str, typer.Option(help="names the job")] = "score",
    out: Annotated[str | None, typer.Option(help="systemd: the folder for the two files; default: print them")] = None,
    as_json: AsJson = False,
) -> None:
    """Write what runs a command at regular times here: a systemd timer, or a line for cron. Options come first."""
    from pathlib import Path

    from lakewright import schedule as jobs
    from lakewright.errors import UsageError, nearest

    known = [each.name or getattr(each.callback, "__name__", "") for each in app.registered_commands]
    if command[0] not in known:
        raise UsageError(f"lakewright has no command {command[0]!r}", nearest(command[0], known))
    if kind not in ("systemd", "cron"):
        raise UsageError(f"{kind!r} is no kind of schedule", nearest(kind, ("systemd", "cron")))
    when, folder = jobs.When.parse(every, at, on), Path.cwd()
    if kind == "cron":
        line = jobs.cron(name, command, when, folder)
        if as_json:
            print_json({"cron": line})
        else:
            print(line, end="")
            print("add it with: crontab -e", file=sys.stderr)
        return
    files = jobs.timer(name, command, when, folder)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (Path(out) / file).write_text(text, encoding="utf-8")
    if as_json:
        print_json({"files": files})
        return
    for file, text in files.items():
        print(f"{Path(out) / file}" if out is not None else f"# {file}\n{text}")
    unit = next(file for file in files if file.endswith(".timer"))
    print(
        f"start it with: systemctl --user daemon-reload && systemctl --user enable --now {unit}\n"
        "(the files belong in ~/.config/systemd/user)",
        file=sys.stderr,
    )


@app.command()
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="run ids, models:/NAME/3 or projects; none: all runs on the newest one's test rows"),
    ] = None,
    by: Annotated[str, typer.Option(help="a metric; auto: the task's primary one")] = "auto",
    out: Annotated[str | None, typer.Option(help="folder for comparison.html and comparison.json")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Rank finished runs, tell ties from differences, and recommend the cheapest that is not significantly worse."""
    from lakewright import comparison

    found = comparison.compare(runs or (), by=by, out=out, profile=profile)
    if as_json:
        print_json(found)
        return
    print_rows(comparison.table(found), False, "runs")
    print(f"recommended: {found['recommended']['reason']}")
    for note in found["notes"]:
        print(f"note: {note}")
    if found["left_out"]:
        print_rows([{"left out": run["run_id"][:8], "why": run["why"]} for run in found["left_out"]], False, "left out")
    print(f"page: {found['page']}")


@app.command()
def search(
    table: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")],
    text: Annotated[str, typer.Argument(help="what to look for")],
    model: Annotated[
        str | None, typer.Option(help="models:/NAME@alias or a model folder; default: what embedded the table last")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="the column searched; default: text, or the only one of texts")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="how many rows")] = 10,
    where: Annotated[str | None, typer.Option(help="a condition in SQL: only rows that meet it")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="compare every text, however many there are")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The rows of a table nearest in meaning to a text, by a sentence_similarity model's embeddings."""
    from lakewright import retrieval

    found = retrieval.search(table, text, model=model, column=column, k=k, where=where, exact=exact, profile=profile)
    if found.note:
        print(found.note, file=sys.stderr)
    if as_json:
        print_json(found.as_json())
        return
    print_rows(found.shown(), False, "rows")
    print(found.told(), file=sys.stderr)


@app.command("profile")
def profile_data(
    table: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")],
    project: Annotated[
        str | None, typer.Option(help="project.yml: its columns, its split and its base model are used")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="a column of texts; repeatable")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="the label column; repeated: columns of 0 and 1, one a label")
    ] = None,
    split: Annotated[str | None, typer.Option(help="the column that says train, validation or test")] = None,
    bias: Annotated[
        list[str] | None, typer.Option(help="COLUMN or COLUMN=VALUE: how labels differ by its values; repeatable")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="a base model whose tokens to count; default: the project's")
    ] = None,
    out: Annotated[str | None, typer.Option(help="folder for profile.html, profile.json and profile.ipynb")] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Look at the data first: missing and suspicious values, lengths, duplicates, labels, splits and bias."""
    from lakewright.profiling import profile_table
    from lakewright.profiling.page import summary, verdict
    from lakewright.records import plain

    found = profile_table(
        table,
        project=project,
        text=text or (),
        label=label or (),
        split=split,
        bias=bias or (),
        tokenizer=tokenizer,
        out=out,
        profile=profile,
    )
    if as_json:
        print_json(plain(found))
        return
    print(f"{found.table}: {verdict(found)}")
    print_rows(summary(found), False, "columns")
    for finding in found.findings:
        print(f"- {finding.detail}")
    for note in found.notes:
        print(f"note: {note}")
    print(f"page: {found.page}\njson: {found.json_file}\nnotebook: {found.notebook}")


@app.command()
def tables(
    action: Annotated[str, typer.Argument(help="list, show or history")] = "list",
    name: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")] = "",
    limit: Annotated[int, typer.Option(min=0, help="show: how many rows")] = 5,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The lake's tables: list them, show one, or its history."""
    from lakewright.errors import UsageError, nearest

    lake = _workspace(profile).lake
    if action not in ("list", "show", "history"):
        raise UsageError(f"tables has no action {action!r}", nearest(action, ("list", "show", "history")))
    if action == "list":
        print_rows(lake.list(), as_json, "tables")
        return
    if not name:
        raise UsageError(f"tables {action} needs a table's name", f"lakewright tables {action} catalog.schema.table")
    if action == "history":
        print_rows(lake.history(name), as_json, "history")
        return
    table = lake.version(name)
    first: list[dict[str, Any]] = []
    for batch in lake.scan(table):
        first += batch.slice(0, limit - len(first)).to_pylist()
        if len(first) >= limit:
            break
    shown = {**lake.show(name), "first_rows": first}
    if as_json:
        print_json(shown)
        return
    for key, value in shown.items():
        if key not in ("columns", "first_rows"):
            print(f"{key}: {value}")
    print_rows(shown["columns"], False, "columns")
    print_rows(first, False, "first rows")


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help='"select … from catalog.schema.table", also create table … as select')],
    limit: Annotated[int, typer.Option(min=0, help="rows printed at most; 0: all")] = 100,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Query the lake's tables, join them, or write a new one with `create table a.b.c as select …`."""
    from lakewright.records import TableVersion, plain

    result = _workspace(profile).lake.sql(query)
    if isinstance(result, TableVersion):
        if as_json:
            print_json({"table": plain(result)})
        else:
            print(f"wrote {result} ({result.rows:,} rows)")
        return
    shown = result.slice(0, limit) if limit else result
    if as_json:
        print_json({"columns": result.column_names, "rows": shown.to_pylist(), "row_count": result.num_rows})
        return
    print_rows(shown.to_pylist(), False, "rows")
    if shown.num_rows < result.num_rows:
        print(f"{shown.num_rows} of {result.num_rows:,} rows; --limit 0 prints all", file=sys.stderr)


@app.command()
def models(
    action: Annotated[str, typer.Argument(help="list, or approve: make a version the champion")] = "list",
    model: Annotated[str, typer.Argument(help="approve: models:/NAME/3")] = "",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """The registered model versions; `approve` makes one the champion."""
    from lakewright.errors import UsageError, nearest
    from lakewright.records import plain
    from lakewright.registry.versions import list_models, resolve, set_alias

    tracking = _workspace(profile).tracking
    if action == "approve":
        if not model:
            raise UsageError("models approve needs a model version", "lakewright models approve models:/NAME/3")
        version = resolve(tracking, model)
        set_alias(tracking, version.name, "champion", version.version)
        approved = version.model_copy(update={"aliases": sorted({*version.aliases, "champion"})})
        if as_json:
            print_json(plain(approved))
        else:
            print(f"{version} is the champion now")
        return
    if action != "list":
        raise UsageError(f"models has no action {action!r}", nearest(action, ("list", "approve")))
    versions = list_models(tracking)
    if as_json:
        print_json({"models": [plain(version) for version in versions]})
        return
    rows = []
    for version in versions:
        primary = version.tags.get("lakewright.primary", "")
        rows.append(
            {
                "name": version.name,
                "version": version.version,
                "aliases": ", ".join(version.aliases),
                "metric": primary,
                "value": version.tags.get(f"metric.{primary}", ""),
                "s/1000 rows": version.tags.get("lakewright.seconds_per_1000_rows", ""),
                "scored s/1000": version.tags.get("lakewright.scored_seconds_per_1000_rows", ""),
                "table": version.tags.get("lakewright.table", ""),
            }
        )
    print_rows(rows, False, "models")


@app.command()
def schema(
    what: Annotated[str, typer.Argument(help="project or profiles")] = "project",
) -> None:
    """Print the JSON Schema of project.yml (or profiles.yml), for editors and checks."""
    from lakewright.errors import UsageError, nearest

    if what == "profiles":
        from lakewright.profile import Profiles

        print_json(Profiles.model_json_schema())
    elif what == "project":
        from lakewright.project import json_schema

        print_json(json_schema())
    else:
        raise UsageError(f"there is no schema of {what!r}", nearest(what, ("project", "profiles")))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="on 127.0.0.1")] = 5000,
    profile: ProfileName = None,
) -> None:
    """Open the MLflow UI on the workspace: runs, curves, pictures, models."""
    tracking = _workspace(profile).tracking
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", tracking.tracking_uri]
    os.execv(sys.executable, command)


def main() -> NoReturn:
    """The console script: a LakewrightError becomes its cause, its remedy and its exit code."""
    try:
        app(standalone_mode=True)
    except LakewrightError as error:
        _end(error)
    except ImportError as failure:
        missing = missing_package(failure)
        if missing is None:
            raise
        _end(missing)
    except BrokenPipeError:  # `lakewright … | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as failure:
        traceback.print_exc()
        _end(LakewrightError(f"{type(failure).__name__}: {failure}", "this should not happen: please report it"))
    sys.exit(0)


def _end(error: LakewrightError) -> NoReturn:
    if "--json" in sys.argv:
        print_json({"error": {"cause": error.cause, "remedy": error.remedy, "log": error.log}})
    complain(error)
    sys.exit(error.exit_code)


def _workspace(profile: str | None) -> Workspace:
    from lakewright.profile import load_profile
    from lakewright.workspace import Workspace

    return Workspace.open(load_profile(profile))


def _row(line: str, several: bool) -> str | dict[str, Any]:
    """A text, or a JSON object of the model's inputs. What begins like one but is none is a text, where a text is all
    that the model needs."""
    from lakewright.errors import UsageError

    if not line.lstrip().startswith("{"):
        return line
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError as failure:
        if not several:
            return line
        raise UsageError(f"not a JSON object: {line[:80]} ({failure})", 'give {"text": "…", …}, one a line') from None
    return row


def _chunks(rows: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rows = iter(rows)
    while chunk := list(islice(rows, size)):
        yield chunk


if __name__ == "__main__":
    main()
