"""Who may send requests, and how often: API keys, stored as hashes; tokens of an identity provider; a rate."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import ipaddress
import json
import logging
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lakewright.errors import UsageError, nearest
from lakewright.service.server.refusals import Busy, NoKey
from lakewright.settings.profile import Oidc
from lakewright.system.files import whole

LOG = logging.getLogger(__name__)
NAME = re.compile(r"[\w.@-]{1,64}", re.ASCII)
ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
]  # public keys only
REFRESH = 60.0  # least seconds between two readings of the provider's keys, also if unknown keys arrive
CALLERS = 10_000  # most callers whose rates are remembered
SUBJECT = 255  # characters, at most: OpenID Connect Core, 2


@dataclass(frozen=True)
class Key:
    name: str
    sha256: str
    """Of the key; the key itself is not stored."""
    made: str


KEYS = TypeAdapter(list[Key])


def add_key(file: Path, name: str) -> str:
    """A new key; its hash is added to the file. The key cannot be shown again."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot name a key", "use up to 64 letters, digits and _ . @ -")
    with _changing(file):
        keys = read_keys(file)
        if any(key.name == name for key in keys):
            remedy = f"use another name, or: lakewright keys remove {name}"
            raise UsageError(f"{file} has a key {name!r} already", remedy)
        secret = f"lw_{secrets.token_urlsafe(32)}"
        _write(file, [*keys, Key(name, _hash(secret), datetime.now(UTC).isoformat(timespec="seconds"))])
    return secret


def remove_key(file: Path, name: str) -> None:
    """From now on the key is not valid: running servers read the file every second."""
    with _changing(file):
        keys = read_keys(file)
        if not any(key.name == name for key in keys):
            raise UsageError(f"{file} has no key {name!r}", nearest(name, [key.name for key in keys]))
        _write(file, [key for key in keys if key.name != name])


def read_keys(file: Path) -> list[Key]:
    """The keys; none if the file does not exist. Raises UsageError if it cannot be read or holds something else."""
    try:
        return KEYS.validate_json(file.read_bytes(), strict=True)
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise UsageError(f"{file} cannot be read: {failure.strerror}", "allow this user to read it") from None
    except ValueError:
        raise UsageError(f"{file} holds no API keys", "restore it, or remove it and make new ones") from None


@contextmanager
def _changing(file: Path) -> Iterator[None]:
    """One process at a time reads and rewrites the file; the system releases the lock when a process ends."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(file: Path, keys: list[Key]) -> None:
    """Writes the whole file or nothing; only the owner can read it."""
    with whole(file) as draft:
        draft.touch(mode=0o600)
        draft.write_text(json.dumps([vars(key) for key in keys], indent=2) + "\n", encoding="utf-8")


def _hash(key: str) -> str:
    """The keys are 256 random bits, so a fast hash is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def is_public(host: str) -> bool:
    """Whether other machines can reach this address."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"


class Access:
    """Identifies callers: by an API key's name, by a token's subject, or as "" if neither is needed."""

    def __init__(self, keys: Path, oidc: Oidc | None, needed: bool = False) -> None:
        """`needed`: a key is needed even if the file does not exist."""
        self._file, self._looked, self._changed = keys, -1.0, (0, 0)
        self._refused: tuple[int, int] | None = None  # the state of the file that could not be read, once logged
        self._keys: dict[str, str] = {}  # hash → name
        self._had = needed
        self._provider = Provider(oidc) if oidc else None
        self._look()

    @property
    def needed(self) -> bool:
        """Once the file of keys existed, a key is needed, also after the last key is removed or the file is damaged."""
        return self._had or self._provider is not None

    async def who(self, headers: Mapping[bytes, bytes]) -> str:
        """The caller's name. Raises NoKey."""
        if time.monotonic() - self._looked > 1:
            self._look()
        if not self.needed:
            return ""
        scheme, _, bearer = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        key = headers.get(b"x-api-key", b"").decode("latin-1") or (bearer.strip() if scheme.lower() == "bearer" else "")
        if not key:
            raise NoKey("the request has no API key", "send the header Authorization: Bearer KEY, or X-API-Key: KEY")
        name = self._keys.get(_hash(key))  # the time of looking up a hash reveals nothing about the key
        if name is None and self._provider is not None:
            name = await self._provider.subject(key)
        if name is None:
            raise NoKey("the API key or token is not valid", "request a new one")
        return name

    def _look(self) -> None:
        self._looked = time.monotonic()
        try:
            status = self._file.stat()
            changed = status.st_ino, status.st_ctime_ns
        except FileNotFoundError:
            changed = 0, 0
        except OSError:  # the file exists
            changed = 0, 1
        if changed == self._changed:
            return
        self._had = True
        try:
            self._keys = {key.sha256: key.name for key in read_keys(self._file)}
            self._changed, self._refused = changed, None
        except UsageError as failure:  # it is read again a second later
            self._keys = {}
            if changed != self._refused:
                LOG.error("a key is needed, and no key is valid: %s", " → ".join(str(failure).splitlines()))
            self._refused = changed


