"""A number learned by a network from a text, and from numbers and categories beside it: in any unit, the right way
round, from int8 or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from conftest import sentences
from lakewright import plugins
from lakewright.errors import ProjectError, TrainingError
from lakewright.learning.learners import Examples, Fitted, Training, check_fit, direction, merit
from lakewright.learning.learners.encoder import loop, serving, untrained
from lakewright.learning.learners.encoder.forward import as_runtime
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.units import Unit, in_deviations
from lakewright.model.predictor import Predictor
from lakewright.model.recipe import Recipe, Wanted
from lakewright.model.recipe.dense import Dense, DenseSettings
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks.regression import Regression
from lakewright.settings.project import Project
from recipes import tokens

KINDS = {"animal": -1.0, "plant": 0.0, "stone": 1.0}
PLACES = {"north": -0.5, "south": 0.5, "east": 0.0, "west": 0.0}
FAST: dict[str, Any] = {"quantize": "never", "bf16": False}


@dataclass(frozen=True)
class Made:
    training: Training[Any]
    fitted: Fitted

    @property
    def truths(self) -> NDArray[np.float64]:
        return np.array(self.training.validation.truths)

    def values(self, runtime: str = "onnx", rows: Sequence[Any] | None = None) -> NDArray[np.float64]:
        """What the network predicts for the rows, or those of validation."""
        training = self.training
        if runtime == "torch":
            opened = as_runtime(EncoderNetwork.open(training.folder), training.settings, torch.device("cpu"))
        else:
            file = training.folder / ("openvino.xml" if runtime == "openvino" else "model.onnx")
            opened = plugins.RUNTIMES.find(runtime)(file, 1, "throughput")
        predictor = Predictor(training.folder, "", training.task, training.recipe, opened)
        predictions = predictor.predict(list(training.validation.rows if rows is None else rows))
        return np.array([row["value"] for row in predictions])

    def rmse(self, **options: Any) -> float:
        return float(np.sqrt(np.mean((self.values(**options) - self.truths) ** 2)))


def rows_of(seed: int, rows: int, beside: bool) -> tuple[list[dict[str, Any]], NDArray[np.float64]]:
    """Rows and their truths: the kind that the text names, and beside it as much from a number and a category."""
    draw = np.random.default_rng(seed)
    made, truths = [], []
    for row in sentences(rows, seed):
        size = float(draw.normal(50, 10))
        made.append({"text": row["text"], **({"size": size, "place": row["place"]} if beside else {})})
        truths.append(KINDS[row["label"]] + beside * ((size - 50) / 14 + PLACES[row["place"]]))
    return made, np.array(truths)


def training(
    base: Path,
    folder: Path,
    learner: str,
    *,
    scale: float = 1.0,
    centre: float = 0.0,
    beside: bool = False,
    **more: Any,
) -> Training[Any]:
    train, validation = rows_of(1, 400, beside), rows_of(2, 120, beside)
    windows: Any = ("windows", 2) if more.pop("windows", False) else ()
    steps: tuple[Any, ...] = (tokens(base, 8 if windows else 32, *windows),)
    inputs: dict[str, Any] = {"text": "text"}
    if beside:
        kinds: dict[str, Any] = {"size": "number", "place": "category"}
        columns = {name: [row[name] for row in train[0]] for name in kinds}
        steps += (Dense.fit([columns], kinds, DenseSettings(), Wanted("row"))[0],)
        inputs |= kinds
    recipe, task = Recipe(steps), Regression(inputs)

    def examples(rows: list[dict[str, Any]], truths: NDArray[np.float64]) -> Examples:
        numbers = (truths * scale + centre).tolist()
        encoded = recipe.encode(rows)
        return Examples(encoded, task.targets(numbers, encoded, rows), np.ones(len(rows), np.float32), rows, numbers)

    settings: dict[str, Any] = {"base_model": str(base), **FAST}
    if learner == "encoder":
        settings |= {"num_train_epochs": 5, "learning_rate": 5e-3, "dropout": 0.0, "early_stopping_patience": None}
    chosen = plugins.LEARNERS.find(learner).settings(**settings | more)
    folder.mkdir(parents=True, exist_ok=True)
    splits = examples(*train), examples(*validation)
    return Training(task, chosen, recipe, *splits, folder, folder, base, "cpu", 1)


def made(base: Path, folder: Path, learner: str, **more: Any) -> Made:
    setting = training(base, folder, learner, **more)
    return Made(setting, plugins.LEARNERS.find(learner).fit(setting))


CASES = [("encoder", {}, 0.4), ("encoder", {"windows": True}, 0.8), ("encoder", {"beside": True}, 0.4)]
CASES += [("encoder", {"loss": "l1"}, 0.6), ("encoder", {"loss": "huber"}, 0.6)]
CASES += [("embedding", {}, 0.9), ("embedding", {"beside": True}, 0.6)]  # of random weights


@pytest.mark.parametrize(("learner", "more", "share"), CASES)
def test_it_learns(tiny_base: Path, tmp_path: Path, learner: str, more: dict[str, Any], share: float) -> None:
    """The error is clearly below what the mean of all would reach, and every runtime gives the same numbers."""
    of = made(tiny_base, tmp_path, learner, **more)
    assert of.rmse() < share * of.truths.std()
    assert of.values("torch") == pytest.approx(of.values(), abs=1e-4)
    if "beside" in more:  # the text, the number and the category, each with a part of its own
        rows = of.training.validation.rows
        for other in ({"text": "we saw it today"}, {"size": None}, {"place": None}):
            without = of.values(rows=[{**row, **other} for row in rows])
            assert np.std(without - of.values()) > 0.2, other


@pytest.mark.parametrize("learner", ["encoder", "embedding"])
def test_no_unit_matters(tiny_base: Path, tmp_path: Path, learner: str) -> None:
    # With greater steps, what rounding changes grows from each one to the next.
    more = {"beside": True, **({"learning_rate": 5e-4, "num_train_epochs": 2} if learner == "encoder" else {})}
    plain = made(tiny_base, tmp_path / "plain", learner, **more)
    for scale, centre in ((1e6, 1e7), (1e9, 0.0), (1e-6, 0.0)):
        other = made(tiny_base, tmp_path / f"{scale}", learner, scale=scale, centre=centre, **more)
        for runtime in ("onnx", "torch"):
            assert (other.values(runtime) - centre) / scale == pytest.approx(plain.values(), abs=2e-3)
        names = [name for name in plain.fitted.details if name.endswith("_validation")]
        assert names
        for name in names:
            assert float(other.fitted.details[name]) / scale == pytest.approx(plain.fitted.details[name], abs=2e-3)


@pytest.mark.parametrize("learner", ["encoder", "embedding"])
def test_truths_that_are_all_equal(tiny_base: Path, tmp_path: Path, learner: str) -> None:
    """Where train happens to hold one number: it is predicted, and nothing is divided by 0."""
    assert np.allclose(made(tiny_base, tmp_path, learner, scale=0.0, centre=0.1).values(), 0.1)


def test_numbers_far_from_0_are_rounded_once(tiny_base: Path, tmp_path: Path) -> None:
    """To the step of float32 there: the head's sum is as exact as if they were near 0."""
    far = made(tiny_base, tmp_path / "far", "embedding", centre=1e6)
    head = EncoderNetwork.open(far.training.folder)
    encoded = far.training.recipe.encode(far.training.validation.rows)
    inputs = far.training.recipe.batch(encoded, np.arange(len(encoded)))
    with torch.inference_mode():
        features = head.features(**{name: torch.from_numpy(values) for name, values in inputs.items()}).double()
        exact = (features @ head.head.weight.double().T + head.head.bias.double())[:, 0].numpy()
    for runtime in ("onnx", "torch"):
        assert np.abs(far.values(runtime) - exact).max() <= 0.51 * np.spacing(np.float32(1e6))


