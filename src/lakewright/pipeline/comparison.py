"""Compares finished runs: which is the best, which are ties with it, and which one is recommended.

The comparison reads the records of the runs, their frozen test rows and their logs. No model predicts again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakewright import plugins
from lakewright.errors import DataError, LakewrightError, NotFound, UsageError, nearest
from lakewright.evaluation.leaderboard import Entry, Leaderboard, rank
from lakewright.evaluation.scorers import Scorer
from lakewright.model.folder import describe
from lakewright.pages.comparison import page
from lakewright.records import Decision, ModelVersion, Prepared, Report, Trained, plain
from lakewright.settings.project import load_project
from lakewright.system import jsonfile
from lakewright.system.files import write_whole
from lakewright.system.progress import bar
from lakewright.workspace import Workspace
from lakewright.workspace.ledger import note_test_read
from lakewright.workspace.run_folder import RunFolder

if TYPE_CHECKING:
    import pyarrow as pa

FROZEN = ["record_id", "truth", "prediction", "inputs"]  # columns of test_rows.parquet


@dataclass(frozen=True)
class Finished:
    """A finished run: its records, the description of its model, its truths."""

    run_id: str
    name: str  # in MLflow
    project: Mapping[str, Any]  # as resolved
    prepared: Prepared
    trained: Trained
    report: Report
    decision: Decision
    model: Mapping[str, Any]  # model.json
    truths: pa.Table  # record_id and truth of the test rows, by record_id


def compare(
    workspace: Workspace, names: Sequence[str] = (), *, by: str = "auto", out: str | Path | None = None
) -> dict[str, Any]:
    """Rank runs by their primary metric, or `by` another one; returns the content of comparison.json.

    `names` are run ids (or their beginnings), `models:/NAME/3`, project names or files; none: every finished run. Runs
    are compared on the test rows of the newest of them; a run without these rows is left out, with the reason.
    comparison.html and comparison.json are written to `out`, by default a folder of the workspace.

    Raises UsageError or NotFound if a name or a metric does not exist, DataError if fewer than two runs remain.
    """
    runs, left_out = _comparable(_chosen(names, workspace), by)
    metric = runs[0].report.primary if by == "auto" else by
    folder = _folder(out, runs, metric, workspace)
    note_test_read(workspace, runs[0].report.test_rows, runs[0].report.rows, f"comparison of {len(runs)} runs")

    settings = runs[0].project["evaluate"]
    entries = [_entry(run, metric) for run in runs]
    with bar("compare", len(runs) - 1) as advance:
        leaderboard = rank(
            entries,
            metric,
            resamples=settings["resamples"],
            seed=settings["seed"],
            confidence=settings["confidence"],
            progress=lambda: advance(1, ""),
        )
    comparison = _as_json(leaderboard, dict(zip(entries, runs, strict=True)), left_out, workspace)
    comparison |= {"page": str(folder / "comparison.html"), "json_file": str(folder / "comparison.json")}
    write_whole(folder / "comparison.html", page(comparison, leaderboard))
    write_whole(folder / "comparison.json", jsonfile.text(comparison))
    return comparison


def _chosen(names: Sequence[str], workspace: Workspace) -> list[RunFolder]:
    """The folders of the named runs, or of all finished ones; the newest first."""
    folders = sorted(RunFolder.noted(workspace.folder), key=lambda folder: -folder.note.stat().st_mtime_ns)
    run_ids = [folder.run_id for folder in folders]
    finished: list[str] = []
    projects: dict[str, list[str]] = {}
    for folder in folders:
        try:
            note = folder.read_note()
            titles = note.resolved["name"], f"{note.resolved['schema']}.{note.resolved['name']}"
        except (ValueError, KeyError, TypeError):
            continue  # damaged: an error if the user names its id
        if note.status == "done":
            finished.append(folder.run_id)
            for title in titles:
                projects.setdefault(title, []).append(folder.run_id)
    if not finished:
        raise NotFound(f"{workspace.folder} has no finished run", "`lakewright run` makes one")
    selected = set() if names else set(finished)
    for name in names:
        selected |= set(_named(name, run_ids, projects, workspace))
    return [folder for folder in folders if folder.run_id in selected]


def _named(name: str, run_ids: list[str], projects: Mapping[str, list[str]], workspace: Workspace) -> list[str]:
    if name.startswith("models:/"):
        from lakewright.registry.versions import RUN, resolve

        version = resolve(workspace.tracking, name)
        if version.tags.get(RUN) not in run_ids:
            raise NotFound(
                f"{version} comes from run {version.tags.get(RUN, '(unknown)')}, which {workspace.folder} lacks",
                "name the profile of the workspace that has this run (--profile)",
            )
        return [version.tags[RUN]]
    if name.endswith((".yml", ".yaml")):
        project = load_project(name)
        name = f"{project.schema_}.{project.name}"
    if name in projects:
        return projects[name]
    matches = [run_id for run_id in run_ids if name and run_id.startswith(name)]
    if not matches:
        raise NotFound(f"{workspace.folder} has no run or project {name!r}", nearest(name, projects))
    if len(matches) > 1:
        raise UsageError(f"{len(matches)} run ids begin with {name!r}", f"write more of it: {', '.join(matches)}")
    return matches


def _comparable(folders: Sequence[RunFolder], by: str) -> tuple[list[Finished], list[dict[str, str]]]:
    """The runs on the same test rows as the newest one, and why the others are left out."""
    runs: list[Finished] = []
    left_out: list[dict[str, str]] = []
    for folder in folders:
        try:
            run = _read(folder)
        except LakewrightError as error:
            left_out.append({"run_id": folder.run_id, "why": error.cause})
            continue
        if not runs and by not in ("auto", *run.report.metrics):
            raise UsageError(
                f"the newest run, {run.run_id[:8]}, did not measure {by!r}", nearest(by, run.report.metrics)
            )
        why = _hindrance(run, runs, (runs or [run])[0].report.primary if by == "auto" else by)
        if why:
            left_out.append({"run_id": run.run_id, "why": why})
        else:
            runs.append(run)
    if len(runs) < 2:
        reasons = "; ".join(f"{run['run_id'][:8]}: {run['why']}" for run in left_out)
        raise DataError(
            f"{len(runs)} of {len(folders)} runs can be compared, and a comparison needs two"
            + (f" ({reasons})" if reasons else ""),
            "run the project with other settings (lakewright run --set …), or name other runs",
        )
    return runs, left_out


def _hindrance(run: Finished, runs: Sequence[Finished], metric: str) -> str:
    """Why the run cannot be compared with the earlier ones; empty if it can."""
    if not runs:
        return ""
    task, other = runs[0].model["task"]["name"], run.model["task"]["name"]
    if other != task:
        return f"it learned {other}, not {task}"
    if metric not in run.report.metrics:
        return f"its report has no {metric}"
    same = next((each for each in runs if each.trained.digest == run.trained.digest), None)
    if same is not None:
        return f"the same model as run {same.run_id[:8]}"
    return "" if run.truths.equals(runs[0].truths) else _other_rows(run.truths, runs[0].truths)


def _other_rows(theirs: pa.Table, ours: pa.Table) -> str:
    truths, expected = (dict(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
                      for rows in (theirs, ours))  # fmt: skip
    if truths.keys() == expected.keys():
        changed = sum(truths[name] != truth for name, truth in expected.items())
        return f"{changed:,} of its {len(truths):,} test rows have another truth"
    shared = len(truths.keys() & expected.keys())
    return f"evaluated on other test rows: {len(truths):,}, of which {shared:,} are among the {len(expected):,} here"


def _read(folder: RunFolder) -> Finished:
    """Raises DataError if the run did not finish or one of its files is gone or damaged."""
    import pyarrow.parquet as pq

    try:
        note = folder.read_note()
        if note.status != "done":
            raise DataError(f"it did not finish (status: {note.status})", "run the project again")
        trained, report = folder.read_record("train", Trained), folder.read_record("evaluate", Report)
        if not Path(report.test_rows).exists():
            raise DataError(f"{report.test_rows} is gone", "run the project again")
        if not set(FROZEN) <= set(pq.read_schema(report.test_rows).names):
            raise DataError("its test rows were frozen by an older Lakewright", "run the project again")
        # ParquetFile: read_table would import pandas.
        truths = pq.ParquetFile(report.test_rows).read(["record_id", "truth"]).sort_by("record_id")
        return Finished(
            run_id=folder.run_id,
            name=note.name,
            project=note.resolved,
            prepared=folder.read_record("prepare", Prepared),
            trained=trained,
            report=report,
            decision=folder.read_record("gate", Decision),
            model=describe(Path(trained.model_folder)),
            truths=truths,
        )
    except OSError as failure:
        raise DataError(f"its files cannot be read: {failure}", "run the project again") from None
    except (ValueError, KeyError, TypeError) as failure:
        reason = str(failure).splitlines()[0]
        raise DataError(
            f"its files are damaged, or written by another Lakewright ({reason})", "run the project again"
        ) from None


def _entry(run: Finished, metric: str) -> Entry:
    report = run.report
    return Entry(run.run_id[:8], _scorer(run), report.metrics[metric], report.seconds_per_1000_rows, report.model_bytes)


def _scorer(run: Finished) -> Scorer:
    """Of the frozen test rows, sorted by record_id: the same order for every run."""
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(run.report.test_rows).read(FROZEN).sort_by("record_id")
    truths, predictions, inputs = ([json.loads(text) for text in rows[name].to_pylist()] for name in FROZEN[1:])
    task = plugins.TASKS.find(run.model["task"]["name"]).open(run.model["task"])
    return task.scorer(truths, predictions, inputs)


def _as_json(
    leaderboard: Leaderboard, runs: Mapping[Entry, Finished], left_out: list[dict[str, str]], workspace: Workspace
) -> dict[str, Any]:
    """The comparison as JSON-ready values."""
    from lakewright.registry.versions import list_models

    versions = list_models(workspace.tracking)
    ordered = [runs[place.entry] for place in leaderboard.places]
    settings = _differences(ordered)
    report, recommended = ordered[0].report, runs[leaderboard.recommended.entry]
    others = [name for name in ("accuracy", report.primary, *report.metrics) if name in report.metrics]
    second = next((name for name in others if name != leaderboard.metric), "")
    rows = []
    for place, run, differing in zip(leaderboard.places, ordered, settings, strict=True):
        against = place.against_best
        rows.append(
            {
                "rank": f"={place.rank}" if place.tied and leaderboard.ties > 1 else str(place.rank),
                "tied_with_best": place.tied,
                "on_front": place.on_front,
                "run_id": run.run_id,
                "name": run.name,
                "learner": run.trained.learner,
                "base_model": run.project["train"].get("base_model"),
                "settings": differing,
                "metrics": {name: plain(metric) for name, metric in run.report.metrics.items()},
                "against_best": against
                and {**vars(against), "significantly_worse": not place.tied, "corrected_p": place.p},
                "seconds_per_1000_rows": run.report.seconds_per_1000_rows,
                "runtime": run.report.runtime,
                "model_bytes": run.report.model_bytes,
                "training_seconds": run.trained.details.get("training_seconds"),
                "gate_passed": run.decision.passed,
                "model_versions": [_version(version) for version in versions if version.digest == run.trained.digest],
                "report": run.report.html,
            }
        )
    return {
        "metric": leaderboard.metric,
        "second_metric": second,
        "test_rows": report.rows,
        "confidence": leaderboard.confidence,
        "resamples": leaderboard.resamples,
        "recommended": {
            "run_id": recommended.run_id,
            "reason": leaderboard.reason + ("" if recommended.decision.passed else " It did not pass the gate."),
        },
        "runs": rows,
        "left_out": left_out,
        "notes": _notes(ordered),
    }


def _version(version: ModelVersion) -> dict[str, Any]:
    return {"uri": version.at, "aliases": version.aliases}


def _differences(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """For each run, the settings of learning that are not the same in all runs that have them.

    The key is the last part of the setting's name, or the whole name if that part is not unique. The learner and its
    base model have columns of their own.
    """
    shown_elsewhere = {"train.learner", "train.base_model"}
    flat = []
    for run in runs:
        project = run.project
        about = {"project": f"{project['schema']}.{project['name']}", "table": str(run.prepared.table)}
        settings = {**about, **{name: project[name] for name in ("task", "data", "prepare", "train")}}
        flat.append({name: value for name, value in _leaves(settings) if name not in shown_elsewhere})
    names = list(dict.fromkeys(name for settings in flat for name in settings))
    differing = [name for name in names if len({str(each[name]) for each in flat if name in each}) > 1]
    last = [name.rpartition(".")[2] for name in differing]
    short = {name: end if last.count(end) == 1 else name for name, end in zip(differing, last, strict=True)}
    return [{short[name]: each[name] for name in differing if name in each} for each in flat]


def _leaves(value: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{at}{name}.")
        else:
            yield f"{at}{name}", inner


def _notes(runs: Sequence[Finished]) -> list[str]:
    notes = [
        f"The best of {len(runs)} runs was chosen by its score on these test rows, so that score is too good, and "
        "more so with more runs. Measure the model that you choose on rows that were not used to choose it."
    ]
    if len({run.report.confidence for run in runs}) > 1:
        levels = ", ".join(f"{run.run_id[:8]} {run.report.confidence:.0%}" for run in runs)
        notes.append(f"The intervals are not all at the same level: {levels}.")
    if len({run.report.runtime.partition(", ")[2] for run in runs}) > 1:
        runtimes = ", ".join(f"{run.run_id[:8]} {run.report.runtime}" for run in runs)
        notes.append(f"The seconds were not all measured in the same way: {runtimes}.")
    return notes


def _folder(out: str | Path | None, runs: Sequence[Finished], metric: str, workspace: Workspace) -> Path:
    identity = hashlib.sha256(json.dumps([metric, *sorted(run.run_id for run in runs)]).encode()).hexdigest()
    folder = Path(out) if out else workspace.folder / "comparisons" / f"{runs[0].project['name']}-{identity[:8]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise UsageError(f"{folder} cannot be created: {failure.strerror}", "name another folder with --out") from None
    return folder
