"""The services, and what reads stores for the api, as processes: what to run, where it listens, whether it is ready."""

import hashlib
import http.client
import re
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_stack.folder import Folder
from local_stack.ports import require_free
from local_stack.process import POLL_SECONDS, Process

READY_SECONDS = 60
ENDING_SECONDS = 5.0
"""How long a killed process may still look alive: the kernel frees its memory first."""
# A service drains for up to 20 s by itself.
STOP_SIGNALS = ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0))


@dataclass(frozen=True)
class Service:
    name: str  # of its pid file, log and port
    module: str  # python -m


SERVICES = (
    Service("scorer", "scorer"),
    Service("rule-engine", "rule_engine"),
    Service("dispatcher", "dispatcher"),
    Service("api", "api"),
    Service("sync", "api.sync"),
)


@dataclass(frozen=True)
class ServiceProcess:
    """A service of one stack; running or not."""

    service: Service
    folder: Folder
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> Process:
        return Process(self.service.name, self.folder)

    @property
    def _settings_file(self) -> Path:
        return self.folder.run / f"{self.service.name}.settings"

    def runs_with_others(self, environment: Mapping[str, str]) -> bool:
        """Whether it runs, and was started with other settings than these."""
        if self.process.pid() is None or not self._settings_file.exists():
            return False
        return self._settings_file.read_text() != _digest(environment)

    def launch(self, environment: Mapping[str, str]) -> int:
        """Returns before it is ready, with the size its log had. Starts nothing if it runs already."""
        since = self.process.log_size()
        if not self._lives():
            require_free(self.folder, self.service.name, self.port)
            command = [sys.executable, "-m", self.service.module]
            self._settings_file.write_text(_digest(environment))
            self.process.start(command, env={**environment, "TRUSTLENS_PORT": str(self.port)})
        return since

    def _lives(self) -> bool:
        """A process that answers nobody may have been killed just now: whether it is still there in a moment."""
        deadline = time.monotonic() + ENDING_SECONDS
        while self.process.pid() is not None and not self.ready() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return self.process.pid() is not None

    def forget_settings(self) -> None:
        """After its end."""
        self._settings_file.unlink(missing_ok=True)

    def wait_ready(self, since: int) -> None:
        self.process.wait_until(self.ready, seconds=READY_SECONDS, since=since)

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


# What stack.env tells others or commands are given, and no service reads: exporting it changes nothing.
_FOR_OTHERS = re.compile(
    r"TRUSTLENS_(API_KEY|STORE_ID|(WOOCOMMERCE|STRIPE|WEBHOOK|CONSUMER)_SECRET|CONSUMER_KEY"
    r"|(API|SCORER|RULE_ENGINE|DISPATCHER|SYNC)_URL)"
)


def _digest(environment: Mapping[str, str]) -> str:
    """Of the settings in it; they hold secrets, so only a digest is kept."""
    own = {n: v for n, v in environment.items() if n.startswith("TRUSTLENS_") and not _FOR_OTHERS.fullmatch(n)}
    return hashlib.sha256(repr(sorted(own.items())).encode()).hexdigest()
