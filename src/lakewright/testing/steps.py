"""The suite for a step: stored and opened it is the same, and a row is encoded alone as in company."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lakewright.model.folder import FORMAT, MODEL, open_recipe
from lakewright.model.recipe import Recipe, Step, Values
from lakewright.model.recipe.encoded import Encoded


@dataclass(frozen=True)
class StepCase:
    step: Step
    values: Values  # of each input that the step reads, the values of two rows or more

    @property
    def rows(self) -> int:
        return len(next(iter(self.values.values())))


class StepSuite:
    """Subclass it as Test…, with a fixture `case` that gives a StepCase."""

    def test_stored_and_opened_it_is_the_same(self, case: StepCase, tmp_path: Path) -> None:
        (tmp_path / "recipe").mkdir()
        Recipe((case.step,)).save(tmp_path / "recipe")
        (tmp_path / MODEL).write_text(json.dumps({"format": FORMAT}))
        (again,) = open_recipe(tmp_path).steps
        assert (again.name, again.inputs) == (case.step.name, case.step.inputs)
        assert same(case.step.encode(case.values), again.encode(case.values))

    def test_a_row_is_encoded_alone_as_in_company(self, case: StepCase) -> None:
        together = case.step.encode(case.values)
        assert len(together) == case.rows
        for row in range(case.rows):
            alone = case.step.encode({name: [column[row]] for name, column in case.values.items()})
            assert same(alone, together.take(np.array([row]))), f"row {row} is encoded differently when it is alone"

    def test_it_gives_sequences_or_numbers_as_it_declares(self, case: StepCase) -> None:
        step, encoded = case.step, case.step.encode(case.values)
        assert (encoded.columns is None) == step.sequences == (not encoded.numbers_alone)
        assert bool(step.batch(encoded, np.array([0]))) == step.sequences
        batch = Recipe((step,)).batch(encoded, np.array([0, 1]))
        assert batch and {len(part) for part in batch.values()} == {2}

    def test_shortfalls_are_of_every_row(self, case: StepCase) -> None:
        shortfalls = case.step.shortfalls(case.step.encode(case.values), case.values)
        assert {(len(shortfall.lost), len(shortfall.of)) for shortfall in shortfalls} <= {(case.rows, case.rows)}

    def test_a_neutral_row_can_be_encoded(self, case: StepCase) -> None:
        recipe = Recipe((case.step,))
        texts = {name: "a" for name in case.step.inputs if name not in case.step.neutral()}
        (row,) = recipe.sample_rows([texts])
        assert len(recipe.encode([row])) == 1


def same(first: Encoded, second: Encoded) -> bool:
    """Whether two encodings hold the same ids, weights and numbers."""
    pairs = [(first.ids.values, second.ids.values), (first.ids.offsets, second.ids.offsets)]
    if first.weights is not None and second.weights is not None:
        pairs.append((first.weights.values, second.weights.values))
    if first.columns is not None and second.columns is not None:
        pairs.append((first.columns, second.columns))
    alike = (first.weights is None, first.columns is None) == (second.weights is None, second.columns is None)
    return alike and all(np.array_equal(*pair) for pair in pairs)
