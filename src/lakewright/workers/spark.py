"""Parts as tasks of a Spark cluster: standalone, YARN or Kubernetes, a Connect server, or Databricks.

Spark is the queue and its retries alone: a part and its result pass through it as bytes, and no row does. Each part is
a job of one task, so that it begins when a part before it ends, and its result is there when it is done.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Self, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import Field, PositiveInt, SecretStr, field_validator

from lakewright.errors import LakewrightError, UsageError, WorkerDied
from lakewright.settings.profile import WorkersSettings
from lakewright.system.secrets import secret_in
from lakewright.workers.archive import carried

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

P = TypeVar("P")
R = TypeVar("R")

LOG = logging.getLogger("lakewright")
HINT, PATIENCE = 30, 600  # seconds
NO_WORKER = "no worker of the Spark cluster takes the first task: it has none, or other applications hold their cores"
WAIT = 10.0  # seconds for a master or a Connect server to answer
PORTS = {"spark": 7077, "sc": 15002}
SESSIONS: list[tuple[SparkSettings, SparkSession]] = []  # of this process: a session takes seconds to begin
SAME = ("lakewright", "numpy", "pyarrow", "onnxruntime", "cloudpickle", "lightgbm", "scikit-learn", "torch")


class SparkSettings(WorkersSettings):
    name: Literal["spark"] = "spark"
    url: str = Field(
        description="`spark://host:7077`, `sc://host:15002` (a Connect server), `yarn`, `k8s://…`, `local[4]`, or "
        "`databricks`: the session of the notebook or job that runs this"
    )
    token: SecretStr | None = Field(default=None, description="of a Connect server: `${env:NAME}`")
    processes: PositiveInt | Literal["auto"] = Field(
        default="auto", description="parts computed at once; auto: as many tasks as the cluster has cores for"
    )
    python: str | None = Field(
        default=None,
        description="the workers' Python, `./environment/bin/python` in an archive; null: at the same path as here. A "
        "Connect server has its own",
    )
    archives: list[str] = Field(
        default=[],
        description="archives that are unpacked beside each worker's process, `environment.tar.gz#environment`",
    )
    reads: Literal["files", "rows"] = Field(
        default="files",
        description="what a worker reads: the files of a table, or rows that this machine sends with each part, where "
        "its functions may open no file (serverless compute of Databricks)",
    )
    config: dict[str, SecretStr] = Field(
        default={}, description="Spark's own settings: `spark.executor.memory: 8g`; `${env:NAME}` for secrets"
    )

    @field_validator("url")
    @classmethod
    def _without_secret(cls, url: str) -> str:
        if kind := secret_in(url):
            raise ValueError(f"it holds {kind}, which logs would show: put it into token")
        return url


@dataclass(frozen=True)
class SparkWorkers:
    session: SparkSession
    processes: int
    task_threads: int  # cores of a task
    opens_files: bool = True
    _reached: set[Path] = field(default_factory=set, compare=False)

    settings: ClassVar[type[WorkersSettings]] = SparkSettings

    @classmethod
    def open(cls, settings: WorkersSettings, threads: int) -> Self:
        """Raises UsageError where no cluster answers, or its workers are not fit; `threads` of this machine are not
        used."""
        assert isinstance(settings, SparkSettings)
        session = next((each for of, each in SESSIONS if of == settings and _lives(each)), None)
        if session is None:
            session = session_of(settings)
            SESSIONS[:] = [each for each in SESSIONS if each[0] != settings] + [(settings, session)]
        return cls.of(session, None if settings.processes == "auto" else settings.processes, settings.reads == "files")

    @classmethod
    def of(cls, session: SparkSession, processes: int | None, opens_files: bool = True) -> Self:
        """Of a session that there is; `processes` None: as many as its cluster has cores for. Raises UsageError where
        its workers have other packages than this machine."""
        opened = cls(session, 1, int(_set(session, "spark.task.cpus", "1")), opens_files)
        opened._check()
        return replace(opened, processes=processes or _parallelism(session))

    def reach(self, folder: Path) -> None:
        if folder in self._reached:
            return
        if not self.opens_files:
            raise UsageError(
                f"the workers open no file (workers: reads: rows), and this work has them read the folder {folder}",
                "run it with workers: {name: local}, or on a cluster whose workers read files",
            )
        mark = folder / f".seen-{uuid4().hex}"
        mark.touch()
        try:
            blind = self._blind({mark: 0})
        finally:
            mark.unlink()
        if blind:
            raise UsageError(
                f"the Spark workers on {', '.join(blind)} do not see the folder {folder} of this machine",
                "put the workspace and the lake where all machines reach them: a mounted folder, s3:// or abfss:// "
                "(profiles.yml: workspace, lake)",
            )
        self._reached.add(folder)

    def bring(self, folder: Path) -> Callable[[], Path]:
        """As it is where all workers see it; else Spark carries an archive of it."""
        files = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
        if not self._blind(files):
            return partial(Path, folder)
        return carried(self.session, folder, [*files])

    def _blind(self, files: Mapping[Path, int]) -> list[str]:
        """The machines that do not see these files of so many bytes: as many workers are asked as compute at once, of
        which one that sees them may be asked twice."""
        answers = self.map(partial(_sees, files), range(self.processes), ahead=self.processes)
        return sorted({host for host, sees in answers if not sees})

    def threads(self, ahead: int) -> int:
        return self.task_threads

    def map(self, function: Callable[[P], R], parts: Iterable[P], *, ahead: int) -> Jobs[P, R]:
        if ahead < 1:
            raise ValueError(f"ahead is {ahead}, and one part is drawn at least")
        return Jobs(self.session, function, iter(parts), ahead, min(self.processes, ahead), self.task_threads)

    def _check(self) -> None:
        here = _versions()
        with closing(self.map(_described, [None], ahead=1)) as described:
            described.wait()
            there = next(described)
        differing = {name: (there[name], version) for name, version in here.items() if there[name] != version}
        if differing:
            each = ", ".join(
                f"{name} {other or 'none'}, here {own or 'none'}" for name, (other, own) in differing.items()
            )
            raise UsageError(
                f"a Spark worker has other packages than this machine: {each}",
                "install the same there (pip install --constraint constraints.txt), or send this environment along: "
                "profiles.yml: workers: {archives: […], python: …}",
            )


def _lives(session: SparkSession) -> bool:
    try:
        return bool(session.range(1).count() == 1)
    except Exception:  # it was stopped, or its cluster is gone
        return False


def session_of(settings: SparkSettings) -> SparkSession:
    """The Spark session of these settings; without Connect the one that there is already, if it is of this cluster.

    Raises UsageError where Java, the master or the server is not there.
    """
    from pyspark.sql import SparkSession

    config: dict[str, Any] = {name: value.get_secret_value() for name, value in settings.config.items()}
    if settings.url == "databricks":
        if "DATABRICKS_RUNTIME_VERSION" not in os.environ:
            raise UsageError(
                "workers: url is databricks, and this is no notebook or job of Databricks",
                "name the cluster from elsewhere: url: sc://WORKSPACE:443/;x-databricks-cluster-id=ID, and token",
            )
        builder = SparkSession.builder
    elif settings.url.startswith("sc://"):
        _reach(settings.url)
        url = settings.url
        if settings.token is not None:
            url += f"{'' if '/;' in url else '/'};token={settings.token.get_secret_value()}"
        builder = SparkSession.builder.remote(url)
    else:
        check_java()
        if settings.url.startswith("spark://"):
            _reach(settings.url)
        os.environ["PYSPARK_PYTHON"] = settings.python or sys.executable  # PySpark reads it nowhere else
        builder = SparkSession.builder.master(settings.url).appName("lakewright")
        config = {**_own(settings), **config}
    try:
        builder = builder.config(map=config)
        # getOrCreate would give a session of another server, if this process has one
        session = builder.create() if settings.url.startswith("sc://") else builder.getOrCreate()
        _ = session.version  # a Connect server is asked for the first time
    except Exception as failure:
        raise UsageError(
            f"no Spark session at {settings.url}: {_short(failure)}",
            "read the log of the master or the server; docs/scale.md says what it needs",
        ) from failure
    context = context_of(session)
    if context is None:
        _give_up_sooner(session)
    if context is not None and settings.url != "databricks" and context.master != settings.url:
        raise UsageError(
            f"this process has a session of Spark at {context.master} already, and {settings.url} is asked for",
            "stop it first (session.stop()), or name the same cluster",
        )
    _check_version(session, settings.url)
    if settings.url.startswith("sc://") and settings.archives:
        session.addArtifacts(*settings.archives, archive=True)
    return session


def _give_up_sooner(session: Any) -> None:
    """A server that is gone is an error after 45 seconds: PySpark's own policy tries for ten minutes."""
    from pyspark.sql.connect.client.retries import DefaultPolicy

    session.client.set_retry_policies([DefaultPolicy(max_retries=12, max_backoff=5000)])


