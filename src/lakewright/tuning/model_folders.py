"""Which model folders of a search stay: those of the best trials, and those that anything else names."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lakewright.records import Trained
from lakewright.registry.versions import list_models
from lakewright.tuning.trials import Trial
from lakewright.workspace import Workspace
from lakewright.workspace.run_folder import RunFolder


@dataclass(frozen=True)
class ModelFolders:
    workspace: Workspace
    keep: int
    named: frozenset[str]  # digests that runs and model versions name

    @classmethod
    def of(cls, workspace: Workspace, keep: int) -> Self:
        """To be made while the project's lock is held, so that no run comes to name another folder."""
        named = {version.digest for version in list_models(workspace.tracking)}
        for folder in RunFolder.noted(workspace.folder):
            with suppress(FileNotFoundError, ValueError):
                named.add(folder.read_record("train", Trained).digest)
        return cls(workspace, keep, frozenset(named))

    def tidy(self, trials: Sequence[Trial], besides: Sequence[Trial] = ()) -> None:
        """Deletes the folders of all trials but the best and those `besides`, if the search has trained them and
        nothing else names them."""
        finished = sorted((each for each in trials if each.loss is not None), key=lambda each: (each.loss, each.number))
        stays = {digest_of(trial) for trial in [*finished[: self.keep], *besides]} | self.named
        for trial in finished[self.keep :]:
            digest = digest_of(trial)
            if digest and digest not in stays and trial.results.get("trained"):
                shutil.rmtree(self.path(digest), ignore_errors=True)

    def path(self, digest: str) -> Path:
        return self.workspace.folder / "models" / digest[:16]


def digest_of(trial: Trial) -> str:
    return str(trial.results.get("digest") or "")
