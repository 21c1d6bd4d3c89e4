"""An endpoint: which model versions answer under one name, each which share of the requests, and what was before.

Kept in WORKSPACE/endpoints/NAME.json, which servers look at twice a second: whoever changes the file (an alias that
moved, `lakewright traffic`) changes what they serve, all of them and at once.
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
    """As the caller called it: an alias, `v3`, or the folder's name."""
    version: ModelVersion | None
    folder: str
    percent: int

    @property
    def at(self) -> str:
        return self.version.at if self.version else self.folder

    @property
    def is_alias(self) -> bool:
        return self.version is not None and self.name != f"v{self.version.version}"  # MLflow takes no such alias


class Endpoint(Record):
    variants: tuple[Variant, ...]
    meant: tuple[Variant, ...]
    """What `lakewright serve` or an alias said last, whatever became of it by a split or a rollback."""
    before: tuple[tuple[Variant, ...], ...] = ()

    def replaced(self, variants: Sequence[Variant]) -> Self:
        """The next state, with this one remembered."""
        before = (self.variants, *self.before)[:REMEMBERED]
        return self.model_copy(update={"variants": tuple(variants), "before": before})

    def rolled_back(self) -> Self:
        """The state before this one. Raises UsageError where none is remembered."""
        if not self.before:
            raise UsageError("nothing was served before", "name versions: lakewright traffic split NAME 3=100")
        return self.model_copy(update={"variants": self.before[0], "before": self.before[1:]})


def place(workspace: Workspace, name: str) -> Path:
    """Raises UsageError for a name that cannot be a file's."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name an endpoint", "use letters, digits and _ . -")
    return workspace.folder / "endpoints" / f"{name}.json"


def read(workspace: Workspace, name: str) -> Endpoint:
    """Raises NotFound naming the endpoints that there are."""
    try:
        return parse(place(workspace, name))
    except FileNotFoundError:
        known = [file.stem for file in place(workspace, name).parent.glob("*.json")]
        raise NotFound(f"there is no endpoint {name!r}", nearest(name, known)) from None


def parse(file: Path) -> Endpoint:
    """Raises FileNotFoundError, UsageError."""
    try:
        return Endpoint.model_validate_json(file.read_text(encoding="utf-8"))
    except ValueError:  # pydantic's, or what is not UTF-8
        raise UsageError(f"{file} is damaged", "remove it: the next server that is started writes a new one") from None


def started(file: Path, wanted: Sequence[Variant]) -> Endpoint:
    """The endpoint that a server is started with: as it stands, where the last server was started with the same
    versions, so that a split or a rollback outlives a restart; else what is wanted. A damaged file is passed over."""
    meant = tuple(wanted)
    try:
        standing = parse(file)
    except FileNotFoundError:
        return Endpoint(variants=meant, meant=meant)
    except UsageError as failure:
        LOG.warning("%s", failure)
        return Endpoint(variants=meant, meant=meant)
    if same(standing.meant, meant):
        return standing
    return standing.replaced(meant).model_copy(update={"meant": meant})


def recalled(file: Path, model: str, shares: Mapping[str, int] | None) -> Sequence[Variant]:
    """What the last server was started with, where it was started with this model and these shares, and where the
    model folders are still those: it can be served while the registry is down. Empty where it cannot."""
    name, _, wanted = model.removeprefix("models:/").replace("@", "/").partition("/")
    percents = {f"v{each}" if each.isdecimal() else each: of for each, of in (shares or {wanted: 100}).items()}
    try:
        meant = parse(file).meant
        there = [one.version for one in meant if one.version and digest_of(Path(one.folder)) == one.version.digest]
    except (UsageError, OSError):
        return ()
    known = len(there) == len(meant) and {version.name for version in there} == {name}
    return meant if known and {one.name: one.percent for one in meant} == percents else ()


def same(some: Sequence[Variant], others: Sequence[Variant]) -> bool:
    """But for the other aliases that a version may have come to have since."""
    one, other = ([(each.name, each.at, each.folder, each.percent) for each in of] for of in (some, others))
    return one == other


def write(file: Path, endpoint: Endpoint) -> None:
    write_whole(file, endpoint.model_dump_json(indent=2) + "\n")


def one(workspace: Workspace, model: str) -> Variant:
    """What `models:/NAME@alias`, `models:/NAME/3` or a model folder means, with all requests.

    Raises as `registry.versions.resolve` and `download` do, ModelError for a folder that is none.
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
    """The endpoint, changed as asked: other versions of its model, or what it served before.

    Raises UsageError, and ModelError for a damaged model.
    """
    standing = read(workspace, name)
    if shares is None and not back:
        return standing
    if shares is not None and back:
        raise UsageError("a split and a rollback cannot both be", "name one of them")
    if shares is None:
        changed = standing.rolled_back()
    else:
        model = next((one.version.name for one in standing.variants if one.version), None)
        if model is None:
            raise UsageError(f"{name} serves a model folder, which has no other versions", "serve models:/NAME@alias")
        changed = standing.replaced(several(workspace, model, split(shares)))
    for one in changed.variants:
        verify(Path(one.folder))
    write(place(workspace, name), changed)
    return changed
