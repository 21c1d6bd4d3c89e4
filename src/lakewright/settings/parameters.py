"""What a part of a project can be set to: each setting with its type, default, range and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from lakewright.settings.sections import Settings

COLLECTIONS = (list, dict, tuple)
PICKING = ("learner", "name", "step")  # the keys that pick the part itself


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str  # float, int | null, …
    default: Any
    range: str  # "> 0, ≤ 1"; empty: any
    choices: list[Any] | None
    description: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def parameters_of(settings: type[Settings]) -> list[Parameter]:
    """Of the settings' class, in its own order."""
    return [
        Parameter(
            name,
            _type(field.annotation),
            field.get_default(call_default_factory=True) if not field.is_required() else None,
            _range(field),
            _choices(field.annotation),
            field.description or "",
        )
        for name, field in settings.model_fields.items()
        if name not in PICKING
    ]


def _type(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " | ".join(dict.fromkeys(type(each).__name__ for each in parts))
    if origin in COLLECTIONS:
        return f"{origin.__name__}[{', '.join(_type(each) for each in parts if each is not Ellipsis)}]"
    if parts:  # a union
        return " | ".join(dict.fromkeys(map(_type, parts)))
    return str(getattr(annotation, "__name__", annotation))


def _choices(annotation: Any) -> list[Any] | None:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return list(parts)
    if origin in COLLECTIONS:
        return None
    return [choice for each in parts for choice in _choices(each) or []] or None


def _range(field: FieldInfo) -> str:
    bounds = [bound for each in [*field.metadata, *_metadata(field.annotation)] for bound in _bounds(each)]
    return ", ".join(dict.fromkeys(bounds))


def _metadata(annotation: Any) -> Iterator[Any]:
    """What is annotated inside a union: `Literal["auto"] | Annotated[float, Field(gt=0)]`."""
    if get_origin(annotation) is Annotated:
        for each in annotation.__metadata__:
            yield from each.metadata if isinstance(each, FieldInfo) else [each]
    elif get_origin(annotation) not in COLLECTIONS:
        for inner in get_args(annotation):
            yield from _metadata(inner)


def _bounds(constraint: Any) -> Iterator[str]:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    for name, sign in signs.items():
        if (bound := getattr(constraint, name, None)) is not None:
            yield f"{sign} {bound}"
