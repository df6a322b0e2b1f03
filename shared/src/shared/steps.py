"""How a service knows that it hangs though its loop turns: main tasks say when they begin a step.

A step is what a task does at a stretch: a batch, a look at what is due, one try after a failure. Between two steps it
waits for something to do, however long. Postgres or RabbitMQ may be away for hours: whoever watches excuses the steps.
"""

import time

STUCK_SECONDS = 60.0
"""On one step. Longer than all that waits by a time-out of its own: a confirm 10 s, a statement 60."""
SUSPICIOUS_SECONDS = 10.0
"""On one step, after which it is looked at whether what it may wait for is away."""


class Step:
    """What a task is at; `with` it, or begin and end it. Beginning anew is the next step."""

    def __init__(self, task: str) -> None:
        self.task = task
        self._began: float | None = None

    def begin(self) -> None:
        self._began = time.monotonic()

    def end(self) -> None:
        self._began = None

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    def seconds(self, now: float) -> float:
        """How long it has been standing at `now`, by time.monotonic(); 0 while it waits for something to do."""
        return 0.0 if self._began is None else max(now - self._began, 0.0)

    def excuse(self) -> None:
        """Let its time begin anew, if it is at something."""
        if self._began is not None:
            self.begin()
