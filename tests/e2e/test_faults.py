"""The fault harness on the whole system, for half a minute: the long run is `make faults`."""

import pytest

from bench.faults.run import Options, run
from bench.faults.site import servers as fault_servers
from support import servers


@pytest.mark.timeout(300)  # sixteen starts of processes, on whatever machine
async def test_nothing_is_lost_while_services_are_killed_and_stopped() -> None:
    options = Options(seed=1, kills=4, seconds=12, settle=150, only=("kill", "kill_both", "term"))
    with (
        servers.guarded_folder() as folder,
        # What a killed dispatcher had in hand is taken up while the test waits.
        fault_servers(folder, TRUSTLENS_LEASE_SECONDS="5") as stack,
    ):
        done = await run(stack, options)
    assert done.verdict.findings == ()
    assert done.kills == 4
    assert done.verdict.statuses["delivered"] > 100
    assert [drain.code for drain in done.ledger.drains] == [0]
