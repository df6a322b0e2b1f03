"""The whole system as processes, once for all end-to-end tests."""

from collections.abc import Iterator, Mapping

import pytest

from cli.stack_env import parse
from local_stack.stack import Stack
from support import servers


@pytest.fixture(scope="session")
def stack_up() -> Iterator[Stack]:
    """Rule webhooks are retried after one second, and a killed dispatcher's leases run out after twenty."""
    with servers.guarded_stack(TRUSTLENS_RETRY_DELAYS="1,1,1", TRUSTLENS_LEASE_SECONDS="20") as stack:
        stack.up()
        yield stack


@pytest.fixture(scope="session")
def road(stack_up: Stack) -> Mapping[str, str]:
    """The values of its stack.env."""
    return parse(stack_up.folder.stack_env.read_text(encoding="utf-8"))
