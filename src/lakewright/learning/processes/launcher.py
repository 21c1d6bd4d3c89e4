"""The process that holds those that train together: `python -m lakewright.learning.processes.launcher FILE PROCESSES
FOLDER`. It ends with the process that started it, which holds the other end of the pipe."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESTARTS = 3


def main(descriptor: int, processes: int, folder: Path) -> None:
    connection: Connection[Any, Any] = Connection(descriptor)
    sys.path[:] = pickle.loads(connection.recv_bytes())
    function = connection.recv_bytes()

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch
    from torch.multiprocessing import get_context

    from lakewright.learning.processes.member import member

    errors = get_context("spawn").SimpleQueue()

    def listen() -> None:
        try:
            connection.recv_bytes()
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)

    def tell() -> None:
        connection.send_bytes(errors.get())  # whoever reads it ends us all

    for target in (listen, tell):
        threading.Thread(target=target, name=target.__name__, daemon=True).start()
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the error says the same
    folder.mkdir(parents=True, exist_ok=True)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="lakewright",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=RESTARTS,
        monitor_interval=0.1,
        shutdown_timeout=1,  # one that waits for a dead one in native code hears no signal
        logs_specs=DefaultLogsSpecs(str(folder), redirects=dict.fromkeys(range(1, processes), Std.ALL)),
    )
    try:
        answer = elastic_launch(config, member)(function, errors)[0]
    except ChildFailedError as failure:
        answer = pickle.dumps((False, _died(failure, folder)))
    connection.send_bytes(answer)


def _died(failure: Any, folder: Path) -> Exception:
    from lakewright.errors import WorkerDied

    rank, first = failure.get_first_failure()
    how = f"was killed by signal {-first.exitcode}" if first.exitcode < 0 else f"ended with exit code {first.exitcode}"
    why = ", which is how the system ends a process when memory is short" if first.exitcode == -9 else ""
    return WorkerDied(
        f"the training process {rank} {how}{why}; before that, all were started anew {RESTARTS} times",
        "run fewer processes (profiles.yml: training: {processes: 1}), lower train.per_device_train_batch_size, or "
        f"read what the processes printed in {folder}; run again, and training goes on from its last checkpoint",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
