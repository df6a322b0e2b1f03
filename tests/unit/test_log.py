"""How a process that cannot go on says so: in a line like all others, without what its errors repeat."""

import json
import subprocess
import sys
from typing import Any

import pytest

PROCESS = """
import asyncio, sys
from shared.db import SchemaTooOldError
from shared.service import main
from shared.settings import Settings

async def run(settings: Settings, stop: asyncio.Event) -> None:
    try:
        raise {error}
    except Exception as error:
        raise ExceptionGroup("tasks", [error]) from None

main("scorer", Settings, run)
"""
ENVIRONMENT = {
    "TRUSTLENS_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
    "TRUSTLENS_AMQP_URL": "amqp://127.0.0.1:1",
    "TRUSTLENS_SECRET_KEYS": "x" * 43 + "=",
}


def last_words(error: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the last line, and what was written elsewhere."""
    command = [sys.executable, "-c", PROCESS.format(error=error)]
    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1]), ended.stderr


def test_a_service_that_fails_says_where_but_not_of_whom() -> None:
    code, told, elsewhere = last_words("KeyError('jane@example.com')")
    assert (code, told["event"], told["level"], told["error"]) == (1, "service.failed", "error", "KeyError")
    assert "in run" in told["trace"]
    assert "jane" not in str(told) + elsewhere


@pytest.mark.parametrize(
    "error", ["SchemaTooOldError('run `trustlens migrate`')", "OSError('run `trustlens migrate`')"]
)
def test_what_is_wrong_with_an_installation_is_said_in_words(error: str) -> None:
    assert last_words(error)[1]["why"] == "run `trustlens migrate`"
