"""How the prediction changes with each of the most important inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakewright.pages.parts import Section, drawing
from lakewright.pages.pictures.of_inputs import dependence

if TYPE_CHECKING:
    from lakewright.records import Report


def sections(report: Report) -> list[Section]:
    curves = report.dependences
    if not curves:
        return []
    classes = list(curves[0].means)
    if classes == [""]:
        upwards, what = "mean prediction", "the mean prediction"
    elif len(classes) == 1:
        upwards, what = f"probability of {classes[0]}", f"the mean probability of “{classes[0]}”"
    else:
        upwards, what = "probability", "the mean probability of each class"
    words = (
        f"For each value, {what} over {curves[0].rows:,} test rows, all of which are given this value, while their "
        "other inputs stay. Values are quantiles of the test rows, so points lie close where rows do; categories are "
        "the most frequent ones. Where inputs hang together, some of these rows are such as never occur (a small house "
        "of ten rooms), and the curve says what the model would answer, not what is so. It is no effect of a cause."
    )
    picture = drawing(dependence(curves, upwards), "mean prediction by the value of an input", wide=True)
    return [Section("dependence", "Dependence", "How the prediction changes with an input", words, [picture])]
