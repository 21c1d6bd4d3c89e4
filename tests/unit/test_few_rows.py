"""Few rows: pairs that teach the encoder, and folds that choose, of which no row is judged by what learned from it."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import KINDS as THINGS
from conftest import sentences
from lakewright import plugins
from lakewright.errors import TrainingError
from lakewright.learning.learners import Examples, Training
from lakewright.learning.learners.encoder import contrastive, few_rows
from lakewright.learning.learners.encoder.base import load_encoder
from lakewright.learning.learners.encoder.network import EncoderNetwork
from lakewright.learning.learners.encoder.probe import Choice
from lakewright.learning.learners.encoder.settings import EncoderSettings
from lakewright.learning.learners.encoder.sure import Sure, probe_beside
from lakewright.model.recipe import Recipe
from lakewright.model.recipe.ragged import Ragged
from lakewright.model.tasks.classification import TextClassification
from lakewright.model.tasks.multilabel import MultilabelClassification
from lakewright.model.tasks.regression import Regression
from recipes import tokens

KINDS = ("animal", "plant", "stone")


def training(base: Path, folder: Path, truth: str = "class", rows: int = 60, **settings: Any) -> Training:
    folder.mkdir(exist_ok=True)
    recipe = Recipe((tokens(base, 32),))
    task: Any = TextClassification(KINDS) if truth == "class" else MultilabelClassification(KINDS, (0.5,) * 3)

    def examples(count: int, seed: int) -> Examples:
        drawn = sentences(count, seed=seed)
        texts = [row["text"] for row in drawn]
        truths: list[Any] = [row["label"] for row in drawn]
        if truth == "labels":
            truths = [[label] if at % 5 else [] for at, label in enumerate(truths)]
        encoded = recipe.encode([{"text": text} for text in texts])
        parts = np.arange(count, dtype=np.int16)
        ones = np.ones(count, dtype=np.float32)
        return Examples(encoded, task.targets(truths, encoded, texts), ones, texts, truths, parts)

    return Training(
        task=task,
        settings=EncoderSettings(base_model=str(base), per_device_train_batch_size=8, **settings),
        recipe=recipe,
        train=examples(rows, 1),
        validation=examples(rows // 6, 2),
        folder=folder,
        checkpoints=folder,
        base=base,
        device="cpu",
        threads=1,
    )


def network(base: Path, dropout: float = 0.0) -> EncoderNetwork:
    torch.manual_seed(1)
    return EncoderNetwork(load_encoder(base, dropout, 1), 3, "row", "mean", dropout)


def weights(of: EncoderNetwork) -> torch.Tensor:
    return torch.cat([value.flatten() for value in of.state_dict().values() if value.is_floating_point()])


def test_the_loss_is_the_papers() -> None:
    vectors, labels = torch.randn(5, 4, generator=torch.Generator().manual_seed(3)), [0, 1, 0, 1, 2]
    unit = (vectors / vectors.norm(dim=1, keepdim=True)).double().numpy()
    each = []
    for i in range(4):  # the last is like no other
        scores = {j: unit[i] @ unit[j] / contrastive.TEMPERATURE for j in range(5) if j != i}
        total = np.log(sum(np.exp(score) for score in scores.values()))
        each.append(-np.mean([scores[j] - total for j in scores if labels[j] == labels[i]]))
    alike = torch.from_numpy(contrastive.alike(np.array(labels)[:, None]))
    of_weights = torch.tensor([1.0, 2.0, 1.0, 2.0, 9.0])
    loss = contrastive.contrastive_loss(vectors, alike, of_weights)
    assert float(loss) == pytest.approx(np.average(each, weights=[1, 2, 1, 2]), rel=1e-5)


def test_labels_are_alike_by_their_share_in_common() -> None:
    alike = contrastive.alike(np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]))
    assert alike.tolist() == [[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("size", [4, 32])
def test_a_batch_holds_rows_of_like_class_however_many_classes_there_are(size: int) -> None:
    targets = np.repeat(np.arange(50), 3)[:, None]
    for step in range(5):
        rows = contrastive.drawn(targets, size, 13, step)
        _, counts = np.unique(targets[rows], return_counts=True)
        assert len(rows) <= size and len(set(rows.tolist())) == len(rows) and counts.min() >= 2
    assert not np.array_equal(contrastive.drawn(targets, size, 13, 0), contrastive.drawn(targets, size, 13, 1))


@pytest.mark.parametrize("truth", ["class", "labels"])
def test_pairs_bring_rows_of_like_truth_together(tiny_base: Path, tmp_path: Path, truth: str) -> None:
    given = training(tiny_base, tmp_path, truth)
    of = network(tiny_base)
    head = of.head.weight.clone()
    losses = contrastive.contrast(of, given, given.train, 30, tmp_path / "pairs.pt")
    assert len(losses) == 30 and np.mean(losses[-5:]) < np.mean(losses[:5])
    assert torch.equal(of.head.weight, head)


@pytest.mark.parametrize("killed_at", [1, 3, 7])
def test_pairs_resumed_end_with_the_same_weights(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    """With dropout and a checkpoint after every batch; the process is gone in the middle of a batch, and the rest comes
    in two calls."""
    given = training(tiny_base, tmp_path, save_seconds=1e-9)
    undisturbed = network(tiny_base, 0.3)
    expected = contrastive.contrast(undisturbed, given, given.train, 8, tmp_path / "whole.pt")
    loss, calls = contrastive.contrastive_loss, 0

    def dies(*arguments: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise KeyboardInterrupt
        return loss(*arguments)

    monkeypatch.setattr(contrastive, "contrastive_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        contrastive.contrast(network(tiny_base, 0.3), given, given.train, 8, tmp_path / "parted.pt")
    monkeypatch.setattr(contrastive, "contrastive_loss", loss)
    resumed = network(tiny_base, 0.3)
    contrastive.contrast(resumed, given, given.train, 7, tmp_path / "parted.pt")
    assert contrastive.contrast(resumed, given, given.train, 8, tmp_path / "parted.pt") == expected
    assert torch.equal(weights(resumed), weights(undisturbed))


def test_folds_choose_for_few_rows_alone(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = training(tiny_base, tmp_path)
    assert few_rows.folds_of(few) == few_rows.FOLDS
    assert few_rows.folds_of(training(tiny_base, tmp_path, num_train_epochs=1)) == 0
    assert few_rows.folds_of(training(tiny_base, tmp_path, folds=0)) == 0
    by_time = replace(few, train=replace(few.train, parts=None))
    assert few_rows.folds_of(by_time) == 0
    with pytest.raises(TrainingError, match="split by time"):
        few_rows.folds_of(replace(by_time, settings=EncoderSettings(folds=3)))
    number = replace(few, task=Regression({"text": "text"}))
    assert few_rows.folds_of(number) == 0
    with pytest.raises(TrainingError, match="contrastive cannot be 4: regression"):
        few_rows.folds_of(replace(number, settings=EncoderSettings(contrastive=4)))
    with pytest.raises(ValueError, match="lora_rank"):
        EncoderSettings(contrastive=4, lora_rank=8)
    monkeypatch.setattr(few_rows, "FEW", 69)
    assert few_rows.folds_of(few) == 0
    assert few_rows.folds_of(training(tiny_base, tmp_path, folds=5)) == 5


@pytest.mark.parametrize("truth", ["class", "labels"])
def test_no_row_is_judged_by_what_learned_from_it(tiny_base: Path, tmp_path: Path, truth: str) -> None:
    """A row's prediction by folds stays when its truth changes; that of another fold's rows does not."""
    given = training(tiny_base, tmp_path / "a", truth, contrastive=4)
    row = 2
    truths = [*given.train.truths]
    truths[row] = {"animal": "stone"}.get(truths[row], "animal") if truth == "class" else [*KINDS]
    targets = given.task.targets(truths, given.train.encoded, given.train.rows)
    changed = replace(given, train=replace(given.train, truths=truths, targets=targets), checkpoints=tmp_path / "b")
    changed.checkpoints.mkdir()
    kept: list[Any] = []
    for one in (given, changed):
        few_rows.learn(network(tiny_base), one, 3)
        folds = (np.load(one.checkpoints / f"features_{fold}_4.npy") for fold in range(3))
        kept.append([*folds])
    fold = row % 3
    assert np.array_equal(kept[0][fold], kept[1][fold])
    assert not np.array_equal(kept[0][(fold + 1) % 3], kept[1][(fold + 1) % 3])


def test_a_killed_choice_goes_on_to_the_same_model(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(few_rows, "USUAL", 3)
    monkeypatch.setattr(few_rows, "BATCHES", (3, 6))
    undisturbed = network(tiny_base)
    expected = few_rows.learn(undisturbed, training(tiny_base, tmp_path / "whole"), 3)
    measured, calls = few_rows._measured, 0

    def dies(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return measured(*arguments)

    monkeypatch.setattr(few_rows, "_measured", dies)
    with pytest.raises(KeyboardInterrupt):
        few_rows.learn(network(tiny_base), training(tiny_base, tmp_path / "parted"), 3)
    monkeypatch.setattr(few_rows, "_measured", measured)
    resumed = network(tiny_base)
    found = few_rows.learn(resumed, training(tiny_base, tmp_path / "parted"), 3)
    assert found.details == expected.details and found.history == expected.history
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert np.array_equal(np.stack(found.validation), np.stack(expected.validation))


@pytest.mark.parametrize(("rows", "chosen"), [(20, 5), (2000, 20)])
def test_few_rows_cannot_tell_and_more_can(rows: int, chosen: int) -> None:
    """The same small advantage of 20 batches, with the same noise."""
    draw = np.random.default_rng(3)
    losses = draw.normal(1.0, 0.3, rows)
    better = losses - 0.02 + draw.normal(0, 0.2, rows)
    ways = {
        batches: few_rows._Way(each, Choice(1.0), np.zeros((rows, 2), np.float32))
        for batches, each in ((0, losses + 0.5), (5, losses), (20, better - (better - losses + 0.02).mean()))
    }
    assert few_rows._chosen(ways) == chosen


def test_folds_choose_the_kind_of_head_and_how_sure_it_is(tiny_base: Path, tmp_path: Path) -> None:
    """Classes whose centres differ, among directions that vary much and say nothing: least squares. One number whose
    middle is a class: logistic, as least squares never finds the middle one."""
    given = training(tiny_base, tmp_path, rows=120)
    given = replace(given, settings=given.settings.model_copy(update={"contrastive": "never"}))
    draw = np.random.default_rng(5)
    classes, of_row = np.repeat([0, 1, 2], 40), np.arange(120) % 3
    targets = given.task.targets([KINDS[at] for at in classes], given.train.encoded, given.train.rows)
    examples = replace(given.train, targets=targets)
    wide = draw.normal(size=(120, 300)) + 10 * draw.normal(size=(120, 20)) @ draw.normal(size=(20, 300))
    wide[np.arange(120), classes] += 6
    wide = wide.astype(np.float32)
    line = (classes + draw.normal(size=120) * 0.15).astype(np.float32)[:, None] * np.ones(4, np.float32)
    ways = {}
    for name, features in (("wide", wide), ("line", line)):
        way = ways[name] = few_rows._measured(given, examples, [features] * 3, of_row.astype(np.int16))
        stretched = [few_rows._slope(way.logits * factor, classes, examples.weights) for factor in (1, 100)]
        assert stretched[0] == pytest.approx(1, rel=0.01) and stretched[1] == pytest.approx(0.01, rel=0.01)
        weight, bias = few_rows._head(given, examples, features, way.choice)
        right = (features @ weight.numpy().T + bias.numpy()).argmax(axis=1) == classes
        assert right.mean() > 0.9 and way.loss < np.log(3)
    assert ways["wide"].choice.ridge and not ways["line"].choice.ridge
    smooth = given.settings.model_copy(update={"label_smoothing_factor": 0.1})  # a loss of the user's own: no other
    alone = few_rows._measured(replace(given, settings=smooth), examples, [wide] * 3, of_row.astype(np.int16))
    assert not alone.choice.ridge


def test_an_empty_fold_is_an_error(tiny_base: Path, tmp_path: Path) -> None:
    given = training(tiny_base, tmp_path)
    alike = replace(given, train=replace(given.train, parts=np.zeros(60, np.int16)))
    alike = replace(alike, validation=replace(alike.validation, parts=np.zeros(10, np.int16)))
    assert few_rows.folds_of(alike) == 0
    with pytest.raises(TrainingError, match="too few for 3 folds"):
        few_rows.learn(network(tiny_base), alike, 3)


def without_labels(one_training: Training, rows: int = 90, order: int | None = None) -> Training:
    """The training with rows without a label beside its own; `order` shuffles them."""
    texts = [row["text"] for row in sentences(rows, seed=7)]
    if order is not None:
        texts = [texts[at] for at in np.random.default_rng(order).permutation(rows)]
    encoded = one_training.recipe.encode([{"text": text} for text in texts])
    none = Ragged(np.empty(0, np.int32), np.zeros(rows + 1, np.int64))
    unlabeled = Examples(encoded, none, np.ones(rows, np.float32), texts, [None] * rows)
    return replace(one_training, unlabeled=unlabeled)


def clear(one_training: Training) -> Training:
    """The training with texts that a random encoder tells apart: one word, four times."""

    def of(examples: Examples, seed: int) -> Examples:
        draw = random.Random(seed)
        truths = [draw.choice(KINDS) for _ in range(len(examples))]
        words = [draw.choice(THINGS[truth][:2]) for truth in truths]
        texts = [f"{word} {word} {word} {word} {draw.randrange(10_000)}" for word in words]
        encoded = one_training.recipe.encode([{"text": text} for text in texts])
        if not len(examples.targets.values):
            return replace(examples, encoded=encoded, rows=texts)
        targets = one_training.task.targets(truths, encoded, texts)
        return replace(examples, encoded=encoded, rows=texts, truths=truths, targets=targets)

    assert one_training.unlabeled is not None
    train, validation, unlabeled = (
        of(one_training.train, 1),
        of(one_training.validation, 2),
        of(one_training.unlabeled, 3),
    )
    return replace(one_training, train=train, validation=validation, unlabeled=unlabeled)


def test_how_sure_is_sure_follows_from_rows_of_known_class() -> None:
    """Of 100 rows the surest 40 are all right, the next 40 are right every second time, the others more seldom."""
    confidence = np.linspace(0.99, 0.4, 100)
    right = np.array([True] * 40 + [True, False] * 20 + [True, False, False] * 6 + [False, False])
    labels_of_folds = np.where(right, 0, 1)
    probabilities = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    probabilities[np.arange(100), labels_of_folds] = confidence
    logits = np.log(probabilities).astype(np.float32)
    nought, ones = np.zeros(100, np.int64), np.ones(100, np.float32)
    rows, classes = Sure.by(logits, nought, ones).of(logits)
    assert rows.tolist() == [*range(51)] and np.array_equal(classes, labels_of_folds[:51])
    assert right[:51].mean() >= 0.9 > right[:53].mean()
    few = Sure.by(logits[:9], nought[:9], ones[:9])  # all right, but nine are too few
    assert few.threshold is None and len(few.of(logits)[0]) == 0


def test_rows_that_are_not_sure_are_not_learned_from(tiny_base: Path, tmp_path: Path) -> None:
    """Of labels by chance no confidence is right: the model is that without them, and its details say why."""
    one_training = training(tiny_base, tmp_path / "a", contrastive="never")
    truths = [KINDS[at] for at in np.random.default_rng(3).integers(0, 3, len(one_training.train))]
    targets = one_training.task.targets(truths, one_training.train.encoded, one_training.train.rows)
    one_training = replace(one_training, train=replace(one_training.train, truths=truths, targets=targets))
    models = []
    for one in (one_training, replace(without_labels(one_training), checkpoints=tmp_path / "b")):
        one.checkpoints.mkdir(exist_ok=True)
        model = network(tiny_base)
        learned = few_rows.learn(model, one, 3)
        models.append(weights(model))
    assert learned.details["unlabeled_rows"] == 90 and learned.details["unlabeled_used"] == 0
    assert "unlabeled_unused" in learned.details
    assert torch.equal(*models)


def test_sure_rows_weigh_as_much_as_labelled_ones_at_most(tiny_base: Path, tmp_path: Path) -> None:
    """A thousand copies of the labelled rows leave the head where it was: they weigh as much as these, no more."""
    one_training = training(tiny_base, tmp_path)
    draw = np.random.default_rng(1)
    features = draw.normal(size=(60, 8)).astype(np.float32)
    classes = draw.integers(0, 3, 60)
    ones = np.ones(60, np.float32)
    labelled = features, torch.from_numpy(classes[:, None]), ones
    for ridge in (False, True):
        heads = []
        for n in (1, 20):
            probe, share = probe_beside(one_training, ridge, labelled, (np.tile(features, (n, 1)), np.tile(classes, n)))
            heads.append(torch.cat([part.flatten() for part in probe.head(0.1 * share)]))
        assert torch.allclose(*heads, atol=0.02) and not torch.allclose(heads[0], 0 * heads[0], atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("contrastive", ["never", "auto"])
def test_a_killed_training_with_rows_without_labels_goes_on_to_the_same_model(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contrastive: str
) -> None:
    monkeypatch.setattr(few_rows, "USUAL", 2)
    monkeypatch.setattr(few_rows, "BATCHES", (2, 4))

    def beside(name: str) -> Training:
        return clear(without_labels(training(tiny_base, tmp_path / name, contrastive=contrastive)))

    undisturbed = network(tiny_base)
    expected = few_rows.learn(undisturbed, beside("whole"), 3)
    assert 0 < int(expected.details["unlabeled_used"]) <= 90
    for at in (1, 3, 5):
        features, calls = few_rows._features, 0

        def dies(*arguments: Any, at: int = at, features: Any = features) -> Any:
            nonlocal calls
            calls += 1
            if calls == at:
                raise KeyboardInterrupt
            return features(*arguments)

        monkeypatch.setattr(few_rows, "_features", dies)
        with suppress(KeyboardInterrupt):
            few_rows.learn(network(tiny_base), beside("parted"), 3)
        monkeypatch.setattr(few_rows, "_features", features)
    resumed = network(tiny_base)
    found = few_rows.learn(resumed, beside("parted"), 3)
    assert found.details == expected.details
    assert torch.equal(weights(resumed), weights(undisturbed))
    assert np.array_equal(np.stack(found.validation), np.stack(expected.validation))


def test_no_row_is_judged_by_rows_that_its_own_label_labelled(tiny_base: Path, tmp_path: Path) -> None:
    """The features of rows without a label, by the encoder that did not learn from a fold, do not change with it."""
    kept = []
    for name, other in (("a", False), ("b", True)):
        one_training = clear(without_labels(training(tiny_base, tmp_path / name, contrastive=4)))
        if other:
            truths = [*one_training.train.truths]
            truths[2] = {"animal": "stone"}.get(truths[2], "animal")
            targets = one_training.task.targets(truths, one_training.train.encoded, one_training.train.rows)
            one_training = replace(one_training, train=replace(one_training.train, truths=truths, targets=targets))
        few_rows.learn(network(tiny_base), one_training, 3)
        kept.append([np.load(one_training.checkpoints / f"unlabeled_{fold}_4.npy") for fold in range(3)])
    assert np.array_equal(kept[0][2], kept[1][2]) and not np.array_equal(kept[0][0], kept[1][0])


@pytest.mark.parametrize(("settings", "why"), [({"folds": 0}, "train.folds is 0"), ({}, "sets num_train_epochs")])
def test_many_rows_learn_nothing_from_them_and_say_so(
    tiny_base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], why: str
) -> None:
    one_training = training(tiny_base, tmp_path, rows=30, num_train_epochs=1, quantize="never", **settings)
    fitted = plugins.LEARNERS.find("encoder").fit(without_labels(one_training))
    assert (fitted.details["unlabeled_rows"], fitted.details["unlabeled_used"]) == (90, 0)
    assert why in fitted.details["unlabeled_unused"]
    assert any(why in record.getMessage() and record.levelname == "WARNING" for record in caplog.records)
