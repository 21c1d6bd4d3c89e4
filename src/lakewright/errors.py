"""Every failure Lakewright raises on purpose: what went wrong (cause) and what to do about it (remedy).

    LakewrightError                     exit 1
    ├── UsageError                      exit 2   wrong arguments or names
    │   ├── ProjectError                         project.yml
    │   └── ProfileError                         profiles.yml
    ├── DataError                       exit 1   a source or a table does not hold what is needed
    │   └── NotFound                             no such table, version, column, source or file
    ├── MissingPackage                  exit 1   an optional extra is not installed
    ├── TrainingError                   exit 1
    ├── ModelError                      exit 1   a model folder or model version cannot be used
    ├── Busy                            exit 1   another process holds what is needed
    └── BelowGate                       exit 3

Exit code 4, waiting for approval, is no failure: `Run.exit_code` tells it.

The exit codes are part of the public interface and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 80  # characters of a value in a message
_LONGEST = 4_000  # characters of a whole cause or remedy, whatever went into it


class LakewrightError(Exception):
    """`cause` says what is wrong and where; `remedy` says what to do next."""

    exit_code = 1

    def __init__(self, cause: str, remedy: str) -> None:
        self.cause, self.remedy = (
            text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…" for text in (cause, remedy)
        )
        super().__init__(self.cause)
        self.log: str | None = None  # set by the pipeline once it knows where the run's log is

    def __str__(self) -> str:
        return f"{self.cause}\n{self.remedy}"

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.cause, self.remedy)  # so that it survives the trip between processes


class UsageError(LakewrightError):
    exit_code = 2


class ProjectError(UsageError):
    pass


class ProfileError(UsageError):
    pass


class DataError(LakewrightError):
    pass


class NotFound(DataError):
    pass


class MissingPackage(LakewrightError):
    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"the package {package!r} is not installed", f"pip install 'lakewright[{extra}]'")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.package, self.extra)


class TrainingError(LakewrightError):
    pass


class ModelError(LakewrightError):
    pass


class Busy(LakewrightError):
    pass


class BelowGate(LakewrightError):
    exit_code = 3


EXTRAS = {
    **dict.fromkeys(("jinja2", "matplotlib", "mlflow", "onnx", "pandas", "psutil", "safetensors"), "train"),
    **dict.fromkeys(("scipy", "sklearn", "torch", "transformers"), "train"),
    **dict.fromkeys(
        ("fastapi", "fastapi_swagger", "httptools", "jwt", "prometheus_client", "starlette", "uvicorn", "uvloop"),
        "serve",
    ),
    **dict.fromkeys(("datasets", "huggingface_hub"), "hub"),
    **dict.fromkeys(("boto3", "botocore"), "aws"),
    "azure": "azure",
    "databricks": "databricks",
    "usearch": "search",
}


def missing_package(failure: ImportError) -> MissingPackage | None:
    """The error that names the extra, where what could not be imported belongs to one."""
    package = (failure.name or "").split(".")[0]
    return MissingPackage(package, EXTRAS[package]) if package in EXTRAS else None


def nearest(name: str, known: Iterable[str]) -> str:
    """The sentence that turns a misspelt name into a remedy: the nearest known one, and all of them."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    suggestion = f"did you mean {close[0]!r}? " if close else ""
    return f"{suggestion}known: {', '.join(names) or '(none)'}"


def shown(value: object) -> str:
    """A value, a type or a text as a message quotes it: on one line, and cut, since data can be of any length."""
    text = repr(value[: 2 * SHOWN]) if isinstance(value, str) else " ".join(str(value).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
