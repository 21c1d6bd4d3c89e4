"""What the machines of one job do together: train one model, and compute the parts of `prepare` and of a scoring; and
what stops them.

To train, each machine runs the stage in the environment that torchrun makes. For parts, the machines are a Spark
cluster, which begins and ends with the job (workers/standalone.py); its address is known there alone, so the stage gets
it by `--workers` and not by the profile. A profile that names workers itself keeps them."""

from __future__ import annotations

from collections.abc import Iterator

from lakewright.errors import LakewrightError
from lakewright.learning.learners import check_processes
from lakewright.settings.profile import Profile
from lakewright.settings.project import Project
from lakewright.targets import Problem
from lakewright.targets.single_jobs import searches

ON_SEVERAL = ("prepare", "score")  # the others compute on one machine, whatever workers there are


def names_workers(profile: Profile) -> bool:
    """Whether the user has named workers, so that no target does."""
    return "workers" in profile.model_fields_set


def training_problems(project: Project, profile: Profile) -> Iterator[Problem]:
    """What stops processes or machines that are to train together."""
    try:
        check_processes(project, profile, here=False)
    except LakewrightError as failure:
        where = profile.where("training")
        yield Problem(where, failure.cause.removeprefix(f"{where}: "), failure.remedy)
    for search in searches(project) if profile.training.machines > 1 else ():
        yield Problem(
            profile.where("training", "machines"),
            f"{profile.training.machines} machines train a run together; the job of the search {search} has one",
            f"nothing, if that is enough for {search}",
            "warning",
        )


def taken_away(profile: Profile, where: str, setting: str) -> Iterator[Problem]:
    """That any of several machines may be taken away, on a platform that keeps no checkpoints."""
    if profile.training.machines > 1:
        yield Problem(
            where,
            f"{setting}: any of the {profile.training.machines} machines of train may be taken away, and training then "
            "begins again",
            f"set {setting}: false, or expect to wait",
            "warning",
        )


def parts_problems(profile: Profile, machines: int = 1, setting: str = "") -> Iterator[Problem]:
    """What stops so many machines of a job, by a setting of the target; and workers that no machine there can reach."""
    if machines > 1 and names_workers(profile):
        yield Problem(
            profile.where("workers"),
            f"the profile names workers, and target.{setting} makes a cluster of {machines} machines of the job",
            f"remove workers, or set {setting}: 1",
        )
    url = str(getattr(profile.workers, "url", ""))
    if url == "databricks" and profile.target.name != "databricks":
        yield Problem(
            profile.where("workers"),
            f"workers: url is databricks, the session of a job there, and the stages run on {profile.target.name}",
            "name the cluster from elsewhere: url: sc://WORKSPACE:443/;x-databricks-cluster-id=ID, and token",
        )
    host = url.partition("://")[2].partition("/")[0].rpartition(":")[0]
    if host == "localhost" or host.startswith("127.") or host in ("[::1]", "::1"):
        yield Problem(
            profile.where("workers"),
            f"workers: url is {url}, which on {profile.target.name} is the machine of each stage itself",
            "name the cluster by an address that the stages reach, or remove workers",
        )
