"""JSON as its standard has it (RFC 8259), which has no NaN and no infinity: Python's module reads and writes both.

Every file that Lakewright writes as JSON is written by `text`, and what others may have written is read by `parse`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn


def text(value: Any, indent: int | None = 2, default: Callable[[Any], Any] | None = None, escaped: bool = False) -> str:
    """One line without `indent`. A number that is not finite (a metric that the rows do not define) is null; `default`
    makes something of what JSON has no form for, a time for example; `escaped`: ASCII alone."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=escaped, allow_nan=False, default=default) + "\n"


def finite(value: Any) -> Any:
    """The value with None in place of each float that is not finite, and decimals as the numbers that JSON has, at any
    depth."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse(content: str | bytes) -> Any:
    """Raises ValueError for what is no JSON, and for values nested deeper than Python's stack."""
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
