"""Everything that a person reads in a browser: one renderer, one style sheet."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from lakewright.evaluation.metrics import meanings, quantity, signed, written
from lakewright.pages.parts import number, percent


def rendered(template: str, package: str, filters: Mapping[str, Any] = {}, **values: Any) -> str:
    """The page that a template of a package makes. All values are escaped; every page's look is `page.css`, here."""
    import jinja2

    def load(name: str) -> str:
        return files(package if name == template else "lakewright.pages").joinpath(name).read_text("utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "percent": percent, "number": number, "quantity": quantity, "size": _size}
    environment.filters |= {"metric": _metric, "difference": _difference, **filters}
    return environment.get_template(template).render(values)


def count(value: float) -> str:
    return f"{value:,.0f}"


def _metric(value: float, name: str) -> str:
    """A metric's value; `name` may be that of a check that is no metric's."""
    return written(name, value) if name in meanings() else number(value)


def _difference(value: float, name: str) -> str:
    return signed(name, value, 4)


def _size(bytes_: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if bytes_ < 1000:
            return f"{bytes_:.{0 if unit == 'bytes' else 1}f}\N{NO-BREAK SPACE}{unit}"
        bytes_ /= 1000
    return f"{bytes_:.1f}\N{NO-BREAK SPACE}GB"