def _own(settings: SparkSettings) -> dict[str, str]:
    """What is set where the profile does not."""
    own = {"spark.ui.enabled": "false", "spark.log.level": "ERROR", "spark.ui.showConsoleProgress": "false"}
    if settings.archives:
        own["spark.archives"] = ",".join(settings.archives)
    host = urlsplit(settings.url).hostname or ""
    if host == "localhost" or host.startswith("127."):  # else the workers look for this machine by its name
        own |= {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}
    return own


def check_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and (home is None or not (Path(home) / "bin" / "java").is_file()):
        raise UsageError(
            "Spark needs Java, and there is none: neither java on the PATH nor JAVA_HOME",
            "install Java 17 or newer (Debian: openjdk-17-jre-headless), or use a Connect server (url: sc://…)",
        )


def _reach(url: str) -> None:
    """Raises UsageError where none of the url's hosts answers: Spark would try for minutes."""
    scheme, _, rest = url.partition("://")
    failures = []
    for each in rest.partition("/")[0].split(","):
        host, _, port = each.partition(":")
        try:
            socket.create_connection((host, int(port or PORTS[scheme])), WAIT).close()
            return
        except (OSError, ValueError) as failure:
            failures.append(f"{each}: {failure}")
    what = "Connect server" if scheme == "sc" else "Spark master"
    raise UsageError(
        f"no {what} answers at {url}: {'; '.join(failures)}",
        "start it, or correct the profile's workers: url",
    )


