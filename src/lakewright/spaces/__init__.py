"""Spaces: what a search may draw. They know nothing of projects.

from lakewright import spaces
space = spaces.read({"C": {"loguniform": [0.01, 100]}, "kernel": {"choice": ["linear", {"rbf": {"gamma": …}}]}})
point = spaces.sample(space, np.random.default_rng(13))      # {"C": 3.1, "kernel": 0}
spaces.fill(space, point)                                    # {"C": 3.1, "kernel": "linear"}
"""

from __future__ import annotations

from lakewright.spaces.distributions import (
    Choice,
    Distribution,
    LogNormal,
    LogUniform,
    Normal,
    PChoice,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    RandInt,
    Uniform,
    UniformInt,
)
from lakewright.spaces.drawing import (
    Option,
    Parameter,
    Point,
    Space,
    Whole,
    draw,
    ends,
    fill,
    grid,
    middle,
    parameters,
    point_in,
    sample,
)
from lakewright.spaces.hyperopt import from_hyperopt, is_hyperopt
from lakewright.spaces.reading import DISTRIBUTIONS, Unreadable, placed, read, written

__all__ = [
    "DISTRIBUTIONS",
    "Choice",
    "Distribution",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Option",
    "PChoice",
    "Parameter",
    "Point",
    "QLogNormal",
    "QLogUniform",
    "QNormal",
    "QUniform",
    "RandInt",
    "Space",
    "Uniform",
    "UniformInt",
    "Unreadable",
    "Whole",
    "draw",
    "ends",
    "fill",
    "from_hyperopt",
    "grid",
    "is_hyperopt",
    "middle",
    "parameters",
    "placed",
    "point_in",
    "read",
    "sample",
    "written",
]
