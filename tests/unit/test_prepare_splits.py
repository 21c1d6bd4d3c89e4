from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from lakewright.data.rows.keys import digests
from lakewright.data.rows.splits import SPELLINGS, SPLITS, Method, _apportion, assign
from lakewright.errors import DataError, UsageError
from lakewright.model.tasks.classification import TextClassificationColumns
from lakewright.settings.sections import Columns

COLUMNS = TextClassificationColumns(text="text", label="label", group="patient", event_time="seen_at", split="part")
SHARES: dict[str, Any] = {"test": 0.15, "validation": 0.15, "seed": 13}

shares = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(lambda two: (two[0] / 100, two[1] / 100))


def test_a_gap_before_validation_and_test_is_in_no_split() -> None:
    days = np.arange("2026-01-01", "2026-04-11", dtype="datetime64[D]")  # 100
    without = assign("time", 100, columns=Columns(event_time="t"), times=days, test=0.2, validation=0.2, seed=1)
    split = assign("time", 100, columns=Columns(event_time="t"), times=days, gap="3d", test=0.2, validation=0.2, seed=1)
    left = [at for at, name in enumerate(split.tolist()) if name is None]
    assert left == [58, 59, 78, 79] and (split[split != None] == without[split != None]).all()  # noqa: E711
    numbers = assign("time", 100, columns=Columns(), times=np.arange(100.0), gap="3", test=0.2, validation=0.2, seed=1)
    assert numbers.tolist() == split.tolist()
    for method, times, gap in (("random", days, "3d"), ("time", days, "3"), ("time", np.arange(100.0), "3d")):
        with pytest.raises(UsageError, match="gap"):
            assign(method, 100, columns=Columns(), times=times, gap=gap, test=0.2, validation=0.2, seed=1)


def split_of(method: Method, n: int, **given: Any) -> npt.NDArray[np.str_]:
    return assign(method, n, columns=COLUMNS, **{**SHARES, **given})


def rows_of(split: npt.NDArray[np.str_]) -> dict[str, int]:
    return {name: int(np.sum(split == name)) for name in SPLITS}


# --- random


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), shares, st.integers(0, 2**32))
@example([3] * 30, (0.15, 0.15), 0)  # no class has a whole row for test
@example([1] * 10 + [60], (0.15, 0.15), 0)
@example([1, 2, 60, 30], (0.01, 0.34), 0)  # 0.65 × 60 is 39, but not in binary numbers
def test_every_class_is_divided_to_within_a_row(sizes: list[int], share: tuple[float, float], seed: int) -> None:
    test, validation = share
    truth = np.random.default_rng(seed).permutation([f"label {i}" for i, size in enumerate(sizes) for _ in range(size)])
    planned = {"test": test, "validation": validation, "train": 1 - test - validation}
    try:
        split = split_of("random", len(truth), truth=truth, test=test, validation=validation, seed=seed)
    except DataError as error:
        assert "has no rows" in error.cause
        assert min(planned.values()) * len(truth) < max(2, len(sizes))  # only where rows are few
        return
    counts = Counter(zip(truth.tolist(), split.tolist(), strict=True))
    assert sum(counts[label, name] for label in set(truth) for name in SPLITS) == len(truth)
    for i, size in enumerate(sizes):
        assert counts[f"label {i}", "train"] >= 1
        for name, part in planned.items():
            assert counts[f"label {i}", name] in (math.floor(part * size + 1e-6), math.ceil(part * size - 1e-6))
    if min(sizes) * planned["train"] >= 1:  # train then takes no row out of turn: rounding evens out over the classes
        for name, part in planned.items():
            assert abs(rows_of(split)[name] - part * len(truth)) <= 2


def test_a_thousand_small_classes_still_fill_test() -> None:
    truth = np.repeat([f"label {i}" for i in range(1000)], 3)
    assert rows_of(split_of("random", 3000, truth=truth)) == {"train": 2100, "validation": 450, "test": 450}