def _check_version(session: SparkSession, url: str) -> None:
    import pyspark

    here, there = pyspark.__version__, str(session.version)
    major = [each.split(".")[0] for each in (here, there)]
    if major[0] != major[1]:
        raise UsageError(
            f"{url} runs Spark {there}, and pyspark here is {here}",
            f"install the cluster's: pip install 'pyspark[connect]=={there}'",
        )


def _parallelism(session: SparkSession) -> int:
    """How many tasks run at once."""
    from pyspark.sql.functions import spark_partition_id

    return max(1, int(session.range(1 << 16).select(spark_partition_id()).distinct().count()))


def _set(session: SparkSession, name: str, default: str) -> str:
    with suppress(Exception):  # not every server knows every setting
        return str(session.conf.get(name, default) or default)
    return default


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    versions: dict[str, str | None] = {"Python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in SAME:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions


def _sees(files: Mapping[Path, int], _: int) -> tuple[str, bool]:
    return socket.gethostname(), all(path.is_file() and path.stat().st_size == size for path, size in files.items())


def _described(_: None) -> dict[str, str | None]:
    return _versions()


class Jobs(Generic[P, R]):
    """The results of parts, each computed by a job of one task."""

    def __init__(
        self,
        session: SparkSession,
        function: Callable[[P], R],
        parts: Iterator[P],
        ahead: int,
        at_once: int,
        threads: int,
    ) -> None:
        import cloudpickle

        self._session, self._parts, self._ahead = session, parts, ahead
        self._function, self._threads = cloudpickle.dumps(function), threads
        self._tag = f"lakewright-{uuid4().hex}"
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="spark")
        self._waiting: deque[Future[bytes]] = deque()
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        import pickle

        try:
            self._draw()
            if not self._waiting:
                self.close()
                raise StopIteration
            wait([self._waiting[0]])
        except BaseException:
            self.close()
            raise
        is_result, value = pickle.loads(self._waiting.popleft().result())  # from a process of ours
        if is_result:
            result: R = value
            return result
        raise value

    def wait(self) -> None:
        """Until the first part is done. Raises UsageError where no worker takes it for PATIENCE seconds: Spark itself
        would wait for ever for a cluster without workers, or whose cores other applications hold."""
        self._draw()
        for waited in range(HINT, PATIENCE + 1, HINT):
            if wait([*self._waiting], timeout=HINT).done:
                return
            LOG.warning("%s (%d s)", NO_WORKER, waited)
        raise UsageError(
            NO_WORKER, "start workers, stop other applications, or give each fewer cores (spark.cores.max)"
        )

    def _draw(self) -> None:
        import cloudpickle

        while not self._ended and len(self._waiting) < self._ahead:
            try:
                part = cloudpickle.dumps(next(self._parts))
            except StopIteration:
                self._ended = True
                return
            self._waiting.append(self._pool.submit(self._compute, part))

    def _compute(self, part: bytes) -> bytes:
        if (context := context_of(self._session)) is not None:  # the tag is of this thread
            context.addJobTag(self._tag)
        else:
            self._session.addTag(self._tag)
        task = partial(_answers, self._function, part, self._threads)
        for again in (True, False):
            try:
                (row,) = self._session.range(0, 1, 1, 1).mapInArrow(task, "answer binary").collect()
                return bytes(row[0])
            except Exception as failure:
                if again and _failed_once(failure):
                    continue
                raise explained(failure, "compute a part") from failure
        raise AssertionError

    def close(self) -> None:
        """Ends the tasks that run; Spark kills their processes some seconds later."""
        self._ended = True
        running = [each for each in self._waiting if not each.cancel() and not each.done()]
        self._waiting.clear()
        while any(not each.done() for each in running):
            with suppress(Exception):  # the cluster may be gone
                if (context := context_of(self._session)) is not None:
                    context.cancelJobsWithTag(self._tag)
                else:
                    self._session.interruptTag(self._tag)
            wait(running, timeout=0.5)
        self._pool.shutdown(wait=False)


