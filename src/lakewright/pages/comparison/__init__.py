"""comparison.html: finished runs beside one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lakewright.evaluation.leaderboard import Leaderboard
from lakewright.evaluation.metrics import meaning


def page(comparison: Mapping[str, Any], leaderboard: Leaderboard) -> str:
    from markupsafe import Markup

    from lakewright.pages import rendered
    from lakewright.pages.pictures.canvas import svg
    from lakewright.pages.pictures.of_models import trade_off

    description = f"{leaderboard.metric} of each run by the seconds it takes for 1,000 rows"
    picture = Markup(svg(trade_off(leaderboard), description))
    methods = sorted({place.against_best.method for place in leaderboard.places if place.against_best})
    return rendered(
        "comparison.html.j2",
        __name__,
        comparison=comparison,
        meaning=meaning(leaderboard.metric),
        picture=picture,
        methods=methods,
    )
