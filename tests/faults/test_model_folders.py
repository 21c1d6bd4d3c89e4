"""A model folder is opened as it was sealed, or refused with a ModelError: whatever lies in it, and whoever made it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import GREETINGS, greeting_model, sealed_model
from lakewright.errors import ModelError, UsageError
from lakewright.model.folder import SERVING, digest_of, holds, seal, serving
from lakewright.model.predictor import Predictor
from lakewright.model.recipe.tokens import Tokens
from lakewright.records import ModelVersion
from lakewright.registry.uri import downloaded, local_folder, model_folder
from lakewright.service.server import endpoint
from lakewright.service.server.model import Model
from lakewright.settings.profile import Profile
from lakewright.workspace import Workspace
from recipes import store


@pytest.fixture
def folder(greeter: Path, tmp_path: Path) -> Path:
    """A sealed model folder to be changed."""
    return Path(shutil.copytree(greeter, tmp_path / "model"))


@pytest.fixture(scope="module")
def token_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose recipe is a tokenizer.json: "morning" is hello, "night" is goodbye."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("tokens") / "model"
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "morning": 2, "night": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    store(folder, Tokens.make(["text"], tokenizer.to_str(), max_length=16, pad_id=0))
    weights = np.array([[0, 0], [0, 0], [0, 5], [5, 0]], dtype=np.float32)
    nodes = [
        helper.make_node("Gather", ["weight", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["masks"]),
        helper.make_node("Mul", ["each", "masks"], ["real"]),
        helper.make_node("ReduceSum", ["real", "middle"], ["logits"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", 2])]
    constants = {"weight": weights, "last": np.array([2]), "middle": np.array([1])}
    initializers = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "tokens", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "model.onnx")
    task = {"name": "text_classification", "labels": ["goodbye", "hello"], "inputs": {"text": "text"}}
    return sealed_model(folder, "readings", task, "encoder", GREETINGS)


def refused(folder: Path, runtime: str = "auto") -> ModelError:
    with pytest.raises(ModelError) as failure:
        Predictor.open(folder, runtime)
    assert failure.value.cause and failure.value.remedy
    return failure.value


# What nobody sealed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openvino.xml", SERVING, "recipe/added_tokens.json", ".hidden", "weights.pkl"])
def test_a_file_that_was_not_sealed_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    failure = refused(folder)
    assert f"{folder / name} is not one of the sealed files" in failure.cause
    assert "do not serve it" in failure.remedy


def test_another_network_beside_the_sealed_one_never_answers(folder: Path, tmp_path: Path) -> None:
    """As an attacker would who can write into a cache of downloads, but into no registry."""
    openvino = pytest.importorskip("openvino")
    before = digest_of(folder)
    other = greeting_model(tmp_path / "other", weight=-5.0)
    openvino.save_model(openvino.convert_model(str(other / "model.onnx")), str(folder / "openvino.xml"))
    chosen = {"runtime": "openvino", "precision": "fp32"}
    (folder / SERVING).write_text(json.dumps({"throughput": chosen, "latency": chosen}))
    assert digest_of(folder) == before
    assert serving(folder, "latency") == ("onnx", "fp32") and not holds(folder, "openvino.xml")
    refused(folder)
    refused(folder, "openvino")
    with pytest.raises(ModelError, match="is not one of the sealed files"):
        Model.open(folder, None, "auto", 1)


def link_to_a_file(folder: Path) -> None:
    (folder / "link").symlink_to(folder / "model.onnx")


def link_in_the_place_of_a_file(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def link_to_a_folder(folder: Path) -> None:
    (folder / "loop").symlink_to(folder, target_is_directory=True)


def pipe_in_the_place_of_a_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")  # reading it would wait for ever


def empty_folder(folder: Path) -> None:
    (folder / "__pycache__").mkdir()


def folder_in_the_place_of_a_file(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").mkdir()


def name_of_no_text(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("x")


@pytest.mark.parametrize(
    "change",
    [
        link_to_a_file,
        link_in_the_place_of_a_file,
        link_to_a_folder,
        pipe_in_the_place_of_a_file,
        empty_folder,
        folder_in_the_place_of_a_file,
        name_of_no_text,
    ],
)
def test_links_pipes_and_other_folders_are_refused(folder: Path, change: Callable[[Path], None]) -> None:
    change(folder)
    assert (failure := refused(folder)).cause.encode() and "do not serve it" in failure.remedy


def test_a_linked_folder_is_opened(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(folder, target_is_directory=True)
    assert Predictor.open(tmp_path / "current").predict(["good morning"])[0]["label"] == "hello"


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "encoding/../model.json", "", ".", "x\0y", "a" * 5000])
def test_names_that_lead_out_of_the_folder_are_never_looked_up(folder: Path, name: str) -> None:
    (folder.parent / "outside").write_text("x")
    listed = json.loads((folder / "manifest.json").read_text())
    sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of x
    (folder / "manifest.json").write_text(json.dumps({**listed, name: sha256}))
    assert "lacks" in refused(folder).cause


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"null", b'{"model.json": 1}', b"\xff", b"[" * 100_000, b'{"a": NaN}', b" " * (2 << 20)]
)
def test_a_damaged_manifest(folder: Path, manifest: bytes) -> None:
    (folder / "manifest.json").write_bytes(manifest)
    refused(folder)
    with pytest.raises(ModelError):
        serving(folder, "latency")


# Sealed, and yet no model that works ------------------------------------------------------------------------------


def task_of_another_package(folder: Path) -> None:
    changed(folder, "model.json", task={"name": "text_generation", "labels": []})


def task_without_a_name(folder: Path) -> None:
    changed(folder, "model.json", task={"name": ["text_classification"]})


def labels_missing(folder: Path) -> None:
    changed(folder, "model.json", task={"name": "text_classification"})


def labels_too_few(folder: Path) -> None:
    changed(folder, "model.json", task={"name": "text_classification", "labels": ["hello"], "inputs": {"text": "text"}})


def labels_too_many(folder: Path) -> None:
    changed(
        folder,
        "model.json",
        task={"name": "text_classification", "labels": ["a", "b", "c"], "inputs": {"text": "text"}},
    )


def labels_alike(folder: Path) -> None:
    changed(
        folder, "model.json", task={"name": "text_classification", "labels": ["a", "a"], "inputs": {"text": "text"}}
    )


def labels_that_are_numbers(folder: Path) -> None:
    changed(folder, "model.json", task={"name": "text_classification", "labels": [0, 1], "inputs": {"text": "text"}})


def another_task_than_the_network_learned(folder: Path) -> None:
    changed(folder, "model.json", task={"name": "token_classification", "labels": ["a", "b"]})


def format_to_come(folder: Path) -> None:
    changed(folder, "model.json", format=4)


def no_object(folder: Path) -> None:
    (folder / "model.json").write_text("[]")


def values_nested_deep(folder: Path) -> None:
    (folder / "model.json").write_text('{"format": 3, "task": ' + "[" * 50_000 + "]" * 50_000 + "}")


def step_of_another_package(folder: Path) -> None:
    changed(folder, "recipe/recipe.json", steps=[{"step": "bytes", "inputs": ["text"]}])


def terms_with_nan(folder: Path) -> None:
    changed(folder, "recipe/terms.json", idf=[float("nan")] * 5)


def terms_with_a_number_too_large(folder: Path) -> None:
    changed(folder, "recipe/terms.json", idf=[1e308] * 5)


def terms_with_too_few_numbers(folder: Path) -> None:
    changed(folder, "recipe/terms.json", idf=[1.0])


def no_recipe(folder: Path) -> None:
    shutil.rmtree(folder / "recipe")


def no_network(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def network_that_is_text(folder: Path) -> None:
    (folder / "model.onnx").write_text("version https://git-lfs.github.com/spec/v1")


def network_with_other_inputs(folder: Path) -> None:
    renamed(folder, "ids", "words")


def network_with_another_output(folder: Path) -> None:
    renamed(folder, "logits", "probabilities")


def network_that_gives_nan(folder: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(folder / "model.onnx")
    (weight,) = (each for each in model.graph.initializer if each.name == "weight")
    nothing = np.full_like(numpy_helper.to_array(weight), float("nan"))
    weight.CopyFrom(numpy_helper.from_array(nothing, "weight"))
    onnx.save(model, folder / "model.onnx")


def weights_outside_of_the_folder(folder: Path) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    (weight,) = (each for each in model.graph.initializer if each.name == "weight")
    (folder.parent / "weights").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    place = weight.external_data.add()
    place.key, place.value = "location", "../weights"
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def runtime_that_is_none(folder: Path) -> None:
    chosen = {"runtime": "tensorrt", "precision": "fp16"}
    (folder / SERVING).write_text(json.dumps({"throughput": chosen, "latency": chosen}))


def runtimes_missing(folder: Path) -> None:
    (folder / SERVING).write_text("{}")


def changed(folder: Path, name: str, /, **values: Any) -> None:
    file = folder / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def renamed(folder: Path, old: str, new: str) -> None:
    import onnx

    model = onnx.load(folder / "model.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    onnx.save(model, folder / "model.onnx")


ABSURD = [
    task_of_another_package, task_without_a_name, labels_missing, labels_too_few, labels_too_many, labels_alike,
    labels_that_are_numbers, another_task_than_the_network_learned, format_to_come, no_object, values_nested_deep,
    step_of_another_package, terms_with_nan, terms_with_a_number_too_large, terms_with_too_few_numbers,
    no_recipe, no_network, network_that_is_text, network_with_other_inputs, network_with_another_output,
    network_that_gives_nan, weights_outside_of_the_folder, runtime_that_is_none, runtimes_missing,
]  # fmt: skip


@pytest.mark.parametrize("change", ABSURD)
def test_a_sealed_folder_that_makes_no_sense_is_refused(
    folder: Path, change: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    change(folder)
    seal(folder)
    refused(folder)
    assert capfd.readouterr().out == ""  # results alone belong there


def tokens_step(**changed: Any) -> str:
    return json.dumps({"steps": [{"step": "tokens", "inputs": ["text"], "max_length": 16, "pad_id": 0, **changed}]})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("recipe/tokenizer.json", "{"),
        (
            "recipe/tokenizer.json",
            '{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}',
        ),
        ("recipe/recipe.json", tokens_step(max_length=-3)),
        ("recipe/recipe.json", tokens_step(pad_id=99999)),
        ("recipe/recipe.json", tokens_step(long_texts="all")),
        ("recipe/recipe.json", tokens_step(long_texts="windows", stride=16)),
        ("recipe/recipe.json", tokens_step(max_length=1e30, trust_remote_code=True)),
        ("recipe/recipe.json", tokens_step(inputs=[])),
        ("recipe/recipe.json", tokens_step(inputs=["other"])),
        ("recipe/recipe.json", '{"steps": []}'),
    ],
)
def test_a_damaged_tokenizer_is_refused(token_reader: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = Path(shutil.copytree(token_reader, tmp_path / "model"))
    assert Predictor.open(folder).predict(["good night " * 50])[0]["label"] == "goodbye"
    (folder / name).write_text(content)
    seal(folder)
    refused(folder)


def test_a_network_that_fails_on_a_row_is_a_model_error(folder: Path) -> None:
    """Its encoding is another model's: it knows words that the network has no weights for."""
    known = json.loads((folder / "recipe" / "terms.json").read_text())
    changed(folder, "recipe/terms.json", terms=[*known["terms"], "rose"], idf=[*known["idf"], 1.0])
    seal(folder)
    predictor = Predictor.open(folder)
    with pytest.raises(ModelError, match="does not work"):
        predictor.predict(["a rose"])