def test_the_head_is_exact_in_mixed_precision(tiny_base: Path, tmp_path: Path) -> None:
    """bf16 has steps of 8 at 2015; the years here differ by about 1."""
    of = made(tiny_base, tmp_path, "embedding", centre=2015.0, beside=True)
    network = EncoderNetwork.open(of.training.folder)
    encoded = of.training.recipe.encode(of.training.validation.rows)
    batch = of.training.recipe.batch(encoded, np.arange(len(encoded)))
    inputs = {name: torch.from_numpy(values) for name, values in batch.items()}
    with torch.inference_mode():
        plain = network(**inputs)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = network(**inputs)
    assert mixed.dtype == torch.float32 and 0 < float((mixed - plain).abs().max()) < 0.1


def test_the_best_epoch_is_the_one_of_least_rmse(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights stay, and training ends after two epochs without a lower one."""
    setting = training(tiny_base, tmp_path, "encoder", num_train_epochs=8, early_stopping_patience=2)
    network, weights, scores = untrained(setting, 0.0), list[torch.Tensor](), iter([0.3, 0.1, 0.2, 0.15])

    def validate(of: EncoderNetwork, training: object) -> loop.Validated:
        weights.append(of.head.weight.detach().clone())
        rmse = next(scores)
        return loop.Validated({"rmse": rmse}, "rmse", -rmse, "")

    monkeypatch.setattr(loop, "validate", validate)
    state = loop.train(network, in_deviations(setting))
    assert [entry["validation_rmse"] for entry in state.history if "epoch" in entry] == [0.3, 0.1, 0.2, 0.15]
    assert (state.best, state.best_step, state.step) == (-0.1, 26, 52)
    assert torch.equal(network.head.weight, weights[1]) and not torch.equal(weights[1], weights[3])


def test_training_that_only_harms_is_undone(tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    of = made(tiny_base, tmp_path, "encoder", learning_rate=0.3, num_train_epochs=1, scale=1e-6)
    details = of.fitted.details
    assert details["interpolated"] == 0.0 and details["interpolated_validation"] == details["start_validation"]
    assert of.rmse() == pytest.approx(details["start_validation"], rel=1e-4)
    (warning,) = [message for message in caplog.messages if message.startswith("training did not help")]
    assert "e-07 before it" in warning  # and not 0.0000


def _int8_is_faster(entries: Sequence[Any], training: object) -> dict[Any, dict[str, float]]:
    times = {entry.candidate.name: 1.0 + (entry.candidate.name == "fp32") for entry in entries}
    return dict.fromkeys(serving.USES, times)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("learner", "quantize"), [("embedding", "auto"), ("embedding", "static"), ("encoder", "static")]
)
def test_int8_serves_where_it_is_as_good(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learner: str, quantize: str
) -> None:
    monkeypatch.setattr(serving, "_timed", _int8_is_faster)
    of = made(tiny_base, tmp_path, learner, quantize=quantize, bf16="auto", beside=True, scale=1e-6, centre=1e-5)
    details = of.fitted.details
    candidates = ("int8", "openvino")[: 1 + (quantize == "auto")]
    worse = {name for name in candidates if float(details[f"{name}_difference_p"]) < 0.05}
    assert details["precision"] == ("fp32" if worse == {*candidates} else "int8")
    for name in candidates:
        assert 0 < abs(float(details[f"{name}_difference"])) < 0.2e-6, name  # in the truth's unit
    if learner == "embedding":
        assert "int8" not in worse and details["precision"] == "int8"
    for runtime in ("onnx", "openvino")[: 1 + (tmp_path / "openvino.xml").exists()]:
        assert np.std(of.values(runtime) - of.values("torch")) < 0.3e-6
    assert of.fitted.validation is not None
    numbers = np.concatenate(of.fitted.validation)
    assert numbers == pytest.approx(of.values(str(details["runtime"])), abs=1e-7)


def test_int8_that_is_significantly_worse_never_serves(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quantise = serving.int8.quantise

    def broken(full: Path, into: Path, known: dict[str, tuple[float, float]]) -> None:
        """The head's bias went wrong."""
        quantise(full, into, known)
        model = onnx.load(str(into))
        for weight in model.graph.initializer:
            if weight.name == "head.bias":
                weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) + np.float32(2), weight.name))
        onnx.save(model, str(into))

    monkeypatch.setattr(serving, "_timed", _int8_is_faster)
    monkeypatch.setattr(serving.int8, "quantise", broken)
    of = made(tiny_base, tmp_path, "encoder", quantize="static")
    details = of.fitted.details
    for name in ("int8", "int8_by_token"):
        assert float(details[f"{name}_difference"]) > 0 and float(details[f"{name}_difference_p"]) < 0.05
    assert details["precision"] == "fp32"
    assert of.values() == pytest.approx(of.values("torch"), abs=1e-4)


