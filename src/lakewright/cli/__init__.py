"""The command line: each command calls a function of lakewright.api. One file for each subject.

Exit codes: 0 done, 1 failed, 2 wrong usage or project file, 3 below the gate, 4 waiting for approval,
130 and 143 stopped by Ctrl-C and SIGTERM.
Results go to stdout (with --json: one JSON object and nothing else), progress and messages to stderr.
"""

from __future__ import annotations

import io
import signal
import sys
import traceback
from typing import NoReturn

from lakewright.cli import running, tuning, automl, deploying, predicting  # noqa: F401 (as `--help` lists the commands)
from lakewright.cli import scheduling, serving, deriving, looking, exporting, features, feature_stores  # noqa: F401
from lakewright.cli.app import app
from lakewright.errors import LakewrightError, Stopped, missing_package, of_disk
from lakewright.system.secrets import concealed
from lakewright.cli.show import complain, print_json


def main() -> NoReturn:
    """The console script: prints the cause and the remedy of a LakewrightError and ends with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as on stderr, if the locale lacks a character
    try:
        app(standalone_mode=True)
    except LakewrightError as error:
        _end(of_disk(error, "the workspace") or error)
    except ImportError as failure:
        missing = missing_package(failure)
        if missing is None:
            raise
        _end(missing)
    except BrokenPipeError:  # `lakewright … | head`
        sys.stderr.close()
        sys.exit(0)
    except Exception as failure:
        if (full := of_disk(failure, "the workspace")) is not None:
            _end(full)
        print(concealed(traceback.format_exc()), file=sys.stderr, end="")
        _end(LakewrightError(f"{type(failure).__name__}: {failure}", "this should not happen: please report it"))
    sys.exit(0)


def _end(error: LakewrightError) -> NoReturn:
    if isinstance(error, Stopped):  # one more Ctrl-C must not change the exit code while the process ends
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    if "--json" in sys.argv:
        print_json({"error": error.as_json()})
    complain(error)
    sys.exit(error.exit_code)
