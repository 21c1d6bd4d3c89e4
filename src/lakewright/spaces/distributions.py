"""What one parameter of a search may be: a distribution, by the names that Hyperopt gave them.

Bounds are the values themselves, and both belong to the space; `mu` and `sigma` of a lognormal are of the logarithm.
Each distribution maps a share from 0 to 1 to a value (its quantile) and back, so that whatever draws shares can draw
values: a random generator, or a sampler that knows no such distribution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import NormalDist
from typing import Any, ClassVar

from lakewright.errors import UsageError, shown

EDGE = 1e-9  # shares of a normal distribution stay this far from 0 and 1, where its quantiles are infinite


@dataclass(frozen=True)
class _Between:
    """Numbers from `low` to `high`."""

    low: float
    high: float

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _check_numbers(self.name, self.low, self.high)
        if self.low > self.high:
            raise UsageError(
                f"{self.name}: the bounds are reversed: [{self.low}, {self.high}]",
                f"write the lower one first: [{self.high}, {self.low}]",
            )
        if self.low == self.high:
            raise UsageError(
                f"{self.name}: both bounds are {self.low}, so that there is nothing to search",
                "set two different bounds, or remove the parameter",
            )

    def holds(self, value: Any) -> bool:
        return _is_number(value) and self.low <= value <= self.high

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Uniform(_Between):
    name: ClassVar[str] = "uniform"

    def at(self, share: float) -> float:
        return self._inside(self.low + share * (self.high - self.low))

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class LogUniform(_Between):
    """The logarithm is uniform: as likely between 0.001 and 0.01 as between 0.01 and 0.1."""

    name: ClassVar[str] = "loguniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_above_zero(self.name, self.low)

    def at(self, share: float) -> float:
        return self._inside(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))

    def share(self, value: float) -> float:
        return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))


@dataclass(frozen=True)
class RandInt:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    name: ClassVar[str] = "randint"

    def __post_init__(self) -> None:
        _check_numbers(self.name, self.low, self.high)
        for bound in (self.low, self.high):
            if int(bound) != bound:
                raise UsageError(
                    f"{self.name}: the bound {bound} is no whole number", "write whole numbers, or use uniform"
                )
        object.__setattr__(self, "low", int(self.low))
        object.__setattr__(self, "high", int(self.high))
        if self.low > self.high:
            raise UsageError(
                f"{self.name}: the bounds are reversed: [{self.low}, {self.high}]",
                f"write the lower one first: [{self.high}, {self.low}]",
            )

    def holds(self, value: Any) -> bool:
        return _is_number(value) and int(value) == value and self.low <= value <= self.high

    def at(self, share: float) -> int:
        return min(self.low + math.floor(share * (self.high - self.low + 1)), self.high)

    def share(self, value: float) -> float:
        return (value - self.low + 0.5) / (self.high - self.low + 1)


@dataclass(frozen=True)
class UniformInt(RandInt):
    """As RandInt."""

    name: ClassVar[str] = "uniformint"


@dataclass(frozen=True)
class Normal:
    """Any number, most likely near `mu`."""

    mu: float
    sigma: float

    name: ClassVar[str] = "normal"

    def __post_init__(self) -> None:
        _check_numbers(self.name, self.mu, self.sigma)
        _check_above_zero(f"{self.name}, sigma", self.sigma)

    def holds(self, value: Any) -> bool:
        return _is_number(value)

    def at(self, share: float) -> float:
        return NormalDist(self.mu, self.sigma).inv_cdf(min(max(share, EDGE), 1 - EDGE))

    def share(self, value: float) -> float:
        return NormalDist(self.mu, self.sigma).cdf(value)


@dataclass(frozen=True)
class LogNormal(Normal):
    """Any number above 0, its logarithm normal with `mu` and `sigma`."""

    name: ClassVar[str] = "lognormal"

    def holds(self, value: Any) -> bool:
        return _is_number(value) and value > 0

    def at(self, share: float) -> float:
        return math.exp(super().at(share))

    def share(self, value: float) -> float:
        return super().share(math.log(value))


class _Steps:
    """The multiples of `q`."""

    q: float

    def _multiple(self, value: float) -> float:
        """The nearest one, without the error of a product of floats (3 * 0.1); an int where q is one."""
        product = Decimal(repr(self.q)) * round(value / self.q)
        return int(product) if isinstance(self.q, int) else float(product)


@dataclass(frozen=True)
class QUniform(_Between, _Steps):
    """The multiples of `q` from `low` to `high`."""

    q: float

    name: ClassVar[str] = "quniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_numbers(self.name, self.q)
        _check_above_zero(f"{self.name}, q", self.q)
        if self.first > self.last:
            raise UsageError(
                f"{self.name}: no multiple of {self.q} lies from {self.low} to {self.high}", "set a smaller q"
            )

    @property
    def first(self) -> int:
        """The least multiple, in steps of q."""
        return math.ceil(self.low / self.q - 1e-9)

    @property
    def last(self) -> int:
        return math.floor(self.high / self.q + 1e-9)

    def step(self, number: int) -> float:
        """So many steps of q."""
        return self._multiple(number * self.q)

    def steps_to(self, value: float) -> int:
        return round(value / self.q)

    def holds(self, value: Any) -> bool:
        return _is_number(value) and self.low - 1e-9 <= value <= self.high + 1e-9 and self._multiple(value) == value

    def at(self, share: float) -> float:
        return self._clipped(self.low + share * (self.high - self.low))

    def share(self, value: float) -> float:
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def _clipped(self, value: float) -> float:
        return self.step(min(max(self.steps_to(value), self.first), self.last))


@dataclass(frozen=True)
class QLogUniform(QUniform):
    """The multiples of `q` from `low` to `high`, the logarithm uniform before rounding."""

    name: ClassVar[str] = "qloguniform"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_above_zero(self.name, self.low)

    def at(self, share: float) -> float:
        return self._clipped(math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low))))

    def share(self, value: float) -> float:
        share = (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return min(max(share, 0.0), 1.0)


@dataclass(frozen=True)
class QNormal(Normal, _Steps):
    """A normal number, rounded to a multiple of `q`."""

    q: float

    name: ClassVar[str] = "qnormal"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_numbers(self.name, self.q)
        _check_above_zero(f"{self.name}, q", self.q)

    def holds(self, value: Any) -> bool:
        return _is_number(value) and self._multiple(value) == value

    def at(self, share: float) -> float:
        return self._multiple(super().at(share))


@dataclass(frozen=True)
class QLogNormal(LogNormal, _Steps):
    """A lognormal number, rounded to a multiple of `q`; it may be 0."""

    q: float

    name: ClassVar[str] = "qlognormal"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_numbers(self.name, self.q)
        _check_above_zero(f"{self.name}, q", self.q)

    def holds(self, value: Any) -> bool:
        return _is_number(value) and value >= 0 and self._multiple(value) == value

    def at(self, share: float) -> float:
        return self._multiple(super().at(share))

    def share(self, value: float) -> float:
        return super().share(value) if value > 0 else super().share(self.q / 2) / 2


@dataclass(frozen=True)
class Choice:
    """One of the options. An option may hold parameters of its own, which are drawn only with it. What is drawn is the
    option's index."""

    options: tuple[Any, ...]

    name: ClassVar[str] = "choice"

    def __init__(self, options: Sequence[Any]) -> None:
        object.__setattr__(self, "options", tuple(options))
        _check_options(self.name, self.options)

    def holds(self, value: Any) -> bool:
        return _is_number(value) and int(value) == value and 0 <= value < len(self.options)

    def at(self, share: float) -> int:
        return min(math.floor(share * len(self.options)), len(self.options) - 1)

    def share(self, value: float) -> float:
        return (value + 0.5) / len(self.options)


