"""The stage train on the workers of the job's own cluster, several processes together, by Spark's TorchDistributor.

The driver only starts it. Each task of Spark is one process, with a GPU of its own where there are GPUs. A worker need
not see /Workspace: the project's files go to it with the task.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from lakewright.errors import UsageError

TOGETHER = "together"  # first word of the parameters of train on several machines; then the number of processes
GPUS = "spark.task.resource.gpu.amount"  # the runtimes with CUDA set it


def script() -> Callable[[], None]:
    """The command `lakewright`, of the installed package."""
    (entry,) = distribution("lakewright").entry_points.select(group="console_scripts", name="lakewright")
    return cast(Callable[[], None], entry.load())


def train(processes: int, arguments: Sequence[str]) -> None:
    """Runs `lakewright` with these arguments, those of the stage train, in so many processes. Raises UsageError where
    the profile requests GPUs and the cluster has none, RuntimeError with the last lines of a process that failed."""
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    from lakewright.settings.profile import load_profile

    project = Path(arguments[arguments.index("--project") + 1])
    device = load_profile(arguments[arguments.index("--profile") + 1], project.parent).device
    gpus = int(SparkSession.builder.getOrCreate().conf.get(GPUS, "0") or "0")
    if device.startswith("cuda") and not gpus:
        raise UsageError(
            f"the profile requests {device}, and the cluster's runtime gives tasks no GPU ({GPUS})",
            "name target.cluster.gpu_node_type with a -gpu-ml- runtime, or set device: cpu",
        )
    files = {str(path.relative_to(project.parent)): path.read_bytes() for path in _files(project.parent)}
    distributor = TorchDistributor(num_processes=processes, local_mode=False, use_gpu=device != "cpu" and gpus > 0)
    distributor.run(one_process, files, [*arguments], project.name)


def one_process(files: Mapping[str, bytes], arguments: list[str], project: str) -> None:
    """One of the processes, in the environment that torchrun makes. What it prints goes to the driver's log."""
    with TemporaryDirectory(prefix="lakewright-project-") as folder:
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        os.chdir(folder)
        arguments[arguments.index("--project") + 1] = str(Path(folder) / project)
        sys.argv = ["lakewright", *arguments]
        try:
            script()()
        except SystemExit as end:
            if end.code:
                raise
        finally:
            os.chdir("/")


def _files(folder: Path) -> list[Path]:
    """Those that were sent: approval.py and wheels are not the stage's."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in (".yml", ".yaml", ".py")]
