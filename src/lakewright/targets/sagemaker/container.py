"""The program in SageMaker's containers: it connects /opt/ml with `lakewright stage` and `lakewright serve`.

    stage NAME …   a processing job      /opt/ml/processing/input/project → the stage → …/output/evaluation, …/decision
    train          a training job        hyperparameters.json → the stage train → /opt/ml/model, and /opt/ml/checkpoints
                                         (of several instances, what the first process leaves is on the first one)
    serve          an endpoint           /opt/ml/model answers /ping and /invocations at port 8080

SageMaker starts every container with `train` or `serve`
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-dockerfile.html). The
variables of its toolkits (SAGEMAKER_BASE_DIR, SM_MODEL_DIR, SM_CHANNEL_PROJECT) can name other places.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic_core import to_json

from lakewright.errors import LakewrightError, UsageError, nearest
from lakewright.system.files import whole
from lakewright.targets.together import ON_SEVERAL
from lakewright.workers import standalone

if TYPE_CHECKING:
    from lakewright.records import Record
    from lakewright.workspace import Workspace

SECRET = "LAKEWRIGHT_SECRET_"
COPIED_EVERY = 5.0  # seconds between two copies of a stage's checkpoints
LAST_LINES, LONGEST_FAILURE = 8, 1024  # of a stage's output; characters that SageMaker shows
TORCHRUN = "29500"  # the port where the first instance waits for the others, unless MASTER_PORT names another
RESTARTS = 3
JOIN_SECONDS = 900  # for the others, after all have names


def main(arguments: Sequence[str]) -> int:
    """The exit code. A failure's cause is in /opt/ml/output, where SageMaker reads a job's FailureReason."""
    try:
        _run(*arguments)
    except subprocess.CalledProcessError as failure:  # the stage has printed why
        _report_failure(failure.stderr)
        return failure.returncode
    except LakewrightError as error:
        print(f"error: {error.cause}\n  → {error.remedy}", file=sys.stderr)
        _report_failure(f"{error.cause}\n{error.remedy}")
        return error.exit_code
    except Exception as failure:
        traceback.print_exc()
        _report_failure(f"{type(failure).__name__}: {failure}")
        return 1
    return 0


def base() -> Path:
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))


def note(stage: str, record: Record | None, workspace: Workspace) -> None:
    """Writes the stage's results where SageMaker reads them: property files, the model, and Feature Store."""
    from lakewright.records import Decision, Prepared, Report, Trained
    from lakewright.targets.sagemaker.names import settings_of

    if not base().is_dir():
        return  # not a container of SageMaker
    if isinstance(record, Trained):
        shutil.copytree(workspace.bring(record.model_folder), _model(), dirs_exist_ok=True)
    elif isinstance(record, Report):
        metrics = {name: metric.model_dump() for name, metric in record.metrics.items()}
        _output("evaluation", {"metrics": metrics, "primary": record.primary, "rows": record.rows})
    elif isinstance(record, Decision):
        reasons = [f"{check.name}: {check.detail}" for check in record.checks if not check.passed]
        outcome = "passed" if record.passed else "refused"
        _output("decision", {"outcome": outcome, "reasons": reasons, **record.model_dump()})
    elif isinstance(record, Prepared) and settings_of(workspace.profile).feature_store is not None:
        from lakewright.targets.sagemaker.features import put_features

        put_features(workspace, record.features)


def _run(command: str = "", *arguments: str) -> None:
    if command == "stage":
        _process(Hosts.of(base() / "config" / "resourceconfig.json"), *arguments)
    elif command == "train":
        _train(Hosts.of(base() / "input" / "config" / "resourceconfig.json"))
    elif command == "serve":
        _serve()
    else:
        raise UsageError(f"the container was started with {command!r}", nearest(command, ("stage", "train", "serve")))


