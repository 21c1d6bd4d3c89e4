"""Rows that have the key of a feature table in place of its values, for whoever predicts with a model folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.model.folder import lookups_of

if TYPE_CHECKING:
    from lakewright.data.features.online import OnlineStore
    from lakewright.data.rows.kinds import Prediction

Unknown = Mapping[int, list[str]]  # number of a row → its inputs of which no feature table has a value


def completing(
    folder: Path, inputs: Collection[str], online: Callable[[], OnlineStore]
) -> Callable[[list[Any]], tuple[list[Any], Unknown]]:
    """`Lookups.completed` of what the model looks up. Of a model without lookups, the rows as they are: no store is
    opened, and pyarrow is not imported."""
    described = lookups_of(folder)
    if not described:
        return lambda rows: (rows, {})
    from lakewright.data.features.online.lookups import Lookups, lookups_in

    return Lookups(lookups_in(described, inputs), online(), inputs).completed


def noting(unknown: Unknown, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The predictions, each with the inputs of its row that no feature table knew."""
    return [{**each, "unknown": unknown[at]} if at in unknown else each for at, each in enumerate(predictions)]
