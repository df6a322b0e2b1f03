"""Ends the servers of a test run when the run ends, in whatever way: run as a process of its own.

Its standard input is a pipe that only the test run holds. When the run is killed, the pipe closes too.
"""

import shutil
import sys
from pathlib import Path

from local_stack.folder import Folder
from local_stack.stack import Stack


def main(folder: Path) -> None:
    sys.stdin.buffer.read()
    Stack(Folder(folder)).down()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
