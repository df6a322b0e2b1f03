"""Ends the servers of a test run when the run ends, in whatever way: run as a process of its own.

Its standard input is a pipe that only the test run holds. When the run is killed, the pipe closes too.
"""

import shutil
import sys
from pathlib import Path

from local_stack.folder import Folder
from local_stack.process import Process, stop_all
from local_stack.services import STOP_SIGNALS
from local_stack.stack import Stack


def main(folder: Path) -> None:
    sys.stdin.buffer.read()
    stop_all(_replicas(Folder(folder)), STOP_SIGNALS)
    Stack(Folder(folder)).down()
    shutil.rmtree(folder)


def _replicas(folder: Folder) -> list[Process]:
    """What a stack does not know: several processes of one service."""
    return [Process(file.stem, folder) for file in folder.run.glob("*-[0-9].pid")]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
