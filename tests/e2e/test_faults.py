"""The fault harness on the whole system, for half a minute: the long run is `make faults`."""

from collections.abc import Iterator

import pytest

from bench.faults import site
from bench.faults.run import Options, run
from local_stack.stack import Stack
from support import servers

pytestmark = pytest.mark.timeout(300)  # sixteen starts of processes, on whatever machine


@pytest.fixture
def two_of_each() -> Iterator[Stack]:
    """Servers for two processes of each service. What a killed dispatcher had in hand is taken up within 5 s."""
    with servers.guarded_folder() as folder, site.servers(folder, TRUSTLENS_LEASE_SECONDS="5") as stack:
        yield stack


async def test_nothing_is_lost_while_services_are_killed_and_stopped(two_of_each: Stack) -> None:
    options = Options(seed=1, kills=4, seconds=12, settle=150, only=("kill", "kill_both", "term"))
    done = await run(two_of_each, options)
    assert done.verdict.findings == ()
    assert done.kills == 4
    assert done.verdict.statuses["delivered"] > 100
    assert [drain.code for drain in done.ledger.drains] == [0]
