"""A scoring as a job of a target, `target.score`: what `lakewright score` needs, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from lakewright.data.lake.names import TableName
from lakewright.errors import UsageError
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.settings.sections import Settings
from lakewright.targets import Problem


class Scoring(Settings):
    """A table's new rows, scored as `lakewright score` does; each target adds its schedule."""

    model: str | None = Field(
        default=None,
        description="models:/NAME@alias, models:/NAME/3, or the path of a model folder that the job's machines see; "
        "null: the champion of the project's model",
    )
    input: str = Field(description="the table whose new rows are scored: catalog.schema.table")
    output: str | None = Field(default=None, description="the predictions table; null: INPUT_predictions")
    full: bool = Field(default=False, description="score all rows each time and replace the predictions table")
    columns: dict[str, str] = Field(
        default={}, description="the model's input → the table's column, where the names differ"
    )
    id: str | None = Field(default=None, description="the column that identifies a row; null: the project's")
    keep: list[str] = Field(default=[], description="columns to copy beside the predictions")
    least_confidence: float = Field(default=0, ge=0, le=1, description="below it `abstain` is true")
    probabilities: bool = Field(default=True, description="write every label's probability")
    explain: int = Field(
        default=0, ge=0, description="write the reasons of each row, so many inputs that weigh most; 0: none"
    )

    def model_of(self, project: Project) -> str:
        return self.model or f"models:/{project.model}@champion"


def scoring_of(profile: Profile) -> Scoring | None:
    """What the profile's target scores; None where it scores nothing, or has no such jobs."""
    scoring: Scoring | None = getattr(profile.target, "score", None)
    return scoring


def scoring_problems(profile: Profile) -> Iterator[Problem]:
    from lakewright.registry.uri import URI

    scoring = scoring_of(profile)
    if scoring is None:
        return
    for key in ("input", "output"):
        yield from _table_problems(key, getattr(scoring, key), profile)
    model = scoring.model
    if model is not None and not model.startswith("/") and not URI.fullmatch(model):
        yield Problem(
            profile.where("target", "score", "model"),
            f"score.model: {model!r} names no model version, and is no path that the job's machines see",
            "write models:/NAME@alias or models:/NAME/3, or the whole path of a model folder there: /…",
        )
    if scoring.output is not None and scoring.output.lower() == scoring.input.lower():
        yield Problem(
            profile.where("target", "score", "output"),
            f"score.output is the table that is scored, {scoring.input}",
            "name another table, or leave output out",
        )


def _table_problems(key: str, name: str | None, profile: Profile) -> Iterator[Problem]:
    where = profile.where("target", "score", key)
    try:
        version = TableName.parse(name)[1] if name is not None else None
    except UsageError as failure:
        yield Problem(where, f"score.{key}: {failure.cause}", failure.remedy)
        return
    if version is not None:
        yield Problem(
            where,
            f"score.{key} is pinned to version {version}, and the job is for rows that come later",
            f"write the table's name alone, without @v{version}",
        )