def test_samples_that_are_no_rows_are_refused_by_a_server(folder: Path) -> None:
    for samples in ({}, {"rows": [5], "predictions": {"onnx": [{}]}}, {"rows": [], "predictions": {}}, []):
        (folder / "samples.json").write_text(json.dumps(samples))
        seal(folder)
        with pytest.raises(ModelError):
            Model.open(folder, None, "auto", 1)


def test_a_server_opens_what_was_registered_alone(folder: Path) -> None:
    version = ModelVersion(name="a.b.c", version=1, aliases=[], digest=digest_of(folder))
    assert Model.open(folder, version, "auto", 1).digest == version.digest
    changed(folder, "project.json", seed=2)
    seal(folder)
    with pytest.raises(ModelError, match=r"is not the (model )?folder that was registered"):
        Model.open(folder, version, "auto", 1)


def test_the_users_own_mistakes_stay_theirs(folder: Path) -> None:
    with pytest.raises(UsageError, match="no runtime named 'onxx'"):
        Predictor.open(folder, "onxx")


NASTY: list[Any] = [None, True, -1, 0, 1e308, 10**30, "", "../x", [], {}, ["goodbye"] * 2, [[["x"]]], "\udc80"]


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from places(each, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    key, *rest = at
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = replaced(copy[key], tuple(rest), new)
    return copy


@st.composite
def damage(draw: st.DrawFn, content: bytes, is_json: bool) -> bytes:
    """The file with one value replaced, with a few bytes changed, or cut short."""
    if is_json and draw(st.booleans()):
        value = json.loads(content)
        at = draw(st.sampled_from(list(places(value))))
        return json.dumps(replaced(value, at, draw(st.sampled_from(NASTY)))).encode()
    if draw(st.booleans()):
        return content[: draw(st.integers(0, len(content) - 1))]
    bytes_ = bytearray(content)
    for at in draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        bytes_[at] = draw(st.integers(0, 255))
    return bytes(bytes_)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_is_changed_a_folder_works_or_is_a_model_error(
    greeter: Path, token_reader: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    made = data.draw(st.sampled_from([greeter, token_reader]))
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("any") / "model"))
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    file = data.draw(st.sampled_from(files))
    change = data.draw(st.sampled_from(["damage", "damage", "damage", "remove", "add"]))
    if change == "damage":
        content = file.read_bytes()
        file.write_bytes(data.draw(damage(content, file.suffix == ".json")))
        if file.read_bytes() != content:
            refused(folder)  # not what was sealed
    elif change == "remove":
        file.unlink()
        refused(folder)
    else:
        file.with_name(data.draw(st.sampled_from(["openvino.xml", "tokenizer.json2", ".x"]))).write_bytes(b"x")
        refused(folder)
    seal(folder)
    try:
        predictions = Predictor.open(folder, threads=1).predict(["good morning", "", "night " * 30])
        json.dumps(predictions, allow_nan=False)
        Model.open(folder, None, "auto", 1)
    except ModelError as failure:
        assert failure.cause and failure.remedy
    finally:
        shutil.rmtree(folder)


