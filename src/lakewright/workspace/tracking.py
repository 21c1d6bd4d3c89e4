"""What a run leaves in MLflow: a parent run, and in it a run a stage with its parameters, curves, pictures and tables.

Every call names its run and its tracking URI: MLflow's global state (the user's own tracking URI and active run) is
neither read nor changed, and several runs can be written from one process.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import logging
import os
import posixpath
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat
from urllib.parse import quote

from lakewright.errors import LakewrightError, UsageError, of_disk
from lakewright.system.secrets import concealed
from lakewright.workspace.mlflow_database import DAMAGED, create_database, damaged_database, schema_remedy
from lakewright.workspace.mlflow_server import reach

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    from lakewright.records import TableVersion

LOG = logging.getLogger(__name__)
PARENT = "mlflow.parentRunId"
MLFLOW_TYPES = {  # Arrow's name for a type: MLflow's
    "bool": "boolean",
    **dict.fromkeys(("int8", "int16", "int32"), "integer"),
    "int64": "long",
    "float": "float",
    "double": "double",
    **dict.fromkeys(("string", "large_string", "string_view"), "string"),
    **dict.fromkeys(("binary", "large_binary"), "binary"),
    **dict.fromkeys(("timestamp", "date32"), "datetime"),
}
LONGEST_PARAM = 6000  # characters, MLflow's limit
SECONDS_BETWEEN_BATCHES = 2.0
Ending = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Tracking:
    """Where runs and model versions are kept.

    `registry_uri` None: the same as `tracking_uri`. `artifacts` is the folder or URI under which the experiments' files
    lie; empty leaves the choice to the tracking server (one with --serve-artifacts, Databricks).
    """

    tracking_uri: str
    registry_uri: str | None
    artifacts: str

    @contextmanager
    def client(self) -> Iterator[MlflowClient]:
        """An MlflowClient for these URIs; what MLflow answers with an error becomes a LakewrightError.

        A server that is away when a process first needs it is told within seconds; one that goes away later gets a
        minute to come back.
        """
        registry_uri = self.registry_uri or self.tracking_uri
        for uri in dict.fromkeys((self.tracking_uri, registry_uri)):
            reach(uri)  # before MLflow is imported, which takes as long again
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # stdout belongs to results
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # read once, when mlflow is first imported
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "5")  # a minute; its own seven are four
        from mlflow.exceptions import MlflowException

        database = logging.getLogger("mlflow.store.db.utils")  # prints the traceback of whatever it raises
        database.addFilter(_silent)
        try:
            yield _opened(self.tracking_uri, registry_uri)
        except MlflowException as error:
            path = self.tracking_uri.removeprefix("sqlite:///")
            if (full := of_disk(error, path)) is not None:
                raise full from None
            if self.tracking_uri != path and DAMAGED.search(error.message):
                raise damaged_database(path, error.message.splitlines()[0]) from None
            remedy = "check that the tracking and registry URIs of the profile are right, and that their servers answer"
            if "out-of-date database schema" in error.message:
                remedy = schema_remedy(self.tracking_uri)
            raise LakewrightError(f"MLflow at {self.tracking_uri} answered: {error.message}", remedy) from None
        finally:
            database.removeFilter(_silent)

    def start(self, experiment: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of the parent run called `name`, RUNNING; made where the experiment has none of that name.

        The name is the run's identity in its experiment, so a process that died before it noted the id finds it again.
        Two processes that start the same name at once are the caller's to keep apart (Workspace.lock does).
        Raises UsageError where the experiment was deleted in MLflow.
        """
        with self.client() as client:
            experiment_id = self._experiment(client, experiment)
            return _run(client, experiment_id, name, None, tags)

    @contextmanager
    def stage(self, run_id: str, stage_name: str) -> Iterator[StageLog]:
        """The log of the run nested in `run_id` for this stage; the same one again where the stage is entered again.

        CPU, memory, disk, network and (where nvidia-ml-py is installed) GPU are sampled every 5 s meanwhile. The nested
        run ends FINISHED, FAILED on an exception, or KILLED on Ctrl-C; after a kill -9 it stays RUNNING until resumed.
        """
        with self.client() as client:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            experiment_id = client.get_run(run_id).info.experiment_id
            nested = _run(client, experiment_id, stage_name, run_id, {})
            log = StageLog(client, nested)
            system = SystemMetricsMonitor(
                nested, sampling_interval=5, resume_logging=True, tracking_uri=self.tracking_uri
            )
            system.start()
            try:
                yield log
                system.finish()
                log.close()
            except BaseException as error:
                with suppress(Exception):  # the stage's own error is the one to show
                    system.finish()
                    log.close()
                with suppress(Exception):
                    client.set_terminated(nested, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                raise
            client.set_terminated(nested, "FINISHED")

    @contextmanager
    def beside(self, run_id: str) -> Iterator[StageLog]:
        """The log of a run that another process has begun, and ends."""
        with self.client() as client:
            log = StageLog(client, run_id)
            yield log
            log.close()

    def params(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Parameters of the run, as `StageLog.params`."""
        with self.client() as client:
            _log_params(client, run_id, values)

    def ended_in(self, run_id: str) -> set[str]:
        """The names of the runs nested in this one that have ended."""
        with self.client() as client:
            condition = f"tags.`{PARENT}` = '{run_id}'"
            found, token, names = [client.get_run(run_id).info.experiment_id], None, set()
            while True:
                page = client.search_runs(found, condition, page_token=token)
                names |= {run.info.run_name for run in page if run.info.status in ("FINISHED", "FAILED")}
                token = page.token
                if not token:
                    return names

    def nested(
        self,
        run_id: str,
        name: str,
        status: Ending,
        *,
        params: Mapping[str, Any],
        metrics: Mapping[str, SupportsFloat],
        tags: Mapping[str, str],
    ) -> str:
        """A run nested in `run_id` that has ended, written at once; the same one again where there is one of the
        name. Returns its id."""
        with self.client() as client:
            return _nested(client, run_id, name, status, params, metrics, tags)

    def finish(
        self, run_id: str, status: Ending, metrics: Mapping[str, SupportsFloat], tags: Mapping[str, str]
    ) -> None:
        """End the parent run, with the metrics and tags that stand for the whole run."""
        with self.client() as client:
            from mlflow.entities import Metric, RunTag

            now = int(time.time() * 1000)
            client.log_batch(
                run_id,
                metrics=[Metric(_key(name), float(value), now, 0) for name, value in metrics.items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            client.set_terminated(run_id, status)

    def _experiment(self, client: MlflowClient, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if self.tracking_uri.startswith("databricks"):  # where experiments are files of the workspace
            name = f"/Shared/{name}"
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name, artifact_location=_location(self.artifacts, name)))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                experiment = client.get_experiment_by_name(name)  # another process was first
        if experiment.lifecycle_stage == "deleted":
            raise UsageError(
                f"the experiment {name!r} was deleted in MLflow",
                f"restore it: mlflow experiments restore --experiment-id {experiment.experiment_id}; or use another "
                "name",
            )
        return str(experiment.experiment_id)


class StageLog:
    """Writes to one MLflow run. Metrics are gathered and sent by a thread every 2 s, the rest is sent at once.

    Names keep letters, digits and `_-. :/`; any other character becomes `_`, as MLflow takes no others.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._waiting: list[Metric] = []
        self._lock = threading.Lock()  # around every change of _waiting
        self._sending = threading.Lock()  # one batch at a time, so that the points of a curve keep their order
        self._closed = threading.Event()
        self._sender = threading.Thread(target=self._send_regularly, name=f"mlflow metrics {run_id}", daemon=True)
        self._sender.start()

    def metric(self, name: str, value: SupportsFloat, step: int = 0) -> None:
        self.metrics({name: value}, step)

    def metrics(self, values: Mapping[str, SupportsFloat], step: int = 0) -> None:
        """One point on each curve; costs microseconds, never a round trip."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(_key(name), float(value), now, step) for name, value in values.items()]
        with self._lock:
            self._waiting += points

    def params(self, values: Mapping[str, Any]) -> None:
        """Parameters under flat dotted names; values that are not text are written as JSON.

        A value over MLflow's 6,000 characters is cut; the whole is the file `params/NAME.txt`. A parameter that the run
        has with another value already (a stage resumed after a change) keeps it; the new one is the tag `changed.NAME`.
        """
        _log_params(self._client, self.run_id, values)

    def nested(self, name: str, *, params: Mapping[str, Any], metrics: Mapping[str, SupportsFloat]) -> None:
        """A run nested in this one that has ended, as `Tracking.nested`."""
        _nested(self._client, self.run_id, name, "FINISHED", params, metrics, {})

    def table(self, table: TableVersion, context: str, schema: pa.Schema | None = None) -> None:
        """The table as an input of this run, pinned at its version; `context` is "training", "evaluation", …"""
        from mlflow.data.delta_dataset_source import DeltaDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        digest = hashlib.sha256(f"{table} {table.uri}".encode()).hexdigest()[:8]
        source = DeltaDatasetSource(path=table.uri, delta_table_version=table.version)
        dataset = MetaDataset(source, name=table.name, digest=digest, schema=_columns(schema))
        dataset_input = DatasetInput(dataset._to_mlflow_entity(), [InputTag("mlflow.data.context", context)])
        self._client.log_inputs(self.run_id, datasets=[dataset_input])
        self._client.set_tag(self.run_id, f"table.{context}", str(table))

    def picture(self, figure: Figure, name: str) -> None:
        """A matplotlib figure as `pictures/NAME.png`."""
        self._client.log_figure(self.run_id, figure, f"pictures/{name}.png")

    def text(self, string: str, name: str) -> None:
        """A file called `name` that holds `string`."""
        self._client.log_text(self.run_id, string, name)

    def file(self, path: Path) -> None:
        """A file, or a folder with all that is in it."""
        self._client.log_artifact(self.run_id, str(path))

    def close(self) -> None:
        """Send what waits. Raises MlflowException where that fails: metrics would be lost."""
        self._closed.set()
        self._sender.join()
        self._send()

    def _send_regularly(self) -> None:
        while not self._closed.wait(SECONDS_BETWEEN_BATCHES):
            try:
                self._send()
            except Exception as error:  # a server that is away for a while must not end hours of training
                LOG.warning("MLflow did not accept the metrics; they will be sent again: %s", error)

    def _send(self) -> None:
        with self._sending:
            while batch := self._waiting[:1000]:  # MLflow's limit for one request
                self._client.log_batch(self.run_id, metrics=batch)
                with self._lock:
                    del self._waiting[: len(batch)]


def _opened(tracking_uri: str, registry_uri: str) -> MlflowClient:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        for uri in dict.fromkeys((tracking_uri, registry_uri)):
            create_database(uri)
        # Without the second one it would take the registry from the process's global setting, which is the user's.
        return MlflowClient(tracking_uri, registry_uri)
    except (MlflowException, LakewrightError):
        raise
    except Exception as failure:  # a damaged database, a driver that is missing, a folder that cannot be made
        cause = f"MLflow cannot open {tracking_uri}: {type(failure).__name__}: {failure}".splitlines()[0]
        raise LakewrightError(
            cause,
            "check the tracking and registry URIs of the profile; restore a damaged database from a copy",
        ) from None


def _silent(record: logging.LogRecord) -> bool:
    return False


def literal(text: str) -> str:
    """`text` as a string in MLflow's filter language, which has two kinds of quotes and no way to escape them."""
    if "'" in text and '"' in text:
        raise UsageError(f"the name {text!r} contains both kinds of quotes", "use a name without quotes")
    return f'"{text}"' if "'" in text else f"'{text}'"


def _run(client: MlflowClient, experiment_id: str, name: str, parent: str | None, tags: Mapping[str, str]) -> str:
    """The run of that name under that parent (None: a top one), RUNNING; the oldest one where there are several."""
    conditions = [f"attributes.run_name = {literal(name)}"]
    if parent is not None:
        conditions.append(f"tags.`{PARENT}` = '{parent}'")
    runs = client.search_runs([experiment_id], " and ".join(conditions), order_by=["attributes.start_time ASC"])
    run_id = next((run.info.run_id for run in runs if run.data.tags.get(PARENT) == parent), None)
    if run_id is None:
        identity = {} if parent is None else {PARENT: parent}
        created = client.create_run(
            experiment_id, tags={"mlflow.user": getpass.getuser(), **tags, **identity}, run_name=name
        )
        return str(created.info.run_id)
    client.update_run(run_id, status="RUNNING")
    for key, value in tags.items():
        client.set_tag(run_id, key, value)
    return str(run_id)


def _nested(
    client: MlflowClient,
    run_id: str,
    name: str,
    status: Ending,
    params: Mapping[str, Any],
    metrics: Mapping[str, SupportsFloat],
    tags: Mapping[str, str],
) -> str:
    from mlflow.entities import Metric, RunTag

    nested = _run(client, client.get_run(run_id).info.experiment_id, name, run_id, {})
    _log_params(client, nested, params)
    now = int(time.time() * 1000)
    client.log_batch(
        nested,
        metrics=[Metric(_key(key), float(value), now, 0) for key, value in metrics.items()],
        tags=[RunTag(key, concealed(value)[:5000]) for key, value in tags.items()],
    )
    client.set_terminated(nested, status)
    return nested


def _log_params(client: MlflowClient, run_id: str, values: Mapping[str, Any]) -> None:
    from mlflow.entities import Param, RunTag

    texts = {_key(name): text for name, text in _flat(values, "")}
    before = client.get_run(run_id).data.params
    cut = {
        name: text if len(text) <= LONGEST_PARAM else text[: LONGEST_PARAM - 1] + "…" for name, text in texts.items()
    }
    new = [Param(name, text) for name, text in cut.items() if name not in before]
    for start in range(0, len(new), 100):  # MLflow's limit for one request
        client.log_batch(run_id, params=new[start : start + 100])
    changed = [RunTag(f"changed.{name}"[:250], text) for name, text in cut.items() if before.get(name, text) != text]
    for start in range(0, len(changed), 100):
        client.log_batch(run_id, tags=changed[start : start + 100])
    for name, text in texts.items():
        if len(text) > LONGEST_PARAM:
            client.log_text(run_id, text, f"params/{name}.txt")


def _location(artifacts: str, experiment: str) -> str | None:
    if not artifacts:
        return None
    root = (
        artifacts
        if "://" in artifacts or artifacts.startswith("mlflow-artifacts:")
        else Path(artifacts).resolve().as_uri()
    )
    return f"{root.rstrip('/')}/{quote(experiment.strip('/'), safe='')}"


def _key(name: str) -> str:
    allowed = re.sub(r"[^\w\-. :/]", "_", name).lstrip("/")[:250]
    return posixpath.normpath(f"/{allowed}")[1:] or "_"  # MLflow refuses a//b, a/../b and a/, too


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield f"{prefix}{name}", concealed(text)


def _columns(schema: pa.Schema | None) -> Any:
    """The columns as MLflow's pages show them."""
    if schema is None:
        return None
    from mlflow.types import ColSpec, Schema
    from mlflow.types.schema import AnyType, Array, DataType

    def kind(arrow: pa.DataType) -> Any:
        if hasattr(arrow, "value_type"):
            return Array(kind(arrow.value_type))
        name = str(arrow).split("[")[0]  # timestamp[us, tz=UTC], date32[day]
        return DataType[MLFLOW_TYPES[name]] if name in MLFLOW_TYPES else AnyType()

    return Schema([ColSpec(kind(field.type), field.name, required=not field.nullable) for field in schema])
