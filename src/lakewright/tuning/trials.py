"""A trial, one setting that a search tried, and the folder in which its trials are kept.

search.json         what was searched: another search may not go on in this folder
trials/00007.json   a trial, written whole when it ends, so that a killed search loses only the trials under way
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lakewright.errors import AGAIN, UsageError, of_disk
from lakewright.spaces import Point
from lakewright.system import jsonfile
from lakewright.system.files import write_whole

LOG = logging.getLogger("lakewright")
Status = Literal["ok", "fail", "pruned"]


@dataclass(frozen=True)
class Trial:
    number: int  # from 0
    point: Point  # label → value, or a choice's index
    values: Any  # what the objective got: the space filled with the point
    status: Status
    loss: float | None = None  # less is better; None where it failed
    metric: float | None = None  # of a project: the metric on validation, whichever way it counts
    seconds: float = 0.0
    reason: str = ""  # why it failed
    results: Mapping[str, Any] = field(default_factory=dict)  # what else the objective returned, JSON
    ended: float = 0.0  # seconds of the search's clock, which stands still between two runs of it

    @property
    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The one with the least loss, of several the first; None where all failed."""
    finished = [trial for trial in trials if trial.loss is not None]
    return min(finished, key=lambda trial: (trial.loss, trial.number), default=None)


@dataclass(frozen=True)
class TrialFolder:
    path: Path

    def begin(self, identity: Mapping[str, Any], code: str = "") -> None:
        """Raises UsageError where the folder holds another search, or the losses of an objective of other `code`."""
        here = self.path / "search.json"
        wanted = json.loads(jsonfile.text(dict(identity) | ({"code": code} if code else {}), default=str))
        try:
            before = json.loads(here.read_text(encoding="utf-8"))
        except FileNotFoundError:
            before = None
        except ValueError:
            raise UsageError(f"{here} is damaged", "delete the folder to search anew") from None
        if before is None:
            self.write(here, jsonfile.text(wanted))
        elif before | {"code": code} != wanted | {"code": code}:
            changed = sorted(key for key in {*before, *wanted} - {"code"} if before.get(key) != wanted.get(key))
            raise UsageError(
                f"{self.path} holds the trials of another search: {', '.join(changed)} changed",
                "name another folder, or delete this one",
            )
        elif (compiled := before.get("code", code)) != code:
            same_python = compiled.partition(":")[0] == code.partition(":")[0]
            if same_python and (kept := len(self.read())):
                raise UsageError(
                    f"{self.path} holds the losses of {kept} trials, and the objective is another function since",
                    f"name another folder, or delete this one; where it gives the same losses, delete the line "
                    f'"code" of {here}',
                )
            self.write(here, jsonfile.text(wanted))

    def read(self) -> dict[int, Trial]:
        """The trials that are there, by number. One that failed is left out, and so is tried again: its cause may be
        corrected. So is a damaged one."""
        trials, failed = {}, 0
        for path in sorted((self.path / "trials").glob("[0-9]*.json")):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                trial = Trial(**values)
                if not isinstance(trial.number, int) or not isinstance(trial.point, dict):
                    raise ValueError("a value of another type")
            except (ValueError, TypeError):
                LOG.warning("%s is damaged and left out", path)
                continue
            if trial.status == "fail":
                failed += 1
            else:
                trials[trial.number] = trial
        if failed:
            LOG.warning("%d trials of an earlier call failed, and are tried again", failed)
        return trials

    def record(self, trial: Trial) -> None:
        """Raises DiskError where the disk is full."""
        path = self.path / "trials" / f"{trial.number:05d}.json"
        self.write(path, jsonfile.text(trial.as_json, default=plain))

    @staticmethod
    def write(path: Path, text: str) -> None:
        try:
            write_whole(path, text)
        except OSError as failure:
            if (full := of_disk(failure, path, f"{AGAIN}; the trials that ended are kept")) is not None:
                raise full from None
            raise


def plain(value: Any) -> Any:
    """A value that JSON has no form for: numpy's numbers and arrays as Python's, anything else as text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)


def number_of(value: Any) -> float | None:
    """A loss as a float, if it is a finite number, or an array that holds one."""
    try:
        number = float(value.item() if hasattr(value, "item") else value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
