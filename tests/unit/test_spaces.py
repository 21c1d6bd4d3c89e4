"""Spaces: what is drawn lies in them, what YAML says is read and written back, Hyperopt's objects are converted."""

from __future__ import annotations

import json
import math
import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lakewright import spaces
from lakewright.errors import UsageError

PEER = Path(__file__).parents[2] / ".peers" / "hyperopt" / "bin" / "python"
numbers = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))
above_0 = st.floats(1e-6, 1e6).map(lambda value: round(value, 6))
steps = st.sampled_from([0.1, 0.25, 1, 2, 7.5, 100])


def ordered(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=2, max_size=2, unique=True).map(sorted)


wide = ordered(above_0.map(lambda value: round(value * 10) / 10 + 0.1)).filter(lambda ends: ends[1] - ends[0] > 200)
leaves = st.one_of(
    *(
        ordered(st.integers(-1000, 1000)).map(lambda ends, name=name: {name: ends})
        for name in ("randint", "uniformint")
    ),
    ordered(numbers).map(lambda ends: {"uniform": ends}),
    ordered(above_0).map(lambda ends: {"loguniform": ends}),
    *(
        st.tuples(st.floats(-5, 5), st.floats(0.01, 3)).map(lambda pair, name=name: {name: list(pair)})
        for name in ("normal", "lognormal")
    ),
    *(
        st.tuples(wide, steps).map(lambda pair, name=name: {name: [*pair[0], pair[1]]})
        for name in ("quniform", "qloguniform")
    ),
    *(
        st.tuples(st.floats(-5, 5), st.floats(0.01, 3), steps).map(lambda three, name=name: {name: list(three)})
        for name in ("qnormal", "qlognormal")
    ),
)


def space_of(depth: int, prefix: str = "k") -> st.SearchStrategy[dict[str, Any]]:
    def options(name: str) -> st.SearchStrategy[list[Any]]:
        plain = st.sampled_from(["a", 1.5, None, True, [1, 2]])
        nested = space_of(depth - 1, f"{name}i").map(lambda inner: {name: inner})
        return st.tuples(plain, nested).map(list) if depth else plain.map(lambda one: [one])

    def distribution(name: str) -> st.SearchStrategy[Any]:
        pairs = options(name).map(lambda them: [[1 / len(them), each] for each in them])
        return st.one_of(leaves, options(name).map(lambda them: {"choice": them}), pairs.map(lambda p: {"pchoice": p}))

    return st.integers(1, 3).flatmap(
        lambda count: st.fixed_dictionaries({f"{prefix}{at}": distribution(f"{prefix}{at}") for at in range(count)})
    )


@settings(max_examples=150, deadline=None)
@given(space_of(2), st.integers(0, 2**32))
def test_every_sample_lies_in_its_space(form: dict[str, Any], seed: int) -> None:
    space, generator = spaces.read(form), random.Random(seed)
    distributions = spaces.parameters(space)
    for _ in range(5):
        point = spaces.sample(space, generator)
        assert point.keys() <= distributions.keys()
        for label, value in point.items():
            assert distributions[label].holds(value), (label, value)
        assert spaces.point_in(space, json.loads(json.dumps(point))) == point
        filled = spaces.fill(space, point)
        assert form.keys() <= filled.keys()


@settings(max_examples=100, deadline=None)
@given(space_of(2))
def test_what_is_written_is_read_again(form: dict[str, Any]) -> None:
    space = spaces.read(form)
    assert spaces.read(yaml.safe_load(yaml.safe_dump(spaces.written(space)))) == space


@settings(max_examples=300, deadline=None)
@given(leaves, st.floats(0, 1))
def test_a_value_comes_back_from_its_share(form: dict[str, Any], share: float) -> None:
    distribution = spaces.read({"x": form})["x"].distribution
    value = distribution.at(share)
    assert distribution.holds(value)
    assert 0 <= distribution.share(value) <= 1
    assert math.isclose(distribution.at(distribution.share(value)), value, rel_tol=1e-6, abs_tol=1e-6)


def test_both_ends_belong_to_it() -> None:
    space, generator = spaces.read({"n": {"randint": [1, 3]}, "x": {"quniform": [0, 1, 0.5]}}), random.Random(1)
    points = [spaces.sample(space, generator) for _ in range(200)]
    assert {point["n"] for point in points} == {1, 2, 3}
    assert {point["x"] for point in points} == {0.0, 0.5, 1.0}
    drawn = spaces.read({"x": {"loguniform": [1e-5, 1e-3]}})["x"].distribution
    assert (drawn.at(0.0), drawn.at(1.0)) == (1e-5, 1e-3)
    assert math.isclose(drawn.at(0.5), 1e-4)


