"""Stores and API keys: tables of the api. Secrets are sealed, keys kept as SHA-256; both are shown once."""

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import UUID

import asyncpg

from api.paging import Page
from api.schemas import ApiKey, shop_address
from api.scopes import Scope
from shared.db import Connection, Pool
from shared.ids import uuid7
from shared.secrets import NoKeyError, Vault, generate
from shared.targets import MASK

PREFIX_LENGTH = 11
"""`tl_` and eight characters: enough to tell keys apart, 210 bits short of the key."""


@dataclass(frozen=True, slots=True)
class CreatedStore:
    """A new store with its secrets, which nothing can show again."""

    id: UUID
    api_key: str = field(repr=False)
    woocommerce_secret: str = field(repr=False)
    stripe_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class CreatedKey:
    id: UUID
    key: str = field(repr=False)
    prefix: str


@dataclass(frozen=True, slots=True)
class Store:
    id: UUID
    name: str
    url: str
    enforce_blocking: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is not revoked."""

    id: UUID
    store_id: UUID
    name: str
    scopes: frozenset[str]
    prefix: str
    sha256: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoreSecrets:
    """Opened."""

    store_id: UUID
    hash_key: bytes = field(repr=False)
    woocommerce_secret: str = field(repr=False)
    stripe_secret: str = field(repr=False)


def key_digest(key: str) -> bytes:
    """How a key is kept and looked up."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


async def find_key(pool: Pool, sha256: bytes) -> Key | None:
    row = await pool.fetchrow(
        "SELECT id, store_id, name, scopes, prefix, sha256 FROM api.keys WHERE sha256 = $1 AND revoked_at IS NULL",
        sha256,
    )
    return row and Key(**{**row, "scopes": frozenset(row["scopes"])})


async def find_secrets(pool: Pool, vault: Vault, store_id: UUID) -> StoreSecrets | None:
    row = await pool.fetchrow(
        "SELECT hash_key, woocommerce_secret, stripe_secret FROM api.stores WHERE id = $1", store_id
    )
    if row is None:
        return None
    hash_key, woocommerce_secret, stripe_secret = (vault.open(sealed) for sealed in row)
    return StoreSecrets(store_id, hash_key, woocommerce_secret.decode(), stripe_secret.decode())


async def create_store(
    conn: asyncpg.Connection, vault: Vault, *, url: str, name: str, given: CreatedStore | None = None
) -> CreatedStore:
    """A store with its hash key and secrets, and one key that may do everything; `given` or made here.

    Raises:
        ValueError: the URL is no http(s) address, or the name is empty.
    """
    _check_site(url, name)
    made = given or CreatedStore(uuid7(), generate("tl_"), generate(), generate("whsec_"))
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO api.stores (id, name, url, hash_key, woocommerce_secret, stripe_secret, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            made.id,
            name,
            url,
            vault.seal(secrets.token_bytes(32)),
            vault.seal(made.woocommerce_secret.encode()),
            vault.seal(made.stripe_secret.encode()),
            datetime.now(UTC),
        )
        await create_key(conn, made.id, name="first key", scopes=get_args(Scope), key=made.api_key)
    return made


async def renew_woocommerce_secret(connection: asyncpg.Connection, vault: Vault, store_id: UUID) -> str:
    """A new one; from now on, within the age that secrets in memory may have, the old one verifies nothing.

    Raises:
        LookupError: there is no such store.
    """
    made = generate()
    done = await connection.execute(
        "UPDATE api.stores SET woocommerce_secret = $2 WHERE id = $1", store_id, vault.seal(made.encode())
    )
    if done != "UPDATE 1":
        raise LookupError("there is no such store: `trustlens stores list` shows those there are")
    return made


def _check_site(url: str, name: str) -> None:
    try:
        shop_address(url)
    except ValueError as error:
        raise ValueError(f"{url!r} {error}") from None
    if not name.strip():
        raise ValueError("a store needs a name")


_STORE = "id, name, url, enforce_blocking, created_at"


async def list_stores(conn: asyncpg.Connection) -> list[Store]:
    """All of them, the oldest first."""
    rows = await conn.fetch(f"SELECT {_STORE} FROM api.stores ORDER BY created_at, id")
    return [Store(**row) for row in rows]


async def find_store(pool: Pool, store_id: UUID) -> Store | None:
    row = await pool.fetchrow(f"SELECT {_STORE} FROM api.stores WHERE id = $1", store_id)
    return row and Store(**row)


async def find_means(pool: Pool, vault: Vault, store_id: UUID) -> dict[str, dict[str, Any] | None]:
    """What reaches the store's own servers, without what proves that we may: smtp, woocommerce."""
    row = await pool.fetchrow("SELECT smtp, woocommerce_api FROM api.stores WHERE id = $1", store_id)
    shown = {"smtp": row["smtp"], "woocommerce": row["woocommerce_api"]} if row else {}
    return {name: _masked(json.loads(vault.open(sealed))) if sealed else None for name, sealed in shown.items()}


def _masked(means: Mapping[str, Any]) -> dict[str, Any]:
    return {name: MASK if name in {"password", "secret"} and value else value for name, value in means.items()}


@dataclass(frozen=True, slots=True)
class RestAccess:
    """How a store's own REST API is reached."""

    url: str
    key: str
    secret: str = field(repr=False)


async def find_rest_access(pool: Pool, vault: Vault, store_id: UUID) -> RestAccess | None:
    """None: no key of the store's was saved."""
    row = await pool.fetchrow("SELECT url, woocommerce_api FROM api.stores WHERE id = $1", store_id)
    if row is None or row["woocommerce_api"] is None:
        return None
    means = json.loads(vault.open(row["woocommerce_api"]))
    return RestAccess(row["url"], means["key"], means["secret"])


