"""What a service's process asks of its system."""

import resource
from collections.abc import Iterator

import pytest

from shared.service import _open_many


@pytest.fixture
def limit() -> Iterator[tuple[int, int]]:
    """Of open files: ours, and the system's for us."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_service_may_open_as_many_connections_as_its_system_lets_it(limit: tuple[int, int]) -> None:
    _, most = limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, most))
    _open_many()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