def test_a_lognormals_mu_and_sigma_are_of_the_logarithm() -> None:
    generator, distribution = random.Random(1), spaces.LogNormal(2.0, 0.5)
    logs = [math.log(distribution.at(generator.random())) for _ in range(4000)]
    mean = sum(logs) / len(logs)
    assert abs(mean - 2.0) < 0.05
    assert abs(math.sqrt(sum((each - mean) ** 2 for each in logs) / len(logs)) - 0.5) < 0.05


def test_an_options_probability_is_its_share() -> None:
    space, generator = spaces.read({"x": {"pchoice": [[0.9, "a"], [0.1, "b"]]}}), random.Random(1)
    drawn = [spaces.fill(space, spaces.sample(space, generator))["x"] for _ in range(2000)]
    assert 0.87 < drawn.count("a") / 2000 < 0.93


NESTED = {
    "train.C": {"loguniform": ["1e-2", "1e2"]},  # as YAML 1.1 reads them
    "train.learner": {
        "choice": ["linear", {"embedding": {"train.size": {"choice": ["s", {"m": {"n": {"randint": [1, 2]}}}]}}}]
    },
}  # fmt: skip


def test_an_options_settings_stand_beside_it() -> None:
    space = spaces.read(NESTED)
    point = {"train.C": 1.0, "train.learner": 1, "train.learner=embedding/train.size": 1,
             "train.learner=embedding/train.size=m/n": 2}  # fmt: skip
    assert spaces.fill(space, point) == {"train.C": 1.0, "train.learner": "embedding", "train.size": "m", "n": 2}
    assert spaces.fill(space, {"train.C": 1.0, "train.learner": 0}) == {"train.C": 1.0, "train.learner": "linear"}
    with pytest.raises(UsageError, match="no value"):
        spaces.fill(space, {"train.C": 1.0, "train.learner": 1})
    with pytest.raises(UsageError, match="not in the space"):
        spaces.fill(space, {"train.C": 1000.0, "train.learner": 0})


def test_a_grid_is_every_combination() -> None:
    nested = {"choice": ["a", {"b": {"z": {"choice": [1, 2]}}}]}
    space = spaces.read({"x": {"quniform": [0, 1, 0.5]}, "n": {"randint": [1, 2]}, "y": nested})
    points = spaces.grid(space)
    assert len(points) == 3 * 2 * 3
    assert [spaces.fill(space, point) for point in points[:3]] == [
        {"x": 0.0, "n": 1, "y": "a"},
        {"x": 0.0, "n": 1, "y": "b", "z": 1},
        {"x": 0.0, "n": 1, "y": "b", "z": 2},
    ]
    for wrong, remedy in (
        ({"uniform": [0, 1]}, "choice"),
        ({"randint": [0, 10**6]}, "quniform"),
        ({"qnormal": [0, 1, 0.1]}, "random"),
    ):
        with pytest.raises(UsageError, match=r"x: .*(has any number|has no end)") as failure:
            spaces.grid(spaces.read({"x": wrong}))
        assert remedy in failure.value.remedy
    with pytest.raises(UsageError, match="more than 100,000"):
        spaces.grid(spaces.read({f"k{at}": {"randint": [0, 99]} for at in range(4)}))