def seal_access(vault: Vault, access: RestAccess) -> str:
    """As a job carries it until the store has taken it."""
    return vault.seal(json.dumps([access.url, access.key, access.secret]).encode()).decode()


def open_access(vault: Vault, sealed: str) -> RestAccess | None:
    """None: it was sealed with a key that is none of ours any more."""
    try:
        return RestAccess(*json.loads(vault.open(sealed.encode())))
    except NoKeyError:
        return None


async def save_settings(pool: Pool | Connection, vault: Vault, store_id: UUID, changes: Mapping[str, Any]) -> None:
    """`name`, `url`, `enforce_blocking`; sealed: `stripe_secret`, and `smtp` and `woocommerce`, which None forgets.

    The revision tells every dispatcher.
    """
    if not changes:
        return
    columns = [_COLUMNS.get(name, name) for name in changes]
    assignments = ", ".join(f"{column} = ${place}" for place, column in enumerate(columns, 2))
    values = [_sealed(vault, value) if name in _COLUMNS else value for name, value in changes.items()]
    await pool.execute(f"UPDATE api.stores SET {assignments}, revision = revision + 1 WHERE id = $1", store_id, *values)


_COLUMNS = {"smtp": "smtp", "woocommerce": "woocommerce_api", "stripe_secret": "stripe_secret"}
"""Of what is sealed."""


def _sealed(vault: Vault, means: Mapping[str, Any] | str | None) -> bytes | None:
    if isinstance(means, str):
        return vault.seal(means.encode())
    return vault.seal(json.dumps(dict(means)).encode()) if means else None


async def create_key(
    conn: asyncpg.Connection, store_id: UUID, *, name: str, scopes: Sequence[str], key: str | None = None
) -> CreatedKey:
    """`key` is generated if it is not given.

    Raises:
        ValueError: no scope, or an unknown one.
        LookupError: there is no such store.
    """
    if unknown := set(scopes) - set(get_args(Scope)):
        raise ValueError(f"unknown scope: {', '.join(sorted(unknown))}; there are {', '.join(get_args(Scope))}")
    if not scopes:
        raise ValueError("a key needs at least one scope")
    key = key or generate("tl_")
    created = CreatedKey(uuid7(), key, key[:PREFIX_LENGTH])
    try:
        await conn.execute(
            "INSERT INTO api.keys (id, store_id, name, scopes, prefix, sha256, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            created.id,
            store_id,
            name,
            sorted(set(scopes)),
            created.prefix,
            key_digest(key),
            datetime.now(UTC),
        )
    except asyncpg.ForeignKeyViolationError:
        raise LookupError(f"there is no store {store_id}") from None
    return created


async def list_keys(connection: Connection | Pool, store_id: UUID, page: Page) -> tuple[list[ApiKey], int]:
    """A page of a store's keys, also of those that were revoked, the newest first, and how many there are."""
    rows = await connection.fetch(
        "SELECT id, name, scopes, prefix, created_at, last_used_at, revoked_at FROM api.keys WHERE store_id = $1"
        " ORDER BY created_at DESC, id DESC LIMIT $2 OFFSET $3",
        store_id,
        page.size,
        page.offset,
    )
    total = await connection.fetchval("SELECT count(*) FROM api.keys WHERE store_id = $1", store_id)
    return [ApiKey(**row) for row in rows], total


async def find_key_id(connection: Connection, store_id: UUID, given: str) -> UUID | None:
    """By id or prefix."""
    found: UUID | None = await connection.fetchval(
        "SELECT id FROM api.keys WHERE store_id = $1 AND (id::text = lower($2) OR prefix = $2)", store_id, given
    )
    return found


class LastKeyError(Exception):
    """Without this key nobody could manage keys over the API any more."""


async def revoke_key(
    connection: Connection, store_id: UUID, key_id: UUID, now: datetime, *, keep_an_admin: bool
) -> bytes | None:
    """From now on, or since when it was; its SHA-256, or None: the store has no such key.

    Raises:
        LastKeyError: it is the last with the scope admin, and one is to be kept.
    """
    async with connection.transaction():
        # Two that revoke each other take turns, so that the second sees what the first left.
        await connection.execute("SELECT FROM api.stores WHERE id = $1 FOR UPDATE", store_id)
        if keep_an_admin and await _is_last_admin(connection, store_id, key_id):
            raise LastKeyError
        sha256: bytes | None = await connection.fetchval(
            "UPDATE api.keys SET revoked_at = coalesce(revoked_at, $3) WHERE id = $2 AND store_id = $1"
            " RETURNING sha256",
            store_id,
            key_id,
            now,
        )
    return sha256


async def _is_last_admin(connection: Connection, store_id: UUID, key_id: UUID) -> bool:
    admins = await connection.fetch(
        "SELECT id FROM api.keys WHERE store_id = $1 AND revoked_at IS NULL AND 'admin' = ANY (scopes)", store_id
    )
    return [row["id"] for row in admins] == [key_id]


async def save_last_used(pool: Pool, used: Mapping[UUID, datetime]) -> None:
    """The later time wins, whichever replica comes last."""
    await pool.execute(
        "UPDATE api.keys SET last_used_at = greatest(last_used_at, at)"
        " FROM unnest($1::uuid[], $2::timestamptz[]) AS used (key_id, at) WHERE id = key_id",
        list(used),
        list(used.values()),
    )