def test_more_is_better_of_every_merit() -> None:
    scorer = plugins.TASKS.find("regression")({}).scorer([1.0, 2.0], [{"value": 1.0}, {"value": 3.0}], [{}, {}])
    metrics = scorer.metrics(np.ones(2))
    assert metrics["rmse"] > 0 and merit(scorer, metrics) == -metrics["rmse"]
    assert direction("rmse") == direction("log_loss") == -1 and direction("macro_f1") == direction("r2") == 1


@pytest.mark.parametrize("loss", ["quantile", "poisson", "tweedie"])
def test_a_loss_that_a_network_lacks_is_refused(loss: str) -> None:
    project = {
        "name": "ratings",
        "schema": "main.demo",
        "task": "regression",
        "data": {"source": "ratings.csv", "columns": {"label": "rating", "text": "review"}},
    }
    for learner, wanted in (("encoder", loss), ("encoder", "l1"), ("trees", loss)):
        train = {"learner": learner, "loss": wanted, **({"base_model": "tiny"} if learner == "encoder" else {})}
        refused = learner == "encoder" and wanted == loss
        opened = Project.model_validate(project | {"train": train})
        if refused:
            with pytest.raises(ProjectError, match=loss) as caught:
                check_fit(opened)
            assert "l2, l1, huber" in caught.value.remedy
        else:
            check_fit(opened)