WRONG = {
    "no parameter": ({}, "the space has no parameter", "at least one line"),
    "nothing": (None, "the space has no parameter", "at least one line"),
    "no mapping": ([1], "not a mapping", "at least one line"),
    "misspelt": ({"a": {"logunifrm": [1, 2]}}, "no distribution 'logunifrm'", "did you mean 'loguniform'"),
    "no distribution": ({"a": 3}, "a: 3 is not a distribution", "choice"),
    "no options": ({"a": {"choice": []}}, "choice has no options", "at least one"),
    "no list": ({"a": {"choice": "xy"}}, "a.choice: 'xy' is not a list", "choice: ["),
    "twice": ({"a": {"choice": [0.001, "1e-3"]}}, "has the option 0.001 twice", "once"),
    "reversed": ({"a": {"uniform": [2, 1]}}, r"bounds are reversed: \[2, 1\]", "[1, 2]"),
    "reversed integers": ({"a": {"randint": [6, 1]}}, "bounds are reversed", "[1, 6]"),
    "equal": ({"a": {"uniform": [1, 1]}}, "both bounds are 1", "two different"),
    "a fraction": ({"a": {"randint": [1, 2.5]}}, "2.5 is no whole number", "uniform"),
    "logarithms": ({"a": {"loguniform": [-5, 2]}}, "-5 is not above 0", "not their logarithms"),
    "no number": ({"a": {"uniform": [1, "x"]}}, "'x' is no finite number", "number"),
    "a truth value": ({"a": {"uniform": [False, 2]}}, "False is no finite number", "number"),
    "infinite": ({"a": {"uniform": [0, math.inf]}}, "inf is no finite number", "number"),
    "too few": ({"a": {"qnormal": [0, 1]}}, "has 2 numbers, and needs 3", "[mu, sigma, q]"),
    "sigma": ({"a": {"normal": [0, 0]}}, "sigma: 0 is not above 0", "above 0"),
    "step": ({"a": {"quniform": [0.1, 0.2, 5]}}, "no multiple of 5", "smaller q"),
    "probabilities": ({"a": {"pchoice": [[0.5, "x"], [0.4, "y"]]}}, "0.5, 0.4", "add up to 1"),
    "a pair": ({"a": {"pchoice": ["x"]}}, "a.pchoice.0", "[0.2, option]"),
    "two keys": ({"a": {"choice": [{"x": {}, "y": {}}]}}, "an option has 2 keys", "option: {key"),
    "inside": ({"a": {"choice": [{"x": {"b": {"norml": [0, 1]}}}]}}, r"a.choice.0.x.b: .*'norml'", "'normal'"),
    "in two places": (
        {"a": {"choice": [{"x": {"b": {"normal": [0, 1]}}}]}, "b": {"uniform": [0, 1]}},
        "stands beside a, and inside", "one of the two",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_space_is_refused_with_its_place(name: str) -> None:
    form, cause, remedy = WRONG[name]
    with pytest.raises(UsageError, match=cause) as failure:
        spaces.read(form)
    assert remedy in failure.value.remedy


# Hyperopt


@dataclass(frozen=True)
class Node:
    """As `hyperopt.pyll.base.Apply` and `Literal`."""

    name: str
    pos_args: list[Node] = field(default_factory=list)
    named_args: list[tuple[str, Node]] = field(default_factory=list)
    obj: Any = None


def literal(value: Any) -> Node:
    return Node("literal", obj=value)


def hp(label: str, name: str, *arguments: Any) -> Node:
    inner = Node(name, [each if isinstance(each, Node) else literal(each) for each in arguments])
    return Node("hyperopt_param", [literal(label), inner])


TREE = Node(
    "switch",
    [
        hp("kind", "randint", 3),
        Node("dict", named_args=[("C", Node("float", [hp("C", "loguniform", -3, 2)])), ("k", literal("svm"))]),
        Node("pos_args", [literal("t"), Node("int", [hp("depth", "quniform", 3, 18, 1)])]),
        Node(
            "switch", [hp("p", "categorical", Node("pos_args", [literal(0.3), literal(0.7)])), literal(1), literal(2)]
        ),
    ],
)


def test_hyperopts_objects_are_converted() -> None:
    space = spaces.from_hyperopt({"model": TREE, "n": Node("int", [hp("n", "randint", 5)]), "fixed": 7})
    found = spaces.parameters(space)
    assert found["C"] == spaces.LogUniform(math.exp(-3), math.exp(2))  # theirs takes logarithms
    assert found["n"] == spaces.RandInt(0, 4)  # theirs leaves out the upper end
    assert found["p"].probabilities == (0.3, 0.7)  # type: ignore[union-attr]
    filled = spaces.fill(space, {"kind": 1, "depth": 4.0, "n": 2})
    assert filled == {"model": ("t", 4), "n": 2, "fixed": 7} and isinstance(filled["model"][1], int)
    assert spaces.fill(space, {"kind": 0, "C": 1.0, "n": 0})["model"] == {"C": 1.0, "k": "svm"}
    with pytest.raises(UsageError, match="computes 'add'"):
        spaces.from_hyperopt({"x": Node("add", [hp("a", "uniform", 0, 1), literal(1)])})


def test_two_parameters_with_one_label_are_refused() -> None:
    again = hp("x", "uniform", 0, 1)
    assert spaces.parameters(spaces.from_hyperopt({"a": again, "b": again}))  # one parameter in two places
    with pytest.raises(UsageError, match="two parameters have the label 'x'"):
        spaces.parameters(spaces.from_hyperopt({"a": again, "b": hp("x", "uniform", 0, 2)}))


COMPARED = """
import json, random, numpy as np
from hyperopt import hp
from hyperopt.pyll.stochastic import sample
from lakewright import spaces
space = {
    "model": hp.choice("kind", [{"k": "svm", "C": hp.loguniform("C", -3, 2)}, ("t", hp.randint("r", 5))]),
    "u": hp.uniform("u", -1, 1), "ui": hp.uniformint("ui", 1, 5), "q": hp.quniform("q", 0, 10, 2),
    "r2": hp.randint("r2", 3, 9), "ql": hp.qlognormal("ql", 0, 1, 2), "n": hp.normal("n", 3, 2),
    "p": hp.pchoice("p", [(0.3, "a"), (0.7, "b")]), "l": hp.lognormal("l", 0, 1), "lu": hp.qloguniform("lu", 0, 3, 1),
}
ours, rng, generator = spaces.from_hyperopt(space), np.random.default_rng(1), random.Random(1)
theirs = [sample(space, rng=rng) for _ in range(1000)]
drawn = [spaces.fill(ours, spaces.sample(ours, generator)) for _ in range(1000)]
of = {
    "C": lambda v: v["model"]["C"] if isinstance(v["model"], dict) else None,
    "r": lambda v: v["model"][1] if not isinstance(v["model"], dict) else None,
    **{key: (lambda v, key=key: v[key]) for key in ("u", "ui", "q", "r2", "ql", "n", "l", "lu")},
    "p": lambda v: float(v["p"] == "a"),
}
far = {}
for name, value in of.items():
    one, other = ([float(value(each)) for each in them if value(each) is not None] for them in (theirs, drawn))
    ends = sorted({round(end, 9) for end in [*one, *other]})
    shares = [np.searchsorted(np.sort(np.round(them, 9)), ends, side="right") / len(them) for them in (one, other)]
    far[name] = [float(np.abs(shares[0] - shares[1]).max()), abs(len(one) - len(other)) / 1000]
print(json.dumps(far))
"""


@pytest.mark.skipif(
    not PEER.exists(),
    reason="no Hyperopt: python3 -m venv --system-site-packages .peers/hyperopt, and its pip install hyperopt",
)
def test_what_is_drawn_is_as_hyperopt_draws_it() -> None:
    source = str(Path(spaces.__file__).parents[2])
    done = subprocess.run(
        [str(PEER), "-c", COMPARED], env={"PYTHONPATH": source}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, distances in json.loads(done.stdout).items():  # Kolmogorov and Smirnov's, 0.09 by chance in 1 of 1,000
        assert max(distances) < 0.1, (name, distances)


def test_distributions_are_placed_anywhere_in_a_structure() -> None:
    structure = [{"uniform": [0, 1]}, {"a": {"b": spaces.Uniform(2, 3)}, "n": 3}, ({"choice": ["x", "y"]}, [1, 2])]
    placed = spaces.placed(structure)
    assert [*spaces.parameters(placed)] == ["0", "1/a/b", "2/0"]
    filled = spaces.fill(placed, {"0": 0.5, "1/a/b": 2.5, "2/0": 1})
    assert filled == [0.5, {"a": {"b": 2.5}, "n": 3}, ("y", [1, 2])]
    with_option = {"kind": {"choice": ["a", {"b": {"C": {"uniform": [0, 1]}}}]}, "fixed": 3}
    filled = spaces.fill(spaces.placed(with_option), {"kind": 1, "kind=b/C": 0.5})
    assert filled == {"kind": "b", "C": 0.5, "fixed": 3}
    constant = {"x": spaces.Uniform(0, 1), "net": {"layers": [1, 2]}}  # no name of a distribution: a plain value
    assert spaces.fill(spaces.placed(constant), {"x": 0.5}) == {"x": 0.5, "net": {"layers": [1, 2]}}


@pytest.mark.parametrize(
    ("space", "place", "what"),
    [
        ({"x": {"uniformm": [0, 1]}}, "x", "did you mean 'uniform'"),
        ({"x": {"uniform": [0, 1]}, "y": {"layers": [1, 2]}}, "y", "no distribution 'layers'"),
        ({"x": spaces.Uniform(0, 1), "y": {"Log_Uniform": [1, 2]}}, "y", "'Log_Uniform'"),
        ([{"unifrom": [0, 1]}], "0", "did you mean 'uniform'"),
        ({"x": {"choice": {"a": 1}}}, "x.choice", "is not a list"),
        ({"a": {"b": {"uniform": 3}}}, "a.b.uniform", "is not a list"),
        ({"m": {"choice": ["a", {"b": {"C": {"uniform": [0, 1]}}}]}, "C": spaces.Uniform(0, 1)}, "C", "beside m"),
    ],
)
def test_a_distribution_that_is_none_is_named_with_its_place(space: Any, place: str, what: str) -> None:
    with pytest.raises(spaces.Unreadable) as refused:
        spaces.placed(space)
    assert str(refused.value).startswith(f"{place}: ") and what in str(refused.value)
