"""How predictions differ between facets: the measures of evaluate.bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakewright.evaluation.bias import MEASURES
from lakewright.pages.parts import Cell, Column, Part, Section, Table, Words

if TYPE_CHECKING:
    from lakewright.records import BiasMeasures, FacetMeasures, Report


def sections(report: Report) -> list[Section]:
    bias = report.bias
    if bias is None:
        return []
    shown = [name for name in MEASURES if any(name in facet.names for facet in bias.facets)]
    parts: list[Part] = [Words(f"{finding.detail}{_examples(finding.rows)}") for finding in bias.findings]
    if bias.facets:
        parts += [_overview(bias, shown), _intervals(bias, shown), _meanings(shown)]
    return [Section("bias", "Bias", "Bias", _words(report, bias), parts)]


def _words(report: Report, bias: BiasMeasures) -> str:
    columns = list(dict.fromkeys(facet.column for facet in bias.facets))
    unread = [column for column in columns if column not in bias.read_by_model]
    tests = [facet.fliptest_rows for facet in bias.facets if facet.fliptest_rows is not None]
    most = (
        f" FT is of up to {max(d for d, _ in tests):,} rows and {max(a for _, a in tests):,} others." if tests else ""
    )
    return (
        "The test rows of each value, the facet, beside the rest, by the post-training measures of SageMaker Clarify; "
        f"the better outcome is “{bias.positive}”. Above 0 a measure means less of it for the facet (DI: below 1), but "
        "DCAcc and DCR, which compare what is true with what is predicted, and GE, which is of both sides together. "
        "A measure differs where its whole interval is on one side of 0 (DI: of 1)."
        + (f" The model reads {', '.join(bias.read_by_model)}." if bias.read_by_model else "")
        + (f" The model does not read {', '.join(unread)}." if unread else "")
        + (f" CDDPL is within the groups of {bias.group}." if bias.group else "")
        + most
    )


def _overview(bias: BiasMeasures, shown: list[str]) -> Table:
    columns = [Column("facet", "name"), Column("rows", "count"), *(Column(name, "number") for name in shown)]
    return Table(columns, [[str(facet), facet.rows, *(_value(facet, name) for name in shown)] for facet in bias.facets])


def _intervals(bias: BiasMeasures, shown: list[str]) -> Table:
    columns = [Column("facet", "name"), Column("measure"), Column("value", "number"), Column("least", "number")]
    columns += [Column("most", "number"), Column("differs"), Column("remark", "says")]
    rows: list[list[Cell]] = []
    for facet in bias.facets:
        for name in shown:
            if name in facet.undefined:
                rows.append([str(facet), name, None, None, None, None, facet.undefined[name]])
            elif name in facet.measures:
                metric, even = facet.measures[name], MEASURES[name].even
                differs = even is not None and (metric.low > even or metric.high < even)
                rows.append([str(facet), name, metric.value, metric.low, metric.high, "yes" if differs else None, None])
    return Table(columns, rows)


def _meanings(shown: list[str]) -> Table:
    columns = [Column("measure", "name"), Column("its name at Clarify", "says"), Column("meaning", "says")]
    return Table(columns, [[name, MEASURES[name].name, MEASURES[name].text] for name in shown])


def _value(facet: FacetMeasures, name: str) -> float | None:
    return facet.measures[name].value if name in facet.measures else None


def _examples(rows: list[str]) -> str:
    return f" ({'; '.join(rows)})" if rows else ""