@dataclass(frozen=True)
class Hosts:
    """The job's instances, each with a container like this one."""

    names: Sequence[str] = ("localhost",)  # sorted
    own: str = "localhost"
    interface: str = ""  # of the network between them

    @classmethod
    def of(cls, config: Path) -> Hosts:
        """As resourceconfig.json describes them; without this file, this container alone.

        https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-running-container.html
        """
        if not config.exists():
            return cls()
        given = json.loads(config.read_text(encoding="utf-8"))
        return cls(sorted(given["hosts"]), given["current_host"], given.get("network_interface_name", ""))

    @property
    def first(self) -> str:
        return self.names[0]


def _process(hosts: Hosts, stage: str, *arguments: str) -> None:
    """The stage, on one instance, or with its parts computed by all of them."""
    folder = base() / "processing" / "input" / "project"
    _read_secrets()  # before Spark's workers begin, which have this environment
    if len(hosts.names) == 1:
        _stage(folder, stage, *arguments)
        return
    if stage not in ON_SEVERAL:
        raise UsageError(
            f"the job has {len(hosts.names)} instances, and the stage {stage} runs on one",
            "set the instance count to 1",
        )
    standalone.await_names(hosts.names)
    if hosts.own != hosts.first:
        standalone.other(hosts.first, hosts.own)
        return
    with standalone.first(hosts.own, len(hosts.names)) as url:
        _stage(folder, stage, *arguments, "--workers", url)


def _stage(folder: Path, *arguments: str, by: Sequence[str] = ("-m",)) -> None:
    """`lakewright stage`, in the folder of the project's files; `by` are Python's arguments that start it. Raises
    CalledProcessError with the cause, or its last lines."""
    command = [sys.executable, *by, "lakewright.cli", "stage", *arguments]
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    cause: list[str] = []
    in_cause = False
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, encoding="utf-8", errors="replace") as process:
        assert process.stderr is not None
        for line in process.stderr:
            sys.stderr.write(line)
            last_lines.append(line)
            if line.startswith("error: "):
                cause, in_cause = [], True
            elif not line.startswith(" "):
                in_cause = False
            cause += [line] if in_cause else []
    if process.returncode != 0:  # torchrun says much after the error of a process
        raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(cause or last_lines))


def _train(hosts: Hosts) -> None:
    """A hyperparameter whose name has a dot is a setting; `given` holds the settings of the deploy command."""
    from lakewright.settings.profile import load_profile
    from lakewright.workspace import copy_of

    config = base() / "input" / "config" / "hyperparameters.json"
    values: dict[str, str] = json.loads(config.read_text(encoding="utf-8"))
    settings = [*json.loads(values["given"]), *(f"{name}={value}" for name, value in values.items() if "." in name)]
    folder = Path(os.environ.get("SM_CHANNEL_PROJECT", base() / "input" / "data" / "project"))
    _read_secrets()
    profile = load_profile(values["profile"], folder)
    if len(hosts.names) != profile.training.machines:
        raise UsageError(
            f"the job has {len(hosts.names)} instances, and the profile's training.machines is "
            f"{profile.training.machines}",
            "start it with as many (TrainingInstanceCount), or change training.machines and deploy again",
        )
    by = _together(hosts, profile.training.processes)
    work = copy_of(profile.workspace) / "work"
    options = ["--project", values["project"], "--profile", values["profile"], "--run", values["run"]]
    options += [part for setting in settings for part in ("--set", setting)]
    with checkpoints_kept(base() / "checkpoints", work):
        _stage(folder, "train", *options, by=by)