NUMBERS = st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=30)


@given(NUMBERS)
def test_there_and_back(numbers: list[float]) -> None:
    targets = Ragged(np.array(numbers, np.float32), np.arange(len(numbers) + 1))
    unit = Unit.of(targets)
    inside = unit.inside(targets)
    assert np.isfinite(inside.values).all() and unit.deviation > 0
    back = np.concatenate(unit.outside([inside[row] for row in range(len(inside))]))
    assert back.dtype == np.float32
    spread = np.abs(inside.values).max() * unit.deviation + abs(unit.mean)
    assert np.abs(back.astype(np.float64) - targets.values).max() <= 1e-6 * spread + 1e-44


def test_a_folded_head_answers_in_the_truths_unit() -> None:
    torch.manual_seed(0)
    head, features, unit = torch.nn.Linear(7, 1), torch.randn(5, 7), Unit(-3e4, 250.0)
    with torch.inference_mode():
        expected = unit.outside([*head(features).numpy()])
        unit.fold_into(head)
        assert np.allclose(np.stack(expected), head(features).numpy(), rtol=1e-6)
        head.weight.fill_(10)
    with pytest.raises(TrainingError, match="float32") as caught:
        Unit(0.0, 3e38).fold_into(head)
    assert "SQL" in caught.value.remedy
    assert float(head.weight.detach().max()) == 10  # as it was


def test_the_ridge_is_scikit_learns() -> None:
    """With weights of rows, which an outsider's task may have, and more rows than one part."""
    from sklearn.linear_model import Ridge as Reference

    from lakewright.learning.learners.encoder.ridge import PART, Ridge

    draw = np.random.default_rng(3)
    inputs = draw.normal(2.0, 1.0, (PART + 50, 6)).astype(np.float32)
    targets = (inputs @ draw.normal(size=(6, 2)) + draw.normal(size=(len(inputs), 2))).astype(np.float32)
    weights = draw.integers(0, 4, len(inputs)).astype(np.float32)
    ridge = Ridge(*map(torch.from_numpy, (inputs, targets, weights)))
    for penalty in (1e-5, 1.0, 100.0):
        reference = Reference(alpha=penalty / 2 * float(weights.sum())).fit(inputs, targets, sample_weight=weights)
        weight, bias = ridge.head(penalty)
        assert np.allclose(weight.numpy(), reference.coef_, atol=1e-4)
        assert np.allclose(bias.numpy(), reference.intercept_, atol=1e-3)