class Provider:
    """An identity provider's tokens (JWT, RFC 7519), checked by its public keys (JWKS, RFC 7517)."""

    def __init__(self, oidc: Oidc) -> None:
        self._oidc = oidc
        self._keys: dict[str, Any] = {}  # kid → key
        self._looked = -REFRESH
        self._looking = asyncio.Lock()

    async def subject(self, token: str) -> str | None:
        """The subject of a valid token; None for any other token."""
        import jwt

        try:
            kid = str(jwt.get_unverified_header(token).get("kid", ""))
            if kid not in self._keys:
                await self._look()
            claims = jwt.decode(
                token,
                self._keys[kid],
                algorithms=ALGORITHMS,
                audience=self._oidc.audience,
                issuer=self._oidc.issuer,
                options={"require": ["exp", "iss", "aud", "sub"]},
                leeway=30,
            )
        except (jwt.PyJWTError, KeyError, ValueError, TypeError, ArithmeticError, RecursionError):
            return None  # whatever a token holds
        subject = str(claims["sub"])
        return subject if subject.isprintable() and len(subject) <= SUBJECT else None

    async def _look(self) -> None:
        async with self._looking:
            if time.monotonic() - self._looked < REFRESH:
                return
            self._looked = time.monotonic()
            try:
                self._keys = await asyncio.to_thread(_public_keys, self._oidc.keys)
            except Exception as failure:  # whatever the provider answers
                LOG.warning("the keys at %s could not be read, the last ones stay valid: %s", self._oidc.keys, failure)


def _public_keys(address: str) -> dict[str, Any]:
    """The provider's keys by id. Raises OSError, ValueError."""
    from urllib.request import urlopen

    import jwt

    if address.startswith("https://"):
        with urlopen(address, timeout=10) as answer:
            text = answer.read(1 << 20)
    else:
        text = Path(address).read_bytes()
    try:
        return {str(key.key_id or ""): key for key in jwt.PyJWKSet.from_dict(json.loads(text)).keys}
    except jwt.PyJWTError as failure:
        raise ValueError(str(failure)) from None


class Rates:
    """Requests a second for each caller: a bucket that holds `burst` tokens and fills by itself (token bucket)."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate, self._burst = rate, float(burst)
        self._left: dict[str, tuple[float, float]] = {}  # caller → tokens, when

    def take(self, caller: str) -> None:
        """Takes one token. Raises Busy if the bucket is empty."""
        now = time.monotonic()
        tokens, when = self._left.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        self._left[caller] = (tokens - 1 if tokens >= 1 else tokens), now
        if len(self._left) > CALLERS:  # drop the caller of the oldest request; its bucket is nearly full
            self._left.pop(next(iter(self._left)))
        if tokens < 1:
            raise Busy(f"more than {self._rate:g} requests a second", (1 - tokens) / self._rate)
