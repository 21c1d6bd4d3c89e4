"""What the address of a database names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from lakewright.errors import UsageError
from lakewright.system.secrets import secret_in

# Of each: the storage options that hold the user and the password
KINDS = {
    "postgresql": ("PGUSER", "PGPASSWORD"),
    "redshift": ("REDSHIFT_USER", "REDSHIFT_PASSWORD"),
    "mysql": ("MYSQL_USER", "MYSQL_PASSWORD"),
}

# Where a server does not answer
AGAIN = "check that it runs, and the address; then run the command again: it goes on where it stopped"


@dataclass(frozen=True)
class Address:
    kind: str
    server: str  # [USER@]HOST[:PORT], as written
    database: str
    table: tuple[str, ...]  # its schema and its name, the name alone, or nothing
    parameters: tuple[tuple[str, str], ...]  # of the connection

    def __str__(self) -> str:
        """For messages, records and commits."""
        return "/".join((f"{self.kind}://{self.server}", self.database, *([self.name] if self.table else [])))

    @property
    def name(self) -> str:
        return ".".join(self.table)

    @property
    def remedy(self) -> str:
        return _remedy(self.kind)

    def credentials(self, secrets: Mapping[str, str]) -> dict[str, str]:
        """The `user`, unless the address names one, and the `password`, where the storage options have them."""
        keys = {"user": "" if "@" in self.server else KINDS[self.kind][0], "password": KINDS[self.kind][1]}
        return {name: secrets[key] for name, key in keys.items() if secrets.get(key)}

    @classmethod
    def parse(cls, text: str) -> Address:
        """Raises UsageError for an address of another form, or with a password."""
        kind, _, rest = text.partition("://")
        form = f"{kind}://USER@HOST/DATABASE/" + ("TABLE" if kind == "mysql" else "SCHEMA.TABLE")
        if secret_in(text):
            raise UsageError(
                f"the address of a database holds a password: {kind}://***",
                f"write {form}, and the password into profiles.yml: {_remedy(kind)}",
            )
        if kind not in KINDS:
            raise UsageError(f"there is no database {kind!r}", f"known: {', '.join(KINDS)}")
        split = urlsplit(f"postgresql://{rest}")
        database, _, table = split.path.removeprefix("/").rstrip("/").partition("/")
        if not database or "/" in table:
            raise UsageError(f"{text} names no database", f"write {form}")
        names = tuple(unquote(name) for name in (table.split(".", 1) if kind != "mysql" else [table]) if name)
        return cls(kind, split.netloc, unquote(database), names, tuple(parse_qsl(split.query)))


def is_database(text: str) -> bool:
    return text.partition("://")[0] in KINDS and "://" in text


def _remedy(kind: str) -> str:
    name = KINDS[kind][1] if kind in KINDS else "PGPASSWORD"
    return f"storage_options: {{{name}: ${{env:{name}}}}}"
