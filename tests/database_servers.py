"""Servers of PostgreSQL and MariaDB on this machine, from Debian."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START = 120.0  # seconds, on a busy machine
PASSWORD = "geheim-und-lang-7"
NOBODY = "nobody" if os.geteuid() == 0 else None  # the servers refuse to run as root


def _programs() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return places[-1].parent if places else None


def why_not_postgresql() -> str:
    """Why it cannot run here; empty: it can."""
    return "" if _programs() else "there is no PostgreSQL: make postgresql"


def _mariadbd() -> str | None:
    return shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")


def why_not_mariadb() -> str:
    return "" if _mariadbd() else "there is no MariaDB: make mariadb"


@dataclass
class Server:
    kind: str
    command: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> str:
        """Its address, up to the database."""
        return f"{self.kind}://tester@127.0.0.1:{self.port}/shop"

    @property
    def secrets(self) -> dict[str, str]:
        return {("PGPASSWORD" if self.kind == "postgresql" else "MYSQL_PASSWORD"): PASSWORD}

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=NOBODY, start_new_session=True
        )
        until = time.monotonic() + START
        while True:
            try:
                self.connected("").close()
                return
            except Exception:
                assert self.process.poll() is None and time.monotonic() < until, f"{self.command[0]} did not start"
                time.sleep(0.1)

    def stop(self) -> None:
        """At once, as where its machine goes down."""
        assert self.process is not None
        if self.kind == "postgresql":
            self.process.send_signal(3)  # immediate shutdown, of its children too
        else:
            self.process.kill()
        self.process.wait()

    def connected(self, database: str = "shop") -> Any:
        if self.kind == "postgresql":
            import adbc_driver_postgresql.dbapi

            return adbc_driver_postgresql.dbapi.connect(
                f"postgresql://tester@127.0.0.1:{self.port}/{database or 'postgres'}?password={PASSWORD}"
            )
        import pymysql

        return pymysql.connect(
            host="127.0.0.1", port=self.port, user="tester", password=PASSWORD, database=database or None
        )

    def sql(self, *statements: str, database: str = "shop") -> list[tuple[Any, ...]]:
        """Runs them in one transaction; the rows of the last one."""
        with closing(self.connected(database)) as connection, closing(connection.cursor()) as cursor:
            for statement in statements[:-1]:
                cursor.execute(statement)
            cursor.execute(statements[-1])
            rows = list(cursor.fetchall()) if statements[-1].lstrip().startswith("select") else []
            connection.commit()
        return rows


def _free() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _folder() -> Iterator[Path]:
    """Short, as a socket's path is, and of whom the server runs as."""
    folder = Path(tempfile.mkdtemp(prefix="lw-"))
    if NOBODY:
        shutil.chown(folder, NOBODY)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql() -> Iterator[Server]:
    """With an empty database `shop`, whose user `tester` has a password."""
    programs = _programs()
    assert programs is not None
    with _folder() as folder:
        password = folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["--username=tester", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        made = [str(programs / "initdb"), f"--pgdata={folder / 'data'}", "--locale=C.UTF-8", *options]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=NOBODY, cwd=folder)
        port = _free()
        settings = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off"]
        command = [str(programs / "postgres"), "-D", str(folder / "data")]
        server = Server("postgresql", [*command, *(word for each in settings for word in ("-c", each))], port)
        try:
            server.start()
            with closing(server.connected("")) as connection, closing(connection.cursor()) as cursor:
                connection.adbc_connection.set_autocommit(True)
                cursor.execute("create database shop")
            yield server
        finally:
            server.stop()


@contextmanager
def mariadb() -> Iterator[Server]:
    with _folder() as folder:
        data, port = folder / "data", _free()
        made = [
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={data}",
            "--skip-test-db",
        ]  # nor users without a name
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=NOBODY, cwd=folder)
        first = folder / "first.sql"
        first.write_text(
            "create database if not exists shop character set utf8mb4;\n"
            f"create user if not exists tester@'%' identified by '{PASSWORD}';\n"
            "grant all on *.* to tester@'%';\n"
        )
        command = [str(_mariadbd()), "--no-defaults", f"--datadir={data}", f"--socket={folder / 's'}", f"--port={port}"]
        server = Server("mysql", [*command, "--bind-address=127.0.0.1", f"--init-file={first}"], port)
        try:
            server.start()
            yield server
        finally:
            server.stop()
