"""JSON by its standard (RFC 8259), without NaN and infinity, which Python's module reads and writes.

`text` writes every JSON file of Lakewright; `parse` reads the files that others may have written.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NoReturn


class Unusable(ValueError):
    """JSON, or what Python's module takes for it, with a value that no row can hold."""

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause)
        self.remedy = remedy


def text(value: Any, indent: int | None = 2, default: Callable[[Any], Any] | None = None, escaped: bool = False) -> str:
    """One line if `indent` is None. A number that is not finite (a metric that the rows do not define) becomes null;
    `default` converts values that JSON has no form for, such as a time; `escaped`: ASCII only."""
    return json.dumps(finite(value), indent=indent, ensure_ascii=escaped, allow_nan=False, default=default) + "\n"


def finite(value: Any) -> Any:
    """The value with None in place of each float that is not finite, and decimals as JSON numbers, at any depth."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse(content: str | bytes) -> Any:
    """Raises ValueError for text that is not JSON, and for values nested deeper than Python's stack."""
    try:
        return json.loads(content, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def parse_strictly(content: str) -> Any:
    """Like `parse`, for JSON that a person writes: raises Unusable for a repeated key, for a number too large for a
    float, and for NaN and infinity."""
    try:
        return _STRICT.decode(content)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    once = dict(pairs)
    if len(once) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise Unusable(f"the key {name[:40]!r} occurs twice", "keep one of them")
    return once


def _float(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        shortened = number if len(number) <= 40 else f"{number[:40]}… ({len(number):,} characters)"
        raise Unusable(
            f"the number {shortened} is too large for a float, whose range ends at ±1.8e308",
            "give a number within that range, or null",
        )
    return value


def _int(number: str) -> int:
    _float(number)
    return int(number)


def _refuse(constant: str) -> NoReturn:
    raise Unusable(f"{constant} is not JSON", "write null where a value is not known, else a finite number")


_STRICT = json.JSONDecoder(object_pairs_hook=_once, parse_float=_float, parse_int=_int, parse_constant=_refuse)