def test_without_labels() -> None:
    assert rows_of(split_of("random", 100)) == {"train": 70, "validation": 15, "test": 15}


def test_shares_that_binary_numbers_miss_are_met() -> None:
    assert rows_of(split_of("random", 100, test=0.29, validation=0.57)) == {"train": 14, "validation": 57, "test": 29}


def test_another_seed_is_another_split() -> None:
    one, same, other = (split_of("random", 200, seed=seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def uneven(n: int, seed: int = 0) -> npt.NDArray[np.int64]:
    shares = [0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.01, 0.01]
    return np.random.default_rng(seed).choice(len(shares), n, p=shares)


@pytest.mark.parametrize("method", ["random", "predefined", "grouped"])
def test_the_order_of_rows_changes_no_split(method: Method) -> None:
    n = 5000
    rng = np.random.default_rng(1)
    order = rng.permutation(n)
    ids = digests(f"record {i}" for i in range(n))
    # Beside large classes a hundred of a few rows, which are rounded in turn.
    truth = np.where(np.arange(n) < 300, 100 + np.arange(n) // 3, uneven(n))
    inputs = {"truth": truth, "ids": ids, "predefined": np.where(np.arange(n) % 7, "train", "test")}
    if method == "grouped":
        inputs["groups"] = digests(np.minimum(rng.zipf(1.7, n), 900).tolist())
    split = split_of(method, n, **inputs)
    again = split_of(method, n, **{name: values[order] for name, values in inputs.items()})
    assert again.tolist() == split[order].tolist()
    if method != "grouped":  # which goes by the groups' own digests
        assert split_of(method, n, **{**inputs, "ids": np.roll(ids, 1)}).tolist() != split.tolist()


def test_rows_without_an_id_are_drawn_by_their_numbers() -> None:
    n = 1000
    numbers = np.sort(np.random.default_rng(0).choice(5000, n, replace=False))
    split = split_of("random", n, truth=uneven(n), rows=numbers)
    assert split.tolist() == split_of("random", n, truth=uneven(n), rows=np.arange(n), ids=numbers).tolist()
    assert split.tolist() != split_of("random", n, truth=uneven(n)).tolist()


@pytest.mark.parametrize("seed", [1, 13])
@pytest.mark.parametrize("with_ids", [True, False], ids=["ids", "row numbers"])
def test_rows_that_are_added_move_few_others(with_ids: bool, seed: int) -> None:
    n, more = 100_000, 1_000
    ids = digests(f"record {i}" for i in range(n + more)) if with_ids else np.arange(n + more)
    truth = uneven(n + more)
    before = split_of("random", n, truth=truth[:n], ids=ids[:n], seed=seed)
    after = split_of("random", n + more, truth=truth, ids=ids, seed=seed)
    assert np.sum(before != after[:n]) < 0.001 * n
    other = split_of("random", n, truth=truth[:n], ids=ids[:n], seed=seed + 1)
    assert np.mean(before != other) > 0.4
    for split, labels in ((before, truth[:n]), (after, truth)):
        owed = dict.fromkeys(("test", "validation", "train"), 0.0)
        for size, label in sorted((int(np.sum(labels == label)), label) for label in range(8)):
            counts = _apportion(size, {"test": 0.15, "validation": 0.15, "train": 0.7}, owed)
            assert rows_of(split[labels == label]) == counts


def test_many_small_classes_do_not_all_move_when_some_grow() -> None:
    truth = np.append(np.repeat(np.arange(10_000), 3), np.random.default_rng(0).integers(0, 10_000, 300))
    before, after = split_of("random", 30_000, truth=truth[:30_000]), split_of("random", 30_300, truth=truth)
    assert np.mean(before != after[:30_000]) < 0.01


def test_validation_that_is_carved_moves_few_rows_too() -> None:
    n, more = 100_000, 1_000
    truth = uneven(n + more)
    published = np.where(np.arange(n + more) % 5, "train", "test")
    before = split_of("predefined", n, truth=truth[:n], predefined=published[:n])
    after = split_of("predefined", n + more, truth=truth, predefined=published)
    assert np.sum(before != after[:n]) < 0.001 * n


def test_too_few_rows() -> None:
    with pytest.raises(DataError, match=r"validation has no rows \(of 2:"):
        split_of("random", 2)
    with pytest.raises(DataError, match=r"validation has no rows \(of 10:"):
        split_of("random", 10, truth=[f"label {i}" for i in range(10)])
    with pytest.raises(DataError, match="no rows"):
        split_of("random", 0)


@pytest.mark.parametrize(("test", "validation"), [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.2), (float("nan"), 0.1)])
def test_shares_that_leave_a_split_empty(test: float, validation: float) -> None:
    with pytest.raises(UsageError, match="leave one of train, validation and test empty"):
        split_of("random", 100, test=test, validation=validation)


# --- grouped


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcd")), min_size=3, max_size=300),
    shares,
    st.booleans(),
    st.integers(0, 2**32),
)
def test_no_group_stands_in_two_splits(
    rows: list[tuple[int, str]], share: tuple[float, float], labelled: bool, seed: int
) -> None:
    groups, truth = [group for group, _ in rows], [label for _, label in rows] if labelled else None
    assume(len(set(groups)) >= 3)
    n, largest = len(rows), max(Counter(groups).values())
    test, validation = share
    planned = {"test": test * n, "validation": validation * n, "train": (1 - test - validation) * n}
    try:
        split = split_of("grouped", n, truth=truth, groups=groups, test=test, validation=validation, seed=seed)
    except DataError:
        # A label's last group may go to train that would have filled a split whose share is less than a group.
        few_groups = any(0 < len({group for group, of in rows if of == label}) < 3 for label in "abcd")
        assert labelled and (few_groups or min(planned.values()) < largest)
        return
    assert set(split.tolist()) == set(SPLITS)
    for group in set(groups):
        assert len({name for name, of in zip(split.tolist(), groups, strict=True) if of == group}) == 1
    assert {label for (_, label), name in zip(rows, split.tolist(), strict=True) if name == "train"} == {
        label for _, label in rows
    } or not labelled
    for name in SPLITS if not labelled else ("test", "validation"):
        assert rows_of(split)[name] - planned[name] < largest
    if not labelled:
        for name in SPLITS:
            assert planned[name] - rows_of(split)[name] < 2 * largest


def test_grouped_meets_the_shares_and_keeps_the_labels_balanced() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(1500), rng.integers(1, 12, 1500))
    # A group is mostly of one label, and labels are uneven: what a split that ignores labels gets wrong.
    of_group = rng.choice(list("abcdefgh"), size=1500, p=[0.4, 0.25, 0.15, 0.1, 0.05, 0.03, 0.01, 0.01])
    truth = np.where(rng.random(len(groups)) < 0.9, of_group[groups], "a")
    split = split_of("grouped", len(groups), truth=truth, groups=groups)
    for name, part in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        assert rows_of(split)[name] == pytest.approx(part * len(groups), abs=11)
        for label in "abcdefgh":
            assert np.sum((split == name) & (truth == label)) == pytest.approx(part * np.sum(truth == label), abs=11)


