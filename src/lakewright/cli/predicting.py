"""Predictions of rows and of tables, and search for the nearest texts."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakewright.cli.app import AsJson, Every, Follow, ProfileName, Settings, app, stoppable
from lakewright.cli.elsewhere import refuse_both_ways, start_scoring
from lakewright.cli.show import print_json, print_rows
from lakewright.system import jsonfile
from lakewright.system.memory import give_back

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Kind
    from lakewright.service.scoring import Scored


@app.command(epilog="Example: lakewright predict models:/main.bank.banking77@champion 'my card is lost'")
def predict(
    model: Annotated[str, typer.Argument(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            help="texts, or JSON objects where the model reads more than a text; none: one row for each line of stdin"
        ),
    ] = None,
    explain: Annotated[
        int, typer.Option(min=0, help="with each prediction, so many inputs that weigh most (models that read columns)")
    ] = 0,
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: as the model folder names it")] = "auto",
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Predict rows: print one line of JSON for each row.

    With --json, print one object with all of them.
    """
    from lakewright import api
    from lakewright.api.places import opened
    from lakewright.model.by_key import completing, noting

    if not rows and sys.stdin.isatty():
        print("reading rows from stdin, one a line; end with Ctrl-D", file=sys.stderr)
    predictor = api.load(model, profile=profile, runtime=runtime)
    inputs = predictor.task.inputs
    complete = completing(predictor.folder, inputs, lambda: opened(profile).online())
    place = "argument" if rows else "stdin line"
    lines = enumerate(_utf8(rows or _stdin(), place), start=1)
    parsed = ((number - 1, _row(line, inputs, f"{place} {number}")) for number, line in lines)

    def predicted(chunk: list[tuple[int, Any]]) -> list[Any]:
        numbers, (values, unknown) = [number for number, _ in chunk], complete([row for _, row in chunk])
        predictions = predictor.predict(values, numbers=numbers)
        if explain:
            predictions = predictor.explain(values, predictions, explain, numbers)
        return noting(unknown, predictions)

    predictions = (prediction for chunk in _chunks(parsed, 256) for prediction in predicted(chunk))
    if as_json:
        print_json({"model": model, "digest": predictor.digest, "predictions": list(predictions)})
        return
    for prediction in predictions:
        print_json(prediction, indent=None)


