"""A store in a server of Redis or Valkey.

Each table is one hash: `lakewright:main.shop.daily`, with a field for each key, beside `…:about`. A table is written
into a hash of another name, which takes the place of the former one in the same transaction as its description.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, SecretStr

from lakewright.data.features.online import Entry, Published, check_order
from lakewright.errors import MissingPackage, NoStore
from lakewright.settings.profile import StoreSettings

if TYPE_CHECKING:
    from redis import Redis

PREFIX = "lakewright:"
ABOUT = ":about"
UNFINISHED = 24 * 3600  # seconds after which what a killed process wrote is deleted


class RedisStoreSettings(StoreSettings):
    name: Literal["redis"] = "redis"
    url: SecretStr = Field(description="redis://HOST:6379/0, rediss://… or unix://…; ${env:NAME} for a password")
    seconds: float = Field(default=1.0, gt=0, description="seconds to wait for an answer of the server")


class RedisStore:
    settings: ClassVar[type[StoreSettings]] = RedisStoreSettings
    remote: ClassVar[bool] = True

    def __init__(self, client: Redis, place: str) -> None:
        self.client = client
        self.place = place  # without its password

    @classmethod
    def open(cls, settings: RedisStoreSettings, folder: Path) -> Self:
        try:
            from redis import Redis
            from redis.exceptions import RedisError
        except ImportError:
            raise MissingPackage("redis", "redis") from None
        url = settings.url.get_secret_value()
        scheme, _, rest = url.partition("://")
        place = f"{scheme}://{rest.rpartition('@')[2]}"
        try:
            client = Redis.from_url(url, socket_timeout=settings.seconds, socket_connect_timeout=settings.seconds)
        except (RedisError, ValueError) as failure:
            raise NoStore(f"{place} is no address of Redis: {failure}", "write redis://HOST:6379/0") from None
        return cls(client, place)

    def replace(self, table: str, entries: Iterable[Sequence[Entry]], about: Mapping[str, Any]) -> Published:
        unfinished, count = f"{PREFIX}{table}:next:{uuid.uuid4().hex}", 0
        with self._answering():
            check_order(self.published(table), about)
            try:
                for batch in entries:
                    with self.client.pipeline(transaction=False) as pipe:
                        pipe.hset(unfinished, mapping=dict(batch))
                        pipe.expire(unfinished, UNFINISHED)
                        pipe.execute()
                    count += len(batch)
                published = Published(**about, entries=count)
                self.client.transaction(
                    lambda pipe: self._put(pipe, table, unfinished, published), PREFIX + table + ABOUT
                )
            except BaseException:
                self.client.unlink(unfinished)
                raise
        return published

    def _put(self, pipe: Any, table: str, unfinished: str, published: Published) -> None:
        """Raises Superseded where another process published what was known later."""
        current = pipe.get(PREFIX + table + ABOUT)
        check_order(None if current is None else Published.model_validate_json(current), published.model_dump())
        pipe.multi()
        if published.entries:
            pipe.persist(unfinished)
            pipe.unlink(PREFIX + table)  # a RENAME alone would delete it while everybody waits
            pipe.execute_command("RENAME", unfinished, PREFIX + table)
        else:
            pipe.unlink(PREFIX + table)
        pipe.set(PREFIX + table + ABOUT, published.model_dump_json())

    def published(self, table: str) -> Published | None:
        with self._answering():
            about: Any = self.client.get(PREFIX + table + ABOUT)
        return None if about is None else Published.model_validate_json(about)

    def tables(self) -> Sequence[Published]:
        with self._answering():
            names = sorted(self.client.scan_iter(f"{PREFIX}*{ABOUT}", count=1000))
            found: Any = self.client.mget(names) if names else []
        return [Published.model_validate_json(about) for about in found if about is not None]

    def get(self, table: str, keys: Sequence[str]) -> list[bytes | None]:
        with self._answering():
            if len(keys) == 1:
                one: Any = self.client.hget(PREFIX + table, keys[0])
                return [one]
            several: Any = self.client.hmget(PREFIX + table, list(keys)) if keys else []
            return list(several)

    def remove(self, table: str) -> bool:
        with self._answering():
            return bool(self.client.unlink(PREFIX + table, PREFIX + table + ABOUT))

    @contextmanager
    def _answering(self) -> Iterator[None]:
        from redis.exceptions import RedisError

        try:
            yield
        except RedisError as failure:
            raise NoStore(
                f"the online store {self.place} does not answer: {failure}",
                "start it, or name another one in profiles.yml (online: {name: redis, url: …})",
            ) from failure