def _together(hosts: Hosts, processes: int) -> Sequence[str]:
    """What starts the stage: torchrun, which starts so many processes on each instance, or Python where there is one.

    The first instance's torchrun has the place where all meet. Ranks go by the instances' names, so that the first
    process, which alone leaves the model, is on the first one.
    """
    if len(hosts.names) == 1:
        return ("-m",)
    standalone.await_names(hosts.names)
    meeting = f"{hosts.first}:{os.environ.get('MASTER_PORT', TORCHRUN)}"
    is_host = str(hosts.own == hosts.first).lower()
    torchrun = ["-m", "torch.distributed.run", "--nnodes", str(len(hosts.names)), "--nproc-per-node", str(processes)]
    torchrun += ["--max-restarts", str(RESTARTS), "--local-addr", hosts.own]
    torchrun += ["--rdzv-backend", "c10d", "--rdzv-endpoint", meeting, "--rdzv-id", "lakewright"]
    torchrun += ["--rdzv-conf", f"is_host={is_host},join_timeout={JOIN_SECONDS},read_timeout={JOIN_SECONDS}"]
    # A new meeting place each time that the processes are started anew: learning/processes/group.py
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    if hosts.interface:
        os.environ["NCCL_SOCKET_IFNAME"] = os.environ["GLOO_SOCKET_IFNAME"] = hosts.interface
    return [*torchrun, "-m", "--"]


def _serve() -> NoReturn:
    """Replaces this process by `lakewright serve`. SageMaker checks the callers: no other caller reaches an endpoint's
    container."""
    model = _model().resolve()
    os.chdir(mkdtemp(prefix="lakewright-"))  # for the server's own files
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")  # another port if several containers share a machine
    command = [sys.executable, "-m", "lakewright.cli", "serve", str(model), "--host", "0.0.0.0", "--port", port]
    os.execv(sys.executable, [*command, "--guarded"])


@contextmanager
def checkpoints_kept(store: Path, work: Path) -> Iterator[None]:
    """While a stage works in `work`, its checkpoints are copied to `store`, which SageMaker sends to S3 and restores
    after an interruption. Without this folder nothing is copied: the job has no CheckpointConfig."""
    if not store.is_dir():
        yield
        return
    shutil.copytree(store, work, dirs_exist_ok=True)
    stop = threading.Event()

    def copy() -> None:
        while not stop.wait(COPIED_EVERY):
            for path in work.glob("train-*/checkpoints/*"):
                _copy(path, store / path.relative_to(work))

    copying = threading.Thread(target=copy, daemon=True)
    copying.start()
    try:
        yield
    finally:
        stop.set()
        copying.join()


def _copy(path: Path, copied: Path) -> None:
    """Copies a whole file or nothing; a file that is being written, or is gone, is left for the next time."""
    try:
        stat = path.stat()
        if path.suffix == ".partial" or (copied.exists() and copied.stat().st_mtime_ns == stat.st_mtime_ns):
            return
        with whole(copied, copied.with_name(f".{copied.name}.partial")) as draft:
            shutil.copy2(path, draft)
    except FileNotFoundError:
        return


def _read_secrets() -> None:
    """Sets variables with values from AWS Secrets Manager: neither the definition nor the job's page shows them."""
    secrets = {name.removeprefix(SECRET): place for name, place in os.environ.items() if name.startswith(SECRET)}
    if not secrets:
        return
    import boto3

    for name, place in secrets.items():
        manager = boto3.client("secretsmanager", region_name=place.split(":")[3])  # arn:aws:secretsmanager:REGION:…
        os.environ[name] = manager.get_secret_value(SecretId=place)["SecretString"]


def _output(name: str, values: dict[str, Any]) -> None:
    path = base() / "processing" / "output" / name / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(values, indent=2, inf_nan_mode="null"))  # JSON has no NaN for an undefined metric


def _model() -> Path:
    return Path(os.environ.get("SM_MODEL_DIR", base() / "model"))


def _report_failure(failure: str) -> None:
    """Writes the cause for SageMaker.

    https://docs.aws.amazon.com/sagemaker/latest/dg/: byoc-metadata, your-algorithms-training-algo-output.
    """
    folder = base() / "output"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("failure", "message"):  # of a training job, of a processing job
        (folder / name).write_text(failure[-LONGEST_FAILURE:], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
