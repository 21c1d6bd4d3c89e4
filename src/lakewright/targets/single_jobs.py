"""A job of one step: a search (`tune`, `automl`) of the project's section, or a scoring (`score`) of the profile's.

It is `lakewright stage NAME`, a search on the machine of train, a scoring on those of prepare. Unlike a stage of the
pipeline it has no run, and no parameters: what it may set, its section says. A step that is tried again goes on with
what the one before it has left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lakewright.errors import LakewrightError
from lakewright.pipeline import SEARCHES
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Problem
from lakewright.targets.parameters import override_settings
from lakewright.targets.scoring import scoring_of, scoring_problems

OPTUNA = ("tables", "demo", "dev")  # the extras of Lakewright that install it, which a search needs


def searches(project: Project) -> tuple[str, ...]:
    """Those that the project has a section of."""
    return tuple(name for name in SEARCHES if getattr(project, name) is not None)


def single_jobs(project: Project, profile: Profile) -> tuple[str, ...]:
    """Those that the project or the profile has a section of."""
    return (*searches(project), *(("score",) if scoring_of(profile) is not None else ()))


def words(job: str, project: Project, profile: Profile, place: str) -> list[str]:
    """The arguments of `lakewright`; `place` is the project file on the machine."""
    overrides = [part for setting in override_settings(project) for part in ("--set", setting)]
    return ["stage", job, "--project", place, "--profile", profile.name, *overrides]


def single_job_problems(
    project: Project, profile: Profile, packages: Iterable[str], packages_at: str, minutes: float, minutes_at: str
) -> Iterator[Problem]:
    """What stops these jobs on a platform: `packages` that the machine of a search installs, at a place of the profile,
    and the `minutes` after which the platform ends it."""
    yield from scoring_problems(profile)
    for name in searches(project):
        try:
            _check(name, project)
        except LakewrightError as failure:
            yield Problem(project.path.name, failure.cause, failure.remedy)
        wanted = getattr(project, name).minutes
        if wanted is not None and wanted >= minutes:
            yield Problem(
                profile.where("target", *minutes_at.split(".")),
                f"{name}.minutes is {wanted:g}, and the platform ends the job after {minutes:g} minutes",
                f"raise target.{minutes_at}, or lower {name}.minutes: loading packages and rows takes time as well",
            )
        ours = [package for package in packages if package.rpartition("/")[2].startswith("lakewright")]
        extras = {extra.strip() for package in ours for extra in _bracketed(package).split(",")}
        if ours and extras.isdisjoint(OPTUNA):
            yield Problem(
                profile.where("target", *packages_at.split(".")),
                f"the machine installs {ours[0]}, and a search needs optuna, which the extra tables brings",
                f"write the extra: {_with_tables(ours[0])}",
            )


def _bracketed(package: str) -> str:
    return package.partition("[")[2].partition("]")[0]


def _check(search: str, project: Project) -> None:
    """Raises UsageError for a search that means nothing."""
    if search == "tune":
        from lakewright.tuning.search import check_search

        assert project.tune is not None
        check_search(project, project.tune)
    else:
        from lakewright.racing.project_search import check_race

        check_race(project)


def _with_tables(package: str) -> str:
    name, bracket, rest = package.partition("[")
    return f"{name}[tables,{rest}" if bracket else f"{name}[tables]"
