"""Predictions of rows and of tables, and the rows of a table that are nearest in meaning to a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright.api.places import opened, start_job
from lakewright.errors import UsageError

if TYPE_CHECKING:
    from lakewright.data.rows.kinds import Prediction
    from lakewright.service.scoring import Scored
    from lakewright.service.search import SearchResult
    from lakewright.targets import Execution


def predict(
    model: str | Path,
    rows: Sequence[str | Mapping[str, Any]],
    *,
    explain: int = 0,
    profile: str | None = None,
    runtime: str = "auto",
) -> list[Prediction]:
    """A prediction for each row, in the rows' order. A row is a text, or a mapping of the model's inputs.

    `model` is `models:/NAME@alias`, `models:/NAME/3` or a model folder; `load` opens it once for many calls.
    `explain`: each prediction has as many `reasons`, the inputs that weigh most, and the `method` that weighs them.
    A row may have the key of a feature table in place of its values: they come from the profile's online store, and
    `unknown` of the prediction names those that it does not have. Raises UsageError if the model has no reasons.
    """
    from lakewright.api.registry import load
    from lakewright.model.by_key import completing, noting

    predictor = load(model, profile=profile, runtime=runtime)
    complete = completing(predictor.folder, predictor.task.inputs, lambda: opened(profile).online())
    completed, unknown = complete(list(rows))
    predictions = predictor.predict(completed)
    if explain:
        predictions = predictor.explain(completed, predictions, explain)
    return noting(unknown, predictions)


def score(
    model: str | Path,
    input: str,
    output: str | None = None,
    *,
    full: bool = False,
    columns: Mapping[str, str] = {},
    id: str | None = None,
    keep: Sequence[str] = (),
    least_confidence: float = 0.0,
    probabilities: bool = True,
    explain: int = 0,
    commit_rows: int | None = None,
    runtime: str = "auto",
    profile: str | None = None,
) -> Scored:
    """Score the rows of `input` (`a.b.c` or `a.b.c@v3`) that `output` (default: `a.b.c_predictions`) lacks.

    `output` may be a table of a database: `postgresql://HOST/DATABASE/SCHEMA.TABLE`, `mysql://HOST/DATABASE/TABLE`.
    `columns` maps the model's inputs to the table's columns where the names differ from the project's; `id` is the
    column of record ids (default: the project's); `keep` are columns to copy. Below `least_confidence`, `abstain` is
    true. The profile's workers score parts of `commit_rows` rows, of which a kill loses one for each process; after the
    same call again, every row is scored once. `full` scores all rows again and replaces the predictions table.
    `explain`: each row has as many `reasons`, the inputs that weigh most (models that read columns).

    Raises UsageError or DataError if model, table and columns do not fit, before anything is written (for a null id,
    when its row is read); Busy if another process scores into the table; NoStore if its database does not answer.
    """
    from lakewright.service import scoring

    return scoring.score(
        opened(profile),
        str(model),
        input,
        output,
        full=full,
        columns=columns,
        id=id,
        keep=keep,
        least_confidence=least_confidence,
        probabilities=probabilities,
        explain=explain,
        commit_rows=commit_rows,
        runtime=runtime,
    )


def start_scoring(
    project: str | Path = "project.yml", *, settings: Sequence[str] = (), profile: str | None = None
) -> Execution:
    """Start the scoring of the profile's target, a platform (`target.score`): one job, which scores the new rows as
    `score` does, and goes on by itself.

    Deploys the project first. Raises UsageError if the profile has no such section, ProfileError for what `check`
    would report.
    """
    from lakewright.settings.profile import load_profile
    from lakewright.targets.scoring import scoring_of

    folder = Path(project) if Path(project).is_dir() else Path(project).parent
    place = load_profile(profile, folder)
    if scoring_of(place) is None:
        raise UsageError(
            f"no table is named, and the target of the profile {place.name} has no section score",
            "score here: lakewright score --model models:/NAME@champion --input catalog.schema.table; or name a "
            "profile with a platform as its target and the table in target.score: {input: …} (docs/targets.md)",
        )
    return start_job("score", project, settings, profile)


def search(
    table: str,
    text: str,
    *,
    model: str | None = None,
    column: str | None = None,
    k: int = 10,
    where: str | None = None,
    exact: bool = False,
    profile: str | None = None,
) -> SearchResult:
    """The `k` rows of `table` (`a.b.c`, or `a.b.c@v3`) nearest in meaning to `text`.

    `model` is a model version or a model folder of the task sentence_similarity; default: the model that embedded this
    table last. `where` is a condition in SQL; `exact` compares every text, however many there are.

    Raises UsageError if no model is named and none has embedded the table, if the text is blank, if k < 1, or if the
    condition is not SQL over this table; NotFound if the table does not exist, DataError if the column has no texts.
    """
    from lakewright.service.search import embedder_of, find

    workspace = opened(profile)
    pinned = workspace.lake.version(table)
    embedder, model_name = embedder_of(workspace, pinned, model)
    return find(workspace, embedder, pinned, text, model=model_name, column=column, k=k, where=where, exact=exact)


def recipe(model: str | Path, *, table: str | None = None, profile: str | None = None) -> dict[str, Any]:
    """The fitted steps of a model, in order, with their numbers: `steps`; and if `table` names a table or view of
    DuckDB that has the model's inputs as columns, `sql`: one statement that gives what the network reads.

    Raises UsageError for `sql` if a step has none, such as one that reads texts.
    """
    from lakewright.api.registry import load
    from lakewright.model.recipe import RECIPE
    from lakewright.model.recipe.export import as_sql
    from lakewright.system import jsonfile

    predictor = load(model, profile=profile)
    steps = jsonfile.parse((predictor.folder / "recipe" / RECIPE).read_bytes())["steps"]
    if table is None:
        return {"steps": steps}
    return {"steps": steps, "sql": as_sql(predictor.recipe, predictor.task.inputs, table)}