def test_groups_of_rare_labels_do_not_all_go_to_train() -> None:
    truth = np.repeat([f"label {i}" for i in range(200)], 2)  # to each label alone, train is the nearest for both rows
    rows = rows_of(split_of("grouped", 400, truth=truth, groups=np.arange(400)))
    assert rows == pytest.approx({"train": 280, "validation": 60, "test": 60}, abs=10)


def test_small_groups_even_out_the_large() -> None:
    groups = np.repeat(np.arange(143), [40, 30, 30] + [1] * 140)
    for seed in range(20):
        split = split_of("grouped", 240, groups=groups, test=0.2, validation=0.2, seed=seed)
        assert rows_of(split) == {"train": 144, "validation": 48, "test": 48}


def test_a_label_with_one_group_is_learned() -> None:
    groups = np.repeat(np.arange(20), 5)
    truth = np.where(groups == 7, "rare", "common")
    for seed in range(20):
        split = split_of("grouped", 100, truth=truth, groups=groups, test=0.4, validation=0.4, seed=seed)
        assert set(split[groups == 7].tolist()) == {"train"}


def test_groups_that_are_few_or_unknown() -> None:
    with pytest.raises(DataError, match=r"has no rows \(of 4:"):
        split_of("grouped", 4, groups=["a", "a", "b", "b"])
    with pytest.raises(DataError, match=r"'patient' has no value in 2 of 4 rows \(rows 11, 13\)") as error:
        split_of("grouped", 4, groups=["a", None, "b", float("nan")], rows=np.array([10, 11, 12, 13]))
    assert "prepare.split.method: random" in error.value.remedy
    with pytest.raises(UsageError, match="grouped") as missing:
        split_of("grouped", 4)
    assert "data.columns.group" in missing.value.remedy


