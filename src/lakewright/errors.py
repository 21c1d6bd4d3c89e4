"""Every failure Lakewright raises on purpose: what went wrong (cause) and what to do about it (remedy).

    LakewrightError                     exit 1
    ├── UsageError                      exit 2   wrong arguments or names
    │   ├── ProjectError                         project.yml
    │   ├── ProfileError                         profiles.yml
    │   └── Ambiguous                            several expressions fit the examples of `derive`
    ├── DataError                       exit 1   a source or a table lacks something needed
    │   └── NotFound                             no such table, version, column, source or file
    ├── MissingPackage                  exit 1   an optional extra is not installed
    ├── TrainingError                   exit 1
    ├── ModelError                      exit 1   a model folder or model version cannot be used
    ├── Busy                            exit 1   another process holds what is needed
    ├── DiskError                       exit 1   a disk is full or read-only
    ├── WorkerDied                      exit 1   a part of the work killed the processes that computed it
    ├── BelowGate                       exit 3
    └── Stopped                         exit 130 by Ctrl-C, 143 by SIGTERM

Exit code 4, waiting for approval, is not a failure: `Run.exit_code` returns it.

The exit codes are part of the public interface and stay as they are.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from lakewright.system.secrets import concealed

if TYPE_CHECKING:
    from lakewright.records import Finding

SHOWN = 80  # characters of a value in a message
_LONGEST = 4_000  # characters of a whole cause or remedy


class LakewrightError(Exception):
    """`cause` says what is wrong and where; `remedy` says what to do next. Neither shows a secret: both are logged."""

    exit_code = 1

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause, self.remedy = (_cut(concealed(text)) for text in (cause, remedy))
        super().__init__(self.cause)
        self.log: str | None = None  # the pipeline sets it once it knows the path of the run's log
        self.findings: list[Finding] = []  # noticed before the failure

    def __str__(self) -> str:
        return "\n".join([self.cause, self.remedy, *self.noticed])

    @property
    def noticed(self) -> list[str]:
        return [f"noticed before: {finding.name}: {finding.detail}" for finding in self.findings]

    def as_json(self) -> dict[str, Any]:
        """The failure as `--json` prints it."""
        findings = [finding.model_dump(mode="json") for finding in self.findings]
        return {"cause": self.cause, "remedy": self.remedy, "log": self.log, "findings": findings}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cause, self.remedy), self.__dict__  # so that it can be pickled between processes


class UsageError(LakewrightError):
    exit_code = 2


class ProjectError(UsageError):
    pass


class ProfileError(UsageError):
    pass


class Ambiguous(UsageError):
    """`candidates` are the expressions that fit, `rows` some of those in which they differ: `row`, its inputs, and
    `values`, what each candidate gives there."""

    def __init__(self, cause: str, remedy: str, candidates: list[str], rows: list[dict[str, Any]]) -> None:
        super().__init__(cause, remedy)
        self.candidates, self.rows = candidates, rows

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "candidates": self.candidates, "rows": self.rows}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cause, self.remedy, self.candidates, self.rows), self.__dict__


class DataError(LakewrightError):
    pass


class NotFound(DataError):
    pass


class MissingPackage(LakewrightError):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", f"pip install 'lakewright[{extra}]'")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.package, self.extra), self.__dict__


class TrainingError(LakewrightError):
    pass


class ModelError(LakewrightError):
    pass


class Busy(LakewrightError):
    pass


class NoStore(LakewrightError):
    """A database, or the store of feature values, does not answer."""


class DiskError(LakewrightError):
    pass


class WorkerDied(LakewrightError):
    pass


class BelowGate(LakewrightError):
    exit_code = 3


class Stopped(LakewrightError):
    def __init__(self, cause: str, remedy: str, signal: int) -> None:
        super().__init__(cause, remedy)
        self.exit_code = 128 + signal  # the convention of shells

    def __reduce__(self) -> tuple[type, tuple[str, str, int]]:
        return type(self), (self.cause, self.remedy, self.exit_code - 128)


EXTRAS = {
    **dict.fromkeys(("jinja2", "matplotlib", "mlflow", "onnx", "pandas", "psutil"), "train"),
    **dict.fromkeys(("scipy", "sklearn", "torch", "transformers"), "train"),
    **dict.fromkeys(
        ("fastapi", "fastapi_swagger", "httptools", "jwt", "prometheus_client", "starlette", "uvicorn", "uvloop"),
        "serve",
    ),
    **dict.fromkeys(("datasets", "huggingface_hub"), "hub"),
    **dict.fromkeys(("boto3", "botocore"), "aws"),
    "azure": "azure",
    **dict.fromkeys(("adbc_driver_manager", "adbc_driver_postgresql", "pymysql"), "databases"),
    "databricks": "databricks",
    "usearch": "search",
    **dict.fromkeys(("lightgbm", "optuna"), "tables"),
    "xgboost": "xgboost",
    **dict.fromkeys(("grpc", "pyspark"), "spark"),
}


def missing_package(failure: ImportError) -> MissingPackage | None:
    """The error that names the extra, if the package that could not be imported belongs to one."""
    package = (failure.name or "").split(".")[0]
    return MissingPackage(package, EXTRAS[package]) if package in EXTRAS else None


def nearest(name: str, names: Iterable[str]) -> str:
    """The sentence that turns a misspelt name into a remedy: the nearest known one, and all of them."""
    import difflib

    ordered = sorted(names)
    close = difflib.get_close_matches(name, ordered, n=1, cutoff=0.5)
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    return f"{suggestion}known: {', '.join(ordered) or '(none)'}"


def nearest_number(number: int, numbers: Iterable[int]) -> str:
    """As `nearest`, for a number of which there is none."""
    known = sorted(numbers)
    close = min(known, key=lambda each: abs(each - number), default=None)
    suggestion = f"did you mean {close}? " if close is not None else ""
    return f"{suggestion}known: {', '.join(map(str, known)) or '(none)'}"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def shown(value: object) -> str:
    """A value, a type or a text as a message quotes it: on one line, and cut, since data can have any length."""
    try:
        text = repr(value[: 2 * SHOWN]) if isinstance(value, str) else " ".join(str(value).split())
    except RecursionError:
        text = "a list of lists of lists …"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# The wording of Python, Rust (delta-rs), Arrow and SQLite (MLflow), for errors of which only the text is left.
_FULL = re.compile(r"(\(os error|\[[Ee]rrno|\{ code:) (28|122|27)\b|database or disk is full")
_READ_ONLY = re.compile(r"(\(os error|\[[Ee]rrno|\{ code:) 30\b|attempt to write a readonly database")


_GO_ON = "free space and run again; it goes on from the last finished stage"
AGAIN = "free space and run the command again"


def of_disk(failure: BaseException, place: object, when_full: str = _GO_ON) -> DiskError | None:
    """The error for a failure that a full or read-only disk caused. `place` is shown if the failure names no file;
    `when_full` is the remedy for a full disk."""
    causes: list[BaseException] = []
    cause: BaseException | None = failure
    while cause is not None and cause not in causes:
        if isinstance(cause, DiskError):
            return cause
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in causes:
        code = cause.errno if isinstance(cause, OSError) else None
        # a copy writes to the second file
        location = getattr(cause, "filename2", None) or getattr(cause, "filename", None) or place
        # a LakewrightError's text may quote rows
        text = "" if isinstance(cause, LakewrightError) else str(cause)
        if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or _FULL.search(text):
            return DiskError(f"the disk of {location} is full", when_full)
        if code == errno.EROFS or _READ_ONLY.search(text):
            return DiskError(f"the disk of {location} is read-only", "make it writable, or name another workspace")
    return None