@dataclass(frozen=True)
class PChoice:
    """One of the options, each with a probability of its own. What is drawn is the option's index."""

    options: tuple[Any, ...]
    probabilities: tuple[float, ...]

    name: ClassVar[str] = "pchoice"

    def __init__(self, options: Sequence[Any], probabilities: Sequence[float]) -> None:
        object.__setattr__(self, "options", tuple(options))
        object.__setattr__(self, "probabilities", tuple(float(each) for each in probabilities))
        _check_options(self.name, self.options)
        if len(self.options) != len(self.probabilities):
            raise UsageError(
                f"{self.name}: {len(self.options)} options have {len(self.probabilities)} probabilities",
                "write each option with its probability: [[0.2, a], [0.8, b]]",
            )
        if not all(0 < each <= 1 for each in self.probabilities) or abs(sum(self.probabilities) - 1) > 1e-6:
            raise UsageError(
                f"{self.name}: the probabilities are {', '.join(map(str, self.probabilities))}",
                "write numbers above 0 that add up to 1",
            )

    def holds(self, value: Any) -> bool:
        return _is_number(value) and int(value) == value and 0 <= value < len(self.options)

    def at(self, share: float) -> int:
        total = 0.0
        for index, probability in enumerate(self.probabilities):
            total += probability
            if share < total:
                return index
        return len(self.options) - 1

    def share(self, value: float) -> float:
        return sum(self.probabilities[: int(value)]) + self.probabilities[int(value)] / 2


Distribution = Uniform | LogUniform | RandInt | Normal | QUniform | Choice | PChoice
NUMBERS: dict[str, type[Any]] = {
    each.name: each
    for each in (
        RandInt,
        UniformInt,
        Uniform,
        LogUniform,
        Normal,
        LogNormal,
        QUniform,
        QLogUniform,
        QNormal,
        QLogNormal,
    )
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_numbers(name: str, *values: Any) -> None:
    for value in values:
        if not _is_number(value):
            raise UsageError(f"{name}: {shown(value)} is no finite number", "write a number, for example 1e-4 or 0.5")


def _check_above_zero(name: str, value: float) -> None:
    if value <= 0:
        logarithm = "; bounds are the values themselves, not their logarithms" if name.endswith("loguniform") else ""
        raise UsageError(f"{name}: {value} is not above 0", f"write a number above 0{logarithm}")


def _check_options(name: str, options: Sequence[Any]) -> None:
    if not options:
        raise UsageError(f"{name} has no options", f"write at least one: {{{name}: [a, b]}}")
    for place, option in enumerate(options):
        if any(isinstance(option, bool) == isinstance(other, bool) and option == other for other in options[:place]):
            raise UsageError(f"{name} has the option {shown(option)} twice", "write each option once")