# --- time


@given(
    st.lists(st.integers(0, 40), min_size=3, max_size=200), shares, st.sampled_from(["int64", "datetime64[s]", "f8"])
)
def test_train_is_older_than_validation_is_older_than_test(
    values: list[int], share: tuple[float, float], dtype: str
) -> None:
    assume(len(set(values)) >= 3)
    times = np.array(values).astype(dtype)
    split = split_of("time", len(times), times=times, test=share[0], validation=share[1])
    assert times[split == "train"].max() < times[split == "validation"].min()
    assert times[split == "validation"].max() < times[split == "test"].min()
    if len(set(values)) == len(values):
        in_reach = min(max((1 - sum(share)) * len(values), 1), len(values) - 2)  # the others need a row each
        assert abs(rows_of(split)["train"] - in_reach) <= 0.5 + 1e-9


def test_a_boundary_moves_to_the_nearer_end_of_a_time() -> None:
    times = np.array(
        ["2026-01-01"] * 6 + ["2026-01-02"] * 3 + ["2026-01-03"] * 2 + ["2026-01-04"], dtype="datetime64[D]"
    )
    split = split_of("time", 12, times=times[::-1])
    assert rows_of(split) == {"train": 9, "validation": 2, "test": 1}
    assert split[0] == "test"


def test_times_that_cannot_be_used() -> None:
    days = np.array(["2026-01-01", "NaT", "2026-01-03", "NaT"], dtype="datetime64[D]")
    with pytest.raises(DataError, match=r"'seen_at' has no value in 2 of 4 rows \(rows 1, 3\)"):
        split_of("time", 4, times=days)
    with pytest.raises(DataError, match=r"in 1 of 3 rows \(row 2\)"):
        split_of("time", 3, times=np.array([1.0, 2.0, np.nan]))
    with pytest.raises(DataError, match="'seen_at' holds 2 different times"):
        split_of("time", 4, times=np.array([1, 1, 2, 2]))
    with pytest.raises(DataError, match="no order in time"):
        split_of("time", 3, times=np.array(["1 May", "2 May", "3 May"]))
    with pytest.raises(UsageError, match="time"):
        split_of("time", 3)


# --- predefined


@given(st.lists(st.sampled_from([*SPELLINGS, "TRAIN", "Dev", " Test "]), min_size=3))
def test_published_splits_are_taken_as_they_are(values: list[str]) -> None:
    expected = [SPELLINGS[value.strip().lower()] for value in values]
    assume(set(expected) == set(SPLITS))
    assert split_of("predefined", len(values), predefined=values).tolist() == expected
    assert split_of("predefined", len(values), predefined=np.array(values)).tolist() == expected


def test_validation_is_carved_from_train() -> None:
    values = np.array(["train"] * 200 + ["test"] * 50)
    truth = np.array(["a", "b"] * 125)
    split = split_of("predefined", 250, predefined=values, truth=truth, validation=0.2)
    assert rows_of(split) == {"train": 160, "validation": 40, "test": 50}
    assert set(split[200:].tolist()) == {"test"}
    assert np.sum((split == "validation") & (truth == "a")) == 20


