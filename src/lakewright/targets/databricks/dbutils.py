"""Notebooks' dbutils: Databricks' own on Databricks, and elsewhere a small stand-in, so that notebooks run anywhere.

    from lakewright.targets.databricks.dbutils import dbutils

The stand-in's widgets have their defaults, or values from the environment: LAKEWRIGHT_WIDGET_EPOCHS=1 for a widget
`epochs`. https://docs.databricks.com/aws/en/dev-tools/databricks-utils
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

WIDGET = "LAKEWRIGHT_WIDGET_"


class Exit(Exception):
    """dbutils.notebook.exit: the notebook ends here, with a value for its caller."""


class FileInfo(NamedTuple):
    path: str
    name: str
    size: int


class Widgets:
    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def text(self, name: str, default: str, label: str = "") -> None:
        self._values[name] = os.environ.get(f"{WIDGET}{name.upper()}", default)

    def dropdown(self, name: str, default: str, choices: Sequence[str], label: str = "") -> None:
        """Raises ValueError if the value is not one of the choices."""
        self.text(name, default, label)
        if self._values[name] not in choices:
            raise ValueError(f"the widget {name} is {self._values[name]!r}, not one of {', '.join(choices)}")

    combobox = text

    def get(self, name: str) -> str:
        if name not in self._values:
            raise ValueError(f"there is no widget {name!r}")
        return self._values[name]

    def getAll(self) -> dict[str, str]:  # noqa: N802 (Databricks' name)
        return dict(self._values)

    def remove(self, name: str) -> None:
        self._values.pop(name, None)

    def removeAll(self) -> None:  # noqa: N802
        self._values.clear()


class TaskValues:
    """The values of this process: there is no job."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> None:
        self._values[key] = value

    def get(self, taskKey: str, key: str, default: Any = None, debugValue: Any = None) -> Any:  # noqa: N803
        """Outside a job Databricks returns debugValue, and requires it."""
        if debugValue is None:
            raise TypeError("outside a job taskValues.get needs debugValue")
        return debugValue


class Jobs:
    def __init__(self) -> None:
        self.taskValues = TaskValues()


class Secrets:
    def get(self, scope: str, key: str) -> str:
        """The environment variable SCOPE_KEY. Raises KeyError if it is not set."""
        return os.environ[f"{scope}_{key}".upper().replace("-", "_")]


class Files:
    """The files of this machine, under their own paths; a path may begin with `file:`."""

    def ls(self, path: str) -> list[FileInfo]:
        paths = sorted(_local(path).iterdir())
        return [FileInfo(str(each), each.name + "/" * each.is_dir(), each.stat().st_size) for each in paths]

    def mkdirs(self, path: str) -> bool:
        _local(path).mkdir(parents=True, exist_ok=True)
        return True

    def put(self, path: str, contents: str, overwrite: bool = False) -> bool:
        if _local(path).exists() and not overwrite:
            raise FileExistsError(path)
        _local(path).parent.mkdir(parents=True, exist_ok=True)
        _local(path).write_text(contents, encoding="utf-8")
        return True

    def head(self, path: str, max_bytes: int = 65536) -> str:
        return _local(path).read_bytes()[:max_bytes].decode("utf-8")

    def cp(self, source: str, target: str, recurse: bool = False) -> bool:
        copy = shutil.copytree if recurse and _local(source).is_dir() else shutil.copy
        copy(_local(source), _local(target))
        return True


class Notebook:
    def exit(self, value: str) -> None:
        raise Exit(value)


class DbUtils:
    def __init__(self) -> None:
        self.widgets, self.jobs, self.secrets = Widgets(), Jobs(), Secrets()
        self.fs, self.notebook = Files(), Notebook()


def _local(path: str) -> Path:
    return Path(path.removeprefix("file:"))


def _here() -> Any:
    if "DATABRICKS_RUNTIME_VERSION" not in os.environ:
        return DbUtils()
    from databricks.sdk.runtime import dbutils

    return dbutils


dbutils = _here()
