"""Ports: chosen free once, then remembered, so that addresses outlive a restart."""

import json
import random
import socket
import time
from collections.abc import Sequence

from local_stack.errors import StackError
from local_stack.folder import Folder, write_private

# Below the range from which Linux and others take the ports of outgoing connections:
# while the stack is down, no client can sit on a remembered port by chance.
CANDIDATES = range(20000, 32768)
LET_GO_SECONDS = 2.0
POLL_SECONDS = 0.05


def remembered(folder: Folder, names: Sequence[str]) -> dict[str, int]:
    """The port of each name; a name that has none yet gets a free one."""
    path = folder.path / "ports.json"
    known: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    new = [name for name in names if name not in known]
    if new:
        known |= dict(zip(new, _choose(len(new), taken=set(known.values())), strict=True))
        write_private(path, json.dumps(known, indent=2) + "\n")
    return {name: known[name] for name in names}


def require_free(folder: Folder, name: str, port: int) -> None:
    """Before a start. Not chosen anew: scripts and webhook settings rely on the remembered address.

    A process that was killed just now may be known to be dead, and its threads hold the port for a moment longer.
    """
    deadline = time.monotonic() + LET_GO_SECONDS
    while not is_free(port) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if not is_free(port):
        raise StackError(
            f"Port {port} of {name} is taken by another process: end that process, "
            f"or run `make down`, delete {folder.path / 'ports.json'} and start again on new ports."
        )


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do it: connections of a former life in TIME_WAIT do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _choose(count: int, *, taken: set[int]) -> list[int]:
    chosen: list[int] = []
    for port in random.sample(CANDIDATES, len(CANDIDATES)):
        if len(chosen) == count:
            return chosen
        if port not in taken and is_free(port):
            chosen.append(port)
    raise StackError(f"No {count} free ports between {CANDIDATES.start} and {CANDIDATES.stop}: end some programs.")
