"""The model folder as an MLflow model: saved with the code that reads it, loaded by `mlflow.pyfunc.load_model`.

On the machines that load it (Databricks Model Serving, SageMaker, Azure ML, `mlflow models serve`) only MLflow and the
packages in REQUIREMENTS are installed, so the MLflow model contains Lakewright's source. Plug-ins need entry points, so
it also contains the package's metadata: importlib.metadata finds a dist-info folder on sys.path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lakewright.errors import ModelError, UsageError, nearest
from lakewright.model.folder import ONNX, serving
from lakewright.model.tasks import gives_arrays

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from lakewright.data.rows.kinds import Kind
    from lakewright.model.predictor import Predictor

OUTPUT = "output"  # the parameter of a call …
TABLE = "table"
OUTPUTS = ("value", "probability", TABLE)  # … and its values, the default first
REQUIREMENTS = ("numpy", "onnxruntime", "pandas", "tokenizers")


class PyfuncModel:
    """The model that MLflow calls: takes rows, returns a table of predictions, one row each."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(
        self,
        model_input: pd.DataFrame | Sequence[Any] | Mapping[str, Any],
        params: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame | NDArray[Any]:
        """Takes a DataFrame, a list of texts or dicts, or a dict of columns.

        The tasks over columns give one array, as scikit-learn does: with the parameter `output` "value", labels in the
        type that their column had, or numbers [rows]; with "probability", that of the second of two classes [rows], or
        of every class in the labels' order [rows, classes]. All others, and these with "table", give one output row for
        each input row: label, confidence, probabilities (a dict) or entities (a list of dicts).
        """
        import pandas as pd

        task, output = self.predictor.task, (params or {}).get(OUTPUT, OUTPUTS[0])
        if output not in OUTPUTS:
            raise UsageError(f"the parameter {OUTPUT} is {output!r}", nearest(str(output), OUTPUTS))
        predictions = self.predictor.predict(self._rows(model_input))
        return task.array(predictions, output) if gives_arrays(task) and output != TABLE else pd.DataFrame(predictions)

    def _rows(self, model_input: pd.DataFrame | Sequence[Any] | Mapping[str, Any]) -> Sequence[Any]:
        import pandas as pd

        if isinstance(model_input, Mapping):
            model_input = pd.DataFrame([model_input])
        if not isinstance(model_input, pd.DataFrame):
            return model_input
        # MLflow passes {"text": ["a", "b"]}, the form of serving's `inputs`, as one row of whole columns.
        if len(model_input) == 1 and all(isinstance(value, list) for value in model_input.iloc[0]):
            model_input = model_input.explode(list(model_input.columns), ignore_index=True)
        missing_as_none = model_input.astype(object).where(model_input.notna(), None)
        rows: list[Any] = missing_as_none.to_dict("records")
        return rows


def _load_pyfunc(data_path: str) -> PyfuncModel:
    """MLflow calls this function, by this name, with the model folder."""
    from lakewright.model.predictor import Predictor

    return PyfuncModel(Predictor.open(Path(data_path), use="latency"))


def save_model(folder: Path, destination: Path, example: Sequence[Mapping[str, Any]], identity: Any = None) -> None:
    """Write `folder` as an MLflow model into `destination` (which must not exist or be empty).

    The signature is inferred from `example` and the model's predictions for it; `example` becomes the input example. A
    task that gives arrays has the parameter `output` in it, and the flavour `onnx` for the network alone. `identity` is
    the `mlflow.models.Model` that names the run and the logged model it belongs to.
    Raises ModelError if Lakewright is not an installed package.
    """
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, infer_signature

    runtime, _ = serving(folder, "latency")  # the runtime that `_load_pyfunc` opens
    model = _load_pyfunc(str(folder))
    packages = {*model.predictor.recipe.packages, *(["openvino"] if runtime == "openvino" else [])}
    required = [*REQUIREMENTS, *sorted(packages)]
    rows = pd.DataFrame(list(example))
    identity = Model() if identity is None else identity
    params = None
    if gives_arrays(model.predictor.task):
        params = {OUTPUT: OUTPUTS[0]}
        network = f"data/{folder.name}/{ONNX}"
        identity.add_flavor("onnx", onnx_version=version("onnx"), data=network, providers=["CPUExecutionProvider"])
    signature = infer_signature(rows, model.predict(rows), params)
    if params is not None:
        signature.inputs = _columns(model.predictor.task.inputs)
    with TemporaryDirectory() as scratch:
        mlflow.pyfunc.save_model(
            path=str(destination),
            mlflow_model=identity,
            loader_module=__name__,
            data_path=str(folder),
            code_paths=[str(Path(__file__).parents[1]), str(_metadata(Path(scratch)))],
            pip_requirements=[f"{package}=={version(package)}" for package in required],
            signature=signature,
            input_example=rows,
        )


def _columns(inputs: Mapping[str, Kind]) -> Any:
    """MLflow's schema of a row's inputs. Each may be missing. A category, or a time, is of any type that its column may
    have: text, whole numbers, truth values."""
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

    kinds: dict[Kind, Any] = {"number": DataType.double, "text": DataType.string, "optional text": DataType.string}
    return Schema([ColSpec(kinds.get(kind, AnyType()), name, required=kind == "text") for name, kind in inputs.items()])


def _metadata(folder: Path) -> Path:
    """A dist-info folder with the entry points, without the installation's own paths (RECORD, direct_url.json)."""
    try:
        installed = distribution("lakewright")
    except PackageNotFoundError:
        raise ModelError(
            "lakewright runs from a folder that is not an installed package, so its plug-ins cannot be included",
            "pip install lakewright (in a checkout: pip install -e .)",
        ) from None
    copy = folder / f"lakewright-{installed.version}.dist-info"
    copy.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (copy / name).write_text(installed.read_text(name) or "", encoding="utf-8")
    return copy
