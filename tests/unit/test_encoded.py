"""Rows taken out of encoded examples are what they were among the others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lakewright.model.recipe import Recipe
from lakewright.model.recipe.encoded import Encoded
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.recipe.tokens import Tokens

SEQUENCE = st.lists(st.integers(1, 99), max_size=5)
ROWS = st.lists(st.lists(SEQUENCE, min_size=1, max_size=3), min_size=1, max_size=8)


def encoded(rows: list[list[list[int]]], windows: bool) -> Encoded:
    """`windows`: a row is all its sequences; else its first."""
    sequences = [sequence for row in rows for sequence in (row if windows else row[:1])]
    ids = Ragged.of(sequences, np.int32)
    return Encoded(
        ids,
        rows=np.concatenate([[0], np.cumsum([len(row) for row in rows])]) if windows else None,
        chars=Ragged.of([np.repeat(sequence, 2) for sequence in sequences], np.int32),
        columns=np.array([[len(row)] for row in rows], np.float32),
        hidden=ids.values[:, None].astype(np.float32) / 2,
    )


@given(ROWS, st.booleans(), st.data())
def test_taken_rows_are_the_rows(rows: list[list[list[int]]], windows: bool, data: st.DataObject) -> None:
    at = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    taken, expected = encoded(rows, windows).take(np.array(at, np.int64)), encoded([rows[i] for i in at], windows)
    assert len(taken) == len(at)
    for name in ("ids", "chars"):
        found, wanted = getattr(taken, name), getattr(expected, name)
        assert found.values.tolist() == wanted.values.tolist()
        assert found.offsets.tolist() == wanted.offsets.tolist()
    assert taken.hidden is not None and expected.hidden is not None
    assert taken.hidden.tolist() == expected.hidden.tolist()
    assert taken.columns is not None and taken.columns[:, 0].tolist() == [len(rows[i]) for i in at]
    assert (taken.rows is None) == (not windows)
    if taken.rows is not None and expected.rows is not None:
        assert taken.rows.tolist() == expected.rows.tolist()


@given(ROWS, st.booleans(), st.booleans(), st.data())
def test_a_batch_put_together_on_the_device_is_the_recipes(
    rows: list[list[list[int]]], windows: bool, types: bool, data: st.DataObject
) -> None:
    from lakewright.learning.learners.encoder.forward import resident

    rows = [[[5, *sequence] for sequence in row] for row in rows]  # no sequence is without a special token
    whole = replace(encoded(rows, windows), hidden=None)
    if types:
        whole = replace(whole, types=Ragged(whole.ids.values % 2, whole.ids.offsets))
    tokens = Tokens(("text",), None, 9, 7)  # type: ignore[arg-type]  # batches need no tokenizer
    at = data.draw(st.lists(st.integers(0, len(whole.ids) - 1), min_size=1, max_size=10))
    expected = Recipe((tokens,)).batch(whole, np.array(at, np.int64))
    found = resident(tokens, whole, torch.device("cpu"))(np.array(at, np.int64))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == torch.from_numpy(values).dtype, name
        assert found[name].tolist() == values.tolist(), name