def context_of(session: SparkSession) -> Any:
    """The SparkContext of a session in this process, whose own tags cancel jobs; None: of Connect, the session's do."""
    return session.sparkContext if hasattr(session, "_jsparkSession") else None


def _answers(function: bytes, part: bytes, threads: int, batches: Iterable[Any]) -> Iterator[Any]:
    """In the worker's process: the answer to the part, as workers/process.py gives it."""
    import pyarrow as pa

    from lakewright.workers.process import answer

    for _ in batches:
        yield pa.RecordBatch.from_arrays([pa.array([answer(function, part, threads)], pa.binary())], ["answer"])


def _failed_once(failure: Exception) -> bool:
    """Whether a worker died, and Spark has not tried again (`local[n]` does not)."""
    return _died(str(failure)) and " failed 1 times" in str(failure)


def _died(message: str) -> bool:
    return any(
        part in message for part in ("Python worker exited unexpectedly", "ExecutorLostFailure", "worker crashed")
    )


def explained(failure: Exception, doing: str) -> LakewrightError:
    """The error of ours for one of Spark; `doing` says what it could not do."""
    message = str(failure)
    if missing := re.search(r"No module named '(\w+)", message):
        return UsageError(
            f"the workers do not have the package {missing[1]}",
            "install it there, or send this environment along: profiles.yml: workers: {archives: […], python: …}",
        )
    if "PYTHON_VERSION_MISMATCH" in message or "Python in worker has different version" in message:
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        return UsageError(
            f"the workers have another Python than {own}: {_short(failure)}",
            "name theirs in the profile: workers: {python: …}, or send this environment along (archives)",
        )
    if _died(message):
        return WorkerDied(
            f"a worker of Spark died, and so did those that tried again: {_short(failure)}",
            "give each task more memory, or run fewer at once (profiles.yml: workers: {processes: 1, config: "
            "{spark.executor.memory: …}})",
        )
    return LakewrightError(
        f"Spark could not {doing}: {_short(failure)}",
        "read the log of the driver and of the executors; run the same command again to go on",
    )


def _short(failure: Exception) -> str:
    """The first lines that say something, without the JVM's stack."""
    lines = [line.strip() for line in str(failure).splitlines() if line.strip() and not line.strip().startswith("at ")]
    return " ".join(lines)[:400]
