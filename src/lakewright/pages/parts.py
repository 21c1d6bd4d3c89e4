"""What a section of the page is made of: tables, drawings and cards. `report.html.j2` draws each; all text is escaped
there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lakewright.evaluation.metrics import quantity
from lakewright.evaluation.scorers.entities import Outcome
from lakewright.pages.pictures import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lakewright.evaluation.scorers.entities import Outcome
    from lakewright.pages.report.context import ReportContext
    from lakewright.records import Report


Cell = str | float | None  # None: an empty cell


@dataclass(frozen=True)
class Column:
    name: str
    kind: Literal["name", "text", "says", "count", "number", "quantity", "percent", "bar", "share"] = "text"
    """quantity: a number in the data's own unit, of any size; bar: 0..1 as a bar and a number; share: the same as a
    percentage"""


@dataclass(frozen=True)
class Table:
    """A click on a heading sorts it."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Drawing:
    svg: Any  # Markup
    caption: str = ""
    wide: bool = False  # keeps its size and scrolls, rather than shrink

    kind: ClassVar[str] = "drawing"


@dataclass(frozen=True)
class Words:
    text: str

    kind: ClassVar[str] = "words"


@dataclass(frozen=True)
class Code:
    """Lines to copy."""

    text: str

    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Outcomes:
    """How many there are of each outcome, as one stacked bar with its key."""

    counts: Mapping[Outcome, float]
    names: Mapping[Outcome, str]

    kind: ClassVar[str] = "outcomes"


@dataclass(frozen=True)
class Key:
    """What the marks mean: name → meaning."""

    marks: Mapping[str, str]

    kind: ClassVar[str] = "key"


@dataclass(frozen=True)
class Fact:
    name: str
    value: str
    tone: Literal["", "good", "bad"] = ""
    beside: str = ""


@dataclass(frozen=True)
class Line:
    pieces: Sequence[Piece]
    name: str = ""


@dataclass(frozen=True)
class Card:
    row: str  # the row's id
    facts: Sequence[Fact]
    lines: Sequence[Line]


@dataclass(frozen=True)
class Cards:
    """The first eight are open, the rest folded."""

    cards: Sequence[Card]

    kind: ClassVar[str] = "cards"


Part = Table | Drawing | Words | Code | Outcomes | Key | Cards


@dataclass(frozen=True)
class Section:
    name: str  # in the page's address
    link: str
    title: str
    words: str
    parts: Sequence[Part] = field(default=())


def drawing(figure: Figure, description: str, caption: str = "", wide: bool = False) -> Drawing:
    """`description` is what a screen reader says."""
    from markupsafe import Markup

    return Drawing(Markup(canvas.svg(figure, description)), caption, wide)


def percent(share: float) -> str:
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else quantity(value)


def classes_section(
    report: Report, more: Sequence[tuple[Column, Callable[[str], Cell]]] = (), kind: str = "class"
) -> list[Section]:
    """Precision, recall and F1 of each class, the worst first; `more` columns are read by the class's name."""
    if not report.classes:
        return []
    columns = [Column(kind, "name"), Column("F1", "bar"), Column("precision", "bar"), Column("recall", "bar")]
    columns += [Column("true rows", "count"), Column("predicted rows", "count"), *(column for column, _ in more)]
    rows: list[list[Cell]] = [
        [
            name,
            *(metrics[key] for key in ("f1", "precision", "recall", "support")),
            metrics.get("predicted"),
            *(value(name) for _, value in more),
        ]
        for name, metrics in sorted(report.classes.items(), key=lambda item: item[1]["f1"])
    ]
    words = "The worst first; a click on a heading sorts by it."
    link = "Labels" if kind == "label" else "Classes"
    return [Section("classes", link, f"By {kind}", words, [Table(columns, rows)])]


def mistakes_section(cards: Sequence[Card], title: str, words: str, key: Key | None = None) -> list[Section]:
    if not cards:
        return []
    return [Section("mistakes", "Mistakes", title, words, [*([key] if key else []), Cards(cards)])]


def row_id(context: ReportContext, row: int) -> str:
    return str(context.row_ids[row] if context.row_ids else row)


def texts_of(context: ReportContext, row: int) -> dict[str, str]:
    """The row's texts by input; under "" where only the whole text is known."""
    if not context.rows:
        return {"": context.texts[row]} if context.texts else {}
    return {
        name: value for name, value in context.rows[row].items() if isinstance(value, str) and _is_text(context, name)
    }


def lines_of(context: ReportContext, row: int, characters: int = 500) -> list[Line]:
    """The row's texts as they stand, cut; named where there are several."""
    texts = texts_of(context, row)
    return [Line([Piece(shortened(text, characters))], name if len(texts) > 1 else "") for name, text in texts.items()]


def other_columns(context: ReportContext, row: int) -> list[Fact]:
    """What the row holds beside its texts."""
    if not context.rows:
        return []
    kinds = context.inputs
    return [
        Fact(name, f"{value:g}" if isinstance(value, float) else str(value))
        for name, value in context.rows[row].items()
        if value is not None and kinds.get(name) in ("number", "category")
    ]


def shortened(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


def _is_text(context: ReportContext, name: str) -> bool:
    return context.inputs.get(name, "text") in ("text", "optional text")


@dataclass(frozen=True)
class Piece:
    """A stretch of text; `label` and `outcome` where it is an entity or an answer, `weight` (-1 to 1) where it is a
    word that spoke for or against what was said."""

    text: str
    label: str = ""
    outcome: Outcome | Literal["predicted"] | None = None
    weight: float = 0.0
