"""The running API against its own description: schemathesis looks for what one does and the other does not say."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from api.settings import ApiSettings
from api.stores import CreatedStore
from shared.broker import Broker
from shared.secrets import Vault
from support import whole_api
from support.api_client import ApiClient

CONFIG = Path(whole_api.__file__).with_name("schemathesis.toml")


@pytest.fixture
async def whole(
    api_settings: ApiSettings, api_store: CreatedStore, pool: asyncpg.Pool, broker: Broker, vault: Vault
) -> AsyncIterator[ApiClient]:
    patient = api_settings.model_copy(update={"command_seconds": 30})  # a 503 of a slow machine is no finding
    async with whole_api.opened(patient, api_store, pool, broker, vault) as api:
        await whole_api.stocked(api, pool, broker)
        yield api


@pytest.mark.timeout(600)
async def test_schemathesis_finds_nothing(whole: ApiClient, tmp_path: Path) -> None:
    asked = [f"{whole.origin}/openapi.json", "--header", f"X-TrustLens-API-Key: {whole.store.api_key}"]
    command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "--config-file", str(CONFIG), "run", *asked]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, told.decode()
