"""How results are printed: tables and lines or one JSON object on stdout, messages on stderr."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lakewright.errors import LakewrightError
from lakewright.system import jsonfile

if TYPE_CHECKING:
    from rich.table import Table

    from lakewright.pipeline.runs import Run
    from lakewright.records import BiasMeasures


def print_json(value: dict[str, Any], indent: int | None = 2) -> None:
    escaped = not (sys.stdout.encoding or "").lower().startswith("utf")  # other encodings may lack a character
    print(jsonfile.text(value, indent, str, escaped), end="", flush=indent is None)


def say(stage: str, status: str, why: str) -> None:
    mark = {"run": "…", "done": "✓", "skipped": "–", "failed": "✗"}[status]
    print(f"{mark} {stage:<9} {status:<8} {why if status != 'failed' else ''}".rstrip(), file=sys.stderr, flush=True)


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def complain(error: LakewrightError) -> None:
    print(visible("\n  ".join([f"error: {error.cause}", f"→ {error.remedy}", *error.noticed])), file=sys.stderr)
    if error.log:
        print(f"  log: {error.log}", file=sys.stderr)


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tab and line feed


def visible(text: str) -> str:
    """The text with control characters escaped: data could clear a terminal, overwrite it or reverse its lines."""
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def print_rows(rows: list[dict[str, Any]], as_json: bool, title: str) -> None:
    if as_json:
        print_json({title: rows})
        return
    if not rows:
        print(f"no {title}")
        return
    _console()(_table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows]))


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 120 else text[:119] + "…"


def _table(headers: list[str], rows: list[list[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(Text(visible(header)))
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    return table


def _console() -> Callable[..., None]:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200, highlight=False).print


def print_run(run: Run) -> None:
    from lakewright.evaluation.metrics import written
    from lakewright.records import Ingested, Prepared

    show = _console()
    record = run.records.get("prepare") or run.records.get("ingest")  # prepare repeats the findings of ingest
    if isinstance(record, Ingested | Prepared):
        for finding in record.findings:
            show(visible(f"noticed: {finding.name}: {finding.detail}"), markup=False)
    if "evaluate" in run.records:
        report = run.report
        confidence = f"{report.confidence:.0%} interval"
        rows = [
            [name, written(name, m.value, 4), f"{written(name, m.low, 4)} – {written(name, m.high, 4)}"]
            for name, m in report.metrics.items()
        ]
        show(_table([f"metric ({report.rows:,} test rows)", "value", confidence], rows))
        show(
            f"{report.model_bytes / 1e6:.3g} MB, {report.seconds_per_1000_rows:.2f} s per 1,000 rows ({report.runtime})"
        )
        if report.bias is not None:
            _print_bias(report.bias, report.confidence)
        for name, why in report.undefined.items():
            show(f"not defined on the test rows: {name}: {why}", markup=False)
        show(f"report: {report.html}")
    if "gate" in run.records:
        decision = run.decision
        show(f"gate: {'passed' if decision.passed else 'NOT passed, nothing registered'}")
        for check in decision.checks:
            show(f"  {'✓' if check.passed else '✗'} {check.name}: {check.detail}", markup=False)
    version = run.model_version
    if version is None or run.error is not None:
        return
    show(f"registered: {version} ({', '.join(version.aliases) or 'another version is the champion by now'})\n\nnext:")
    command = _command()
    if run.exit_code == 4:
        print(f"  {command} models approve {version.at}")
    uri = f"models:/{version.name}@champion" if "champion" in version.aliases else version.at
    print(f"  {command} predict {uri} {shlex.quote(_first_row(run))}")
    table = run.records["ingest"]
    print(f'  {command} sql "select * from {table.table.name} limit 5"')  # type: ignore[attr-defined]
    print(f"  {command} ui")


def _print_bias(bias: BiasMeasures, confidence: float) -> None:
    """The measures that most projects look at first; the report has all."""
    show, names = _console(), ("DPPL", "DI", "RD", "AD")
    rows = []
    for facet in bias.facets:
        cells = []
        for name in names:
            m = facet.measures.get(name)
            cells.append("not defined" if m is None else f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})")
        rows.append([str(facet), f"{facet.rows:,}", *cells])
    if rows:
        head = f"bias by “{bias.positive}” ({confidence:.0%} intervals)"
        show(_table([head, "rows", *names], rows))
    for finding in bias.findings:
        show(visible(f"noticed: {finding.name}: {finding.detail}"), markup=False)


def _command() -> str:
    """The name that starts this program again: a virtual environment need not be on the PATH."""
    return "lakewright" if shutil.which("lakewright") else os.path.relpath(sys.argv[0])


def _first_row(run: Run) -> str:
    """The first test row in the form that `predict` reads, long texts cut."""
    import pyarrow.parquet as pq

    # read_table would import pandas.
    first = next(pq.ParquetFile(run.report.test_rows).iter_batches(1, columns=["inputs"]))
    values = json.loads(first["inputs"][0].as_py())
    whole = values.get("text") is None  # a row of columns alone must have every input
    row = {
        name: value[:80] if isinstance(value, str) else value
        for name, value in values.items()
        if whole or value is not None
    }
    row.pop("tokens", None)  # the text is the same
    return row["text"] if list(row) == ["text"] else json.dumps(row, ensure_ascii=False)