# Models of other tools --------------------------------------------------------------------------------------------


class Pickled:
    """Once it is loaded, a file is there that tells."""

    def __init__(self, tells: Path) -> None:
        self.tells = tells

    def __reduce__(self) -> Any:
        return Path.touch, (self.tells,)


def sklearn_model(place: Path) -> None:
    (place / "MLmodel").write_text(
        yaml.safe_dump({"flavors": {"python_function": {"loader_module": "mlflow.sklearn", "model_path": "model.pkl"}}})
    )


def transformers_folder(place: Path) -> None:
    (place / "config.json").write_text('{"model_type": "bert"}')
    (place / "pytorch_model.bin").write_bytes((place / "model.pkl").read_bytes())


def flavor_without_python(place: Path) -> None:
    (place / "MLmodel").write_text(yaml.safe_dump({"flavors": {"spark": {"model_data": "sparkml"}}}))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a pickle in it, which is never to be loaded."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(pickle.dumps(Pickled(tmp_path / "loaded")))
    return folder


@pytest.mark.parametrize("make", [sklearn_model, transformers_folder, flavor_without_python, lambda place: None])
def test_models_of_other_tools_are_refused_and_never_loaded(place: Path, make: Callable[[Path], None]) -> None:
    make(place)
    refused(place)
    version = ModelVersion(name="a.b.c", version=1, aliases=[], uri=str(place), digest="x")
    with pytest.raises(ModelError):
        local_folder(version, place)
    with pytest.raises(ModelError):
        endpoint.one(Workspace.open(Profile(workspace=str(place.parent / "workspace"))), str(place))
    assert not (place.parent / "loaded").exists()