@app.command(epilog="Example: lakewright recipe models:/main.cellar.wine@champion --sql wines")
def recipe(
    model: Annotated[str, typer.Argument(help="models:/NAME@alias, models:/NAME/3, or a model folder")],
    sql: Annotated[
        str | None, typer.Option(help="a table or view of DuckDB with the inputs as columns: print one SELECT over it")
    ] = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Print the fitted recipe of a model, as JSON or as SQL."""
    from lakewright import api

    fitted = api.recipe(model, table=sql, profile=profile)
    if as_json or sql is None:
        print_json(fitted)
    else:
        print(fitted["sql"])


@app.command(epilog="Example: lakewright score --model models:/main.bank.mail@champion --input main.bank.letters")
def score(
    context: typer.Context,
    project: Annotated[
        str | None,
        typer.Argument(
            help="without --model and --input: project.yml, or its folder, whose profile's target.score is started"
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="models:/NAME@alias, models:/NAME/3, or a model folder")] = None,
    input: Annotated[str | None, typer.Option(help="catalog.schema.table, or catalog.schema.table@v3")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="the predictions table, also of a database: postgresql://HOST/DATABASE/SCHEMA.TABLE; default: "
            "INPUT_predictions"
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="score all rows again and replace the predictions table")
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="INPUT=COLUMN: where the table's name for an input differs; repeatable"),
    ] = None,
    id: Annotated[str | None, typer.Option(help="the column that identifies a row; default: the project's")] = None,
    keep: Annotated[list[str] | None, typer.Option(help="a column to copy beside the predictions; repeatable")] = None,
    least_confidence: Annotated[
        float, typer.Option(help="below it `abstain` is true; 0: never, except for rows without a text")
    ] = 0.0,
    probabilities: Annotated[bool, typer.Option(help="write every label's probability")] = True,
    explain: Annotated[
        int,
        typer.Option(
            min=0, help="write the reasons of each row, so many inputs that weigh most (models that read columns)"
        ),
    ] = 0,
    commit_rows: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="rows of a part; a kill loses one of each process at most; default: 24,576, or 2,048 with --explain",
        ),
    ] = None,
    runtime: Annotated[str, typer.Option(help="onnx, openvino or torch; auto: as the model folder names it")] = "auto",
    follow: Follow = False,
    every: Every = 10.0,
    settings: Settings = [],  # noqa: B006 (typer copies it)
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Score a table's new rows into a table of predictions.

    Each row is scored once, whatever happens; after a stop, the same command continues.

    Without --model and --input, the job of the profile's target.score is started on its platform.
    """
    from lakewright import api
    from lakewright.errors import UsageError

    if model is None or input is None or project is not None or settings:
        refuse_both_ways(context)
        start_scoring(project or "project.yml", settings, profile, as_json)
        return

    pairs = [pair.partition("=") for pair in columns or ()]
    for name, _, column in pairs:
        if not name or not column:
            raise UsageError(f"--column {name} is not of the form INPUT=COLUMN", "write --column text=NAME")
    options: dict[str, Any] = {
        "columns": {name: column for name, _, column in pairs},
        "id": id,
        "keep": keep or (),
        "least_confidence": least_confidence,
        "probabilities": probabilities,
        "explain": explain,
        "commit_rows": commit_rows,
        "runtime": runtime,
        "profile": profile,
    }
    give_back()
    with stoppable("the committed rows are kept"):
        if follow and full:
            raise UsageError("--full scores all rows, and --follow those that arrive", "leave one of them out")
        if follow:
            for scored in api.score_arriving(model, input, output, every=every, **options):
                _say(scored, least_confidence, as_json, lines=True)
        else:
            _say(api.score(model, input, output, full=full, **options), least_confidence, as_json)


def _say(scored: Scored, least_confidence: float, as_json: bool, lines: bool = False) -> None:
    if as_json:
        print_json(scored.as_json(), indent=None if lines else 2)
        return
    for line in scored.why or [f"nothing is new in {scored.input}"]:
        print(line)
    print(f"{scored.rows:,} rows → {scored.output} ({scored.output.rows:,} rows), by {scored.model}")
    if scored.without:
        print(f"{scored.without:,} of them have no input for the model: their prediction is null")
    if scored.replaced:
        print(f"{scored.replaced:,} of them replaced a row with the same id")
    for name, count in scored.unknown.items():
        print(f"{count:,} of them have no {name!r}: no feature table knew a value at their time")
    if scored.abstained:
        print(f"{scored.abstained:,} of them have a confidence below {least_confidence:g}: their abstain is true")
    if len(scored.parts) > 1:
        print(f"parts: {', '.join(f'{host} {count:,}' for host, count in sorted(scored.parts.items()))}")
    if scored.rows:
        print(f"{scored.seconds:.1f} s, {scored.seconds_per_1000_rows:.3f} s per 1,000 rows", flush=True)


@app.command(epilog="Example: lakewright search main.bank.questions 'lost card' --k 5")
def search(
    table: Annotated[str, typer.Argument(help="catalog.schema.table, or catalog.schema.table@v3")],
    text: Annotated[str, typer.Argument(help="the text to search for")],
    model: Annotated[
        str | None,
        typer.Option(help="models:/NAME@alias or a model folder; default: the model that embedded the table last"),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="the column to search; default: text, or the only column of texts")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="number of rows")] = 10,
    where: Annotated[str | None, typer.Option(help="a condition in SQL: only rows that meet it")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="compare every text, however many there are")] = False,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Find the rows of a table that are nearest in meaning to a text.

    A model of the task sentence_similarity embeds the texts.
    """
    from lakewright import api

    text, _ = _utf8((text, where or ""), "argument")
    with stoppable("the committed embeddings are kept"):
        result = api.search(table, text, model=model, column=column, k=k, where=where, exact=exact, profile=profile)
    if result.note:
        print(result.note, file=sys.stderr)
    if as_json:
        print_json(result.as_json())
        return
    print_rows(result.lines(), False, "rows")
    print(result.summary(), file=sys.stderr)


def _stdin() -> Iterator[str]:
    """The lines of stdin, read as UTF-8 in every locale; other bytes are escaped, as Python does in arguments."""
    with io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line in lines:
            yield line.removesuffix("\n")


def _utf8(texts: Iterable[str], place: str) -> Iterator[str]:
    """The texts. Raises DataError if one holds bytes that are not UTF-8."""
    from lakewright.errors import DataError

    for number, text in enumerate(texts, start=1):
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as failure:
                byte = ord(text[failure.start]) - 0xDC00
                raise DataError(
                    f"{place} {number} is not UTF-8: character {failure.start + 1} is the byte 0x{byte:02x}",
                    "convert it, for example from Latin-1: iconv -f LATIN1 -t UTF-8 rows.txt | lakewright …",
                ) from None
        yield text


def _row(line: str, inputs: Mapping[str, Kind], place: str) -> str | dict[str, Any]:
    """A text, or a JSON object of the model's inputs. A text may begin with a brace if it is the model's only input."""
    from lakewright.errors import UsageError, shown

    if not line.lstrip().startswith("{"):
        return line
    try:
        row: dict[str, Any] = jsonfile.parse_strictly(line)
    except jsonfile.Unusable as failure:
        raise UsageError(f"{place}: {failure}", failure.remedy) from None
    except ValueError as failure:
        if len(inputs) == 1 and not re.match(r'\s*\{\s*"', line):
            return line
        name = next((name for name, kind in inputs.items() if kind == "text"), next(iter(inputs)))
        raise UsageError(
            f"{place} is not a JSON object: {shown(line)} ({failure})",
            f'write {{"{name}": "…", …}}, one a line; a text that begins with a brace goes into one, with \\" for "',
        ) from None
    return row


def _chunks(rows: Iterable[Any], size: int) -> Iterable[list[Any]]:
    rows = iter(rows)
    while chunk := list(islice(rows, size)):
        yield chunk
