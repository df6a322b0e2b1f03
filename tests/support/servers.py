"""A real Postgres and a private RabbitMQ node for one test run."""

import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

from local_stack.folder import CHECKOUT, Folder
from local_stack.postgres import DATABASE
from local_stack.stack import Stack
from support import guard

# A test's data may be lost with the machine; waiting for the disk is most of what a small test costs.
POSTGRES_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def guarded_folder(parent: Path = CHECKOUT / ".local" / "test") -> Iterator[Folder]:
    """An empty folder for a stack; whatever is started in it ends with the test run, even if that is killed."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent))
    folder.chmod(0o755)  # Postgres runs as another user when the tests run as root
    with subprocess.Popen(
        [sys.executable, guard.__file__, str(folder)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the tests; the guard comes after them
    ):
        yield Folder(folder)


@contextmanager
def guarded_stack(**variables: str) -> Iterator[Stack]:
    """A stack of which nothing runs yet, with these variables in its environment; a test starts what it needs."""
    with guarded_folder() as folder:
        yield Stack(folder, environ={**without_trustlens(), **variables}, postgres_settings=POSTGRES_SETTINGS)


def without_trustlens() -> dict[str, str]:
    """The environment as somebody has it who has configured nothing."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TRUSTLENS_")}


@asynccontextmanager
async def copied_database(stack: Stack) -> AsyncIterator[str]:
    """The URL of a new database, copied from the stack's own, which is migrated, without rows, and never used."""
    name = f"test_{uuid4().hex}"
    administrator = await asyncpg.connect(_url(stack, "postgres"))
    try:
        await administrator.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE}")
        yield _url(stack, name)
        await administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await administrator.close()


def _url(stack: Stack, database: str) -> str:
    return f"{stack.postgres.url.rpartition('/')[0]}/{database}"