def test_what_is_no_folder(folder: Path, tmp_path: Path) -> None:
    for none in (folder / "model.onnx", tmp_path / "nowhere", Path("null\0character")):
        refused(none)
        with pytest.raises(ModelError):
            Model.open(none, None, "auto", 1)


@pytest.mark.parametrize(
    "described",
    [
        b"",
        b"flavors: [",
        b"flavors: 5",
        b"\xff\xfe",
        b"flavors: {python_function: [1]}",
        b"flavors: {python_function: {loader_module: lakewright.model.pyfunc}}",
        b"flavors: {python_function: {loader_module: lakewright.model.pyfunc, data: [x]}}",
        b"flavors: {python_function: {loader_module: lakewright.model.pyfunc, data: ../model}}",
        b"flavors: {python_function: {loader_module: lakewright.model.pyfunc, data: /etc}}",
        b"flavors: {python_function: {loader_module: lakewright.model.pyfunc, data: 2020-99-99}}",
        b"a: &a [*a]",
        b"!!python/object/apply:os.system [touch loaded]",
        b"[" * 5000,
    ],
)
def test_a_damaged_mlmodel(folder: Path, tmp_path: Path, described: bytes) -> None:
    logged = tmp_path / "logged"
    logged.mkdir()
    (logged / "MLmodel").write_bytes(described)
    version = ModelVersion(name="a.b.c", version=1, aliases=[], uri=str(logged), digest=digest_of(folder))
    with pytest.raises(ModelError):
        model_folder(logged, version)


def test_a_download_is_held_against_the_registry_each_time(folder: Path, tmp_path: Path) -> None:
    version = ModelVersion(name="a.b.c", version=1, aliases=[], uri="s3://bucket/m", digest=digest_of(folder))
    cache = tmp_path / "downloads"
    cache.mkdir()
    assert local_folder(version, cache) is None
    copy = Path(shutil.copytree(folder, downloaded(version, cache)))
    assert local_folder(version, cache) == copy
    changed(copy, "project.json", seed=2)
    seal(copy)
    with pytest.raises(ModelError, match="is not the folder that was registered") as failure:
        local_folder(version, cache)
    assert str(copy) in failure.value.remedy  # what to remove, so that it is brought again
