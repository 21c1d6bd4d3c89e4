"""One of the processes that train together, as torch's agent starts it."""

from __future__ import annotations

import os
import pickle
import threading
import time
from typing import Any

from lakewright.errors import WorkerDied
from lakewright.workers.process import failed


def member(function: bytes, errors: Any) -> bytes:
    """The function's result, as `together` reads it."""
    import cloudpickle

    threading.Thread(target=_end_with, args=(os.getppid(),), name="parent", daemon=True).start()
    try:
        return bytes(cloudpickle.dumps((True, pickle.loads(function)())))
    except WorkerDied:  # it is another that has died, and the agent starts all anew
        raise
    except (Exception, SystemExit) as error:
        errors.put(failed(error))
        raise


def _end_with(parent: int) -> None:
    """torch asks the system for an interrupt where the agent dies, which native code does not hear."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