def test_validation_is_carved_by_whole_groups() -> None:
    groups = np.arange(250) // 10
    split = split_of("predefined", 250, predefined=["train"] * 200 + ["test"] * 50, groups=groups, validation=0.2)
    assert rows_of(split) == {"train": 160, "validation": 40, "test": 50}
    assert all(len(set(split[groups == group].tolist())) == 1 for group in range(25))


def test_a_published_split_may_be_another_here() -> None:
    """SQuAD's test split is secret: its dev split is what is tested on, and validation is carved from train."""
    values = ["train"] * 200 + ["Dev"] * 50
    split = split_of("predefined", 250, predefined=values, names={"validation": "test"}, validation=0.2)
    assert rows_of(split) == {"train": 160, "validation": 40, "test": 50}
    assert set(split[200:].tolist()) == {"test"}
    folds = ["1"] * 200 + ["2"] * 20 + ["Test"] * 30
    split = split_of("predefined", 250, predefined=folds, names={"1": "train", "2": "validation"})
    assert rows_of(split) == {"train": 200, "validation": 20, "test": 30}


def test_names_of_splits_that_mean_nothing() -> None:
    with pytest.raises(DataError, match=r"names renames 'devel', but column 'part' has no such value") as error:
        split_of("predefined", 3, predefined=["train", "dev", "dev"], names={"devel": "test"})
    assert "did you mean 'dev'" in error.value.remedy
    with pytest.raises(UsageError, match=r"the method random does not use prepare\.split\.names"):
        split_of("random", 30, names={"validation": "test"})


def test_split_columns_that_cannot_be_used() -> None:
    with pytest.raises(
        DataError, match=r"'part' holds 'holdout' \(rows 22, 24\), which is not a split; 3 of 5"
    ) as error:
        split_of(
            "predefined",
            5,
            predefined=["train", "test", "holdout", "x", "holdout"],
            rows=np.array([20, 21, 22, 23, 24]),
        )
    assert "dev" in error.value.remedy
    with pytest.raises(DataError, match=r"no value \(row 1\)"):
        split_of("predefined", 3, predefined=["train", None, "test"])
    with pytest.raises(DataError, match=r"names no test rows \(it holds 'dev', 'train'\)") as without_test:
        split_of("predefined", 3, predefined=["train", "dev", "train"])
    assert "prepare.split.method" in without_test.value.remedy
    with pytest.raises(DataError, match="names no train rows"):
        split_of("predefined", 2, predefined=["test", "dev"])
    with pytest.raises(DataError, match="validation has no rows"):
        split_of("predefined", 2, predefined=["train", "test"])
    with pytest.raises(UsageError, match="predefined"):
        split_of("predefined", 2)


# --- all


SPLIT_ALL = """
import hashlib, numpy as np
from lakewright.data.rows.splits import assign
from lakewright.data.rows.duplicates import find_duplicates
from lakewright.settings.sections import Columns
rng = np.random.default_rng(0)
n = 500
truth = np.array([f"label {i}" for i in rng.integers(0, 7, n)])
inputs = dict(truth=truth, groups=[f"group {i}" for i in rng.integers(0, 60, n)], times=rng.integers(0, 90, n),
    predefined=[("train", "TRAIN", "Training", "test")[i] for i in rng.integers(0, 4, n)])
seen = hashlib.sha256(find_duplicates(truth, truth).group_of_row.tobytes())
for method in ("random", "grouped", "time", "predefined"):
    seen.update("".join(assign(method, n, columns=Columns(), test=0.2, validation=0.1, seed=3, **inputs)).encode())
print(seen.hexdigest())
"""


def test_splits_do_not_depend_on_hash_randomisation() -> None:
    seen = {
        subprocess.run(
            [sys.executable, "-c", SPLIT_ALL],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert len(seen) == 1
    assert len(seen.pop()) == 2 * hashlib.sha256().digest_size
