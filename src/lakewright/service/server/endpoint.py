"""An endpoint: the model versions that answer under one name, their shares of the requests, and the earlier states.

The file is WORKSPACE/endpoints/NAME.json. Servers read it twice a second, so a change of the file (by an alias that
moved, or by `lakewright traffic`) changes the versions that all of them serve.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lakewright.errors import NotFound, UsageError, nearest
from lakewright.model.folder import digest_of, verify
from lakewright.records import ModelVersion, Record
from lakewright.registry.mlflow_process import located
from lakewright.system.files import write_whole
from lakewright.workspace import Workspace

LOG = logging.getLogger(__name__)
NAME = re.compile(r"(?!\.)[\w.-]{1,200}")
REMEMBERED = 20


class Variant(Record):
    name: str
    """The name in the command: an alias, `v3`, or the folder's name."""
    version: ModelVersion | None
    folder: str
    percent: int

    @property
    def at(self) -> str:
        return self.version.at if self.version else self.folder

    @property
    def is_alias(self) -> bool:
        return self.version is not None and self.name != f"v{self.version.version}"  # MLflow refuses such an alias


class Endpoint(Record):
    variants: tuple[Variant, ...]
    meant: tuple[Variant, ...]
    """The variants that `lakewright serve` or an alias named last, before any split or rollback."""
    before: tuple[tuple[Variant, ...], ...] = ()

    def replaced(self, variants: Sequence[Variant]) -> Self:
        """The next state, with this one remembered."""
        before = (self.variants, *self.before)[:REMEMBERED]
        return self.model_copy(update={"variants": tuple(variants), "before": before})

    def rolled_back(self) -> Self:
        """The state before this one. Raises UsageError if there is none."""
        if not self.before:
            raise UsageError(
                "no other versions were served before", "name versions: lakewright traffic split NAME 3=100"
            )
        return self.model_copy(update={"variants": self.before[0], "before": self.before[1:]})


def place(workspace: Workspace, name: str) -> Path:
    """The endpoint's file. Raises UsageError if the name cannot be a file's name."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name an endpoint", "use letters, digits and _ . -")
    return workspace.folder / "endpoints" / f"{name}.json"


def read(workspace: Workspace, name: str) -> Endpoint:
    """The endpoint of this name. Raises NotFound with the names of the existing endpoints."""
    try:
        return parse(place(workspace, name))
    except FileNotFoundError:
        names = [file.stem for file in place(workspace, name).parent.glob("*.json")]
        raise NotFound(f"there is no endpoint {name!r}", nearest(name, names)) from None


def parse(file: Path) -> Endpoint:
    """Raises FileNotFoundError, UsageError."""
    try:
        return Endpoint.model_validate_json(file.read_text(encoding="utf-8"))
    except ValueError:  # pydantic's, or not UTF-8
        raise UsageError(f"{file} is damaged", "remove it: the next server writes a new one when it starts") from None


def started(file: Path, variants: Sequence[Variant]) -> Endpoint:
    """The endpoint that a server starts with: the file's, if the last server was started with the same versions, so
    that a split or a rollback outlives a restart; else `variants`. A damaged file is ignored with a warning."""
    meant = tuple(variants)
    try:
        current = parse(file)
    except FileNotFoundError:
        return Endpoint(variants=meant, meant=meant)
    except UsageError as failure:
        LOG.warning("%s", failure)
        return Endpoint(variants=meant, meant=meant)
    if same(current.meant, meant):
        return current
    return current.replaced(meant).model_copy(update={"meant": meant})


def recalled(file: Path, model: str, shares: Mapping[str, int] | None) -> Sequence[Variant]:
    """The variants of the last server, if it was started with this model and these shares and the model folders are
    unchanged: they can be served while the registry is down. Else empty."""
    name, _, requested = model.removeprefix("models:/").replace("@", "/").partition("/")
    percents = {f"v{each}" if each.isdecimal() else each: of for each, of in (shares or {requested: 100}).items()}
    try:
        meant = parse(file).meant
        versions = [one.version for one in meant if one.version and digest_of(Path(one.folder)) == one.version.digest]
    except (UsageError, OSError):
        return ()
    unchanged = len(versions) == len(meant) and {version.name for version in versions} == {name}
    return meant if unchanged and {one.name: one.percent for one in meant} == percents else ()


def same(some: Sequence[Variant], others: Sequence[Variant]) -> bool:
    """Whether they are equal, except for other aliases that a version may have since."""
    one, other = ([(each.name, each.at, each.folder, each.percent) for each in of] for of in (some, others))
    return one == other


def write(file: Path, endpoint: Endpoint) -> None:
    write_whole(file, endpoint.model_dump_json(indent=2) + "\n")


def one(workspace: Workspace, model: str) -> Variant:
    """The variant that `models:/NAME@alias`, `models:/NAME/3` or a model folder names, with 100 percent.

    Raises as `registry.versions.resolve` and `download` do, ModelError if the folder is not a model folder.
    """
    if not model.startswith("models:/"):
        folder = Path(model).resolve()
        return Variant(name=digest_of(folder)[:12], version=None, folder=str(folder), percent=100)
    version, folder = located(workspace, model)
    _, at, alias = model.partition("@")
    return Variant(name=alias if at else f"v{version.version}", version=version, folder=str(folder), percent=100)


def split(text: str) -> dict[str, int]:
    """`champion=90,challenger=10` → percent by alias or version number. Raises UsageError."""
    example = "for example champion=90,challenger=10"
    shares: dict[str, int] = {}
    for part in text.split(","):
        name, equals, percent = part.strip().partition("=")
        if not equals or not name or not percent.isdecimal() or name in shares:
            raise UsageError(f"{part.strip()!r} is not of the form NAME=PERCENT, with each name once", example)
        shares[name] = int(percent)
    if sum(shares.values()) != 100:
        raise UsageError(f"the shares add up to {sum(shares.values())}, not to 100", example)
    return shares


def several(workspace: Workspace, name: str, shares: Mapping[str, int]) -> list[Variant]:
    """Versions of one model by alias or number. Raises as `one` does."""
    uris = {each: f"models:/{name}/{each}" if each.isdecimal() else f"models:/{name}@{each}" for each in shares}
    return [one(workspace, uris[each]).model_copy(update={"percent": percent}) for each, percent in shares.items()]


def change(workspace: Workspace, name: str, shares: str | None, back: bool) -> Endpoint:
    """The endpoint after the requested change: other versions of its model, or the versions before.

    Raises UsageError, and ModelError for a damaged model.
    """
    current = read(workspace, name)
    if shares is None and not back:
        return current
    if shares is not None and back:
        raise UsageError("a split and a rollback exclude each other", "name one of them")
    if shares is None:
        changed = current.rolled_back()
    else:
        model = next((one.version.name for one in current.variants if one.version), None)
        if model is None:
            raise UsageError(f"{name} serves a model folder, which has no other versions", "serve models:/NAME@alias")
        changed = current.replaced(several(workspace, model, split(shares)))
    for one in changed.variants:
        verify(Path(one.folder))
    write(place(workspace, name), changed)
    return changed
