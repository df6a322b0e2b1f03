"""deploy/compose.yaml, as docker compose itself reads it; and deploy/make-secrets, which it needs."""

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from local_stack.folder import CHECKOUT
from shared.settings import load
from support.configuration import PROCESSES, SERVICES, settings, variable

DEPLOY = CHECKOUT / "deploy"
PROFILES = ("observability", "demo", "tools")
OURS = {*PROCESSES, "cli", "receiver", "shop"}


@cache
def compose(*arguments: str) -> dict[str, Any]:
    """The whole file, merged and checked against the specification."""
    docker_compose = [str(Path(sys.executable).parent / "docker-compose"), "-f", str(DEPLOY / "compose.yaml")]
    command = [*docker_compose, *arguments, "config", "--format", "json"]
    made = subprocess.run(command, capture_output=True, text=True, check=True, env={})
    assert made.stderr == ""
    whole: dict[str, Any] = json.loads(made.stdout)
    return whole


def services(*arguments: str) -> dict[str, Any]:
    started: dict[str, Any] = compose(*arguments)["services"]
    return started


def everything() -> dict[str, Any]:
    return services("--profile", "*")


@pytest.mark.parametrize("profile", ["", *PROFILES])
def test_it_meets_the_specification_with_each_profile(profile: str) -> None:
    started = set(services("--profile", profile) if profile else services())
    assert started >= {"postgres", "rabbitmq", *PROCESSES}
    assert {"prometheus", "grafana"} <= started if profile == "observability" else "grafana" not in started
    assert {"receiver", "shop"} <= started if profile == "demo" else "shop" not in started


def test_nothing_of_ours_may_do_more_than_it_has_to() -> None:
    for name in OURS:
        service = everything()[name]
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["init"]
        assert not service.get("privileged")


def test_everything_has_a_limit() -> None:
    for name, service in everything().items():
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert service["logging"]["options"]["max-size"]


def test_what_stays_up_is_watched_and_started_again() -> None:
    for name in ("postgres", "rabbitmq", "prometheus", "grafana", *SERVICES):
        service = everything()[name]
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD"


def test_services_wait_for_their_servers_and_the_migrations() -> None:
    def waits(name: str) -> dict[str, str]:
        return {other: how["condition"] for other, how in everything()[name]["depends_on"].items()}

    assert waits("migrate") == {"postgres": "service_healthy"}
    assert waits("first-store") == {"migrate": "service_completed_successfully"}
    for name in SERVICES:
        assert (
            waits(name).items() >= {"migrate": "service_completed_successfully", "rabbitmq": "service_healthy"}.items()
        )


def test_a_service_has_the_time_that_it_takes_to_drain() -> None:
    drain = PROCESSES["scorer"].model_fields["drain_seconds"].default
    for name in SERVICES:
        assert float(everything()[name]["stop_grace_period"].removesuffix("s")) >= drain * 1.25 + 5


def test_variables_are_settings_and_no_secret_is_among_them() -> None:
    for name, kind in PROCESSES.items():
        given = everything()[name].get("environment", {})
        assert set(given) <= {variable(one) for one in settings()}, name
        secret = [field for field, one in kind.model_fields.items() if one.is_required()]
        found = {one["target"].removeprefix("/run/secrets/") for one in everything()[name]["secrets"]}
        assert found == {variable(field).lower() for field in secret}, name


def test_the_demos_settings_are_those_of_the_profile() -> None:
    text = (DEPLOY / "demo.env").read_text()
    told = dict(re.findall(r"^(TRUSTLENS_\w+)=(.*)$", text, re.MULTILINE))
    given = services("--env-file", str(DEPLOY / "demo.env"), "--profile", "demo")["dispatcher"]["environment"]
    assert told.items() <= given.items()


def test_only_who_calls_or_is_called_from_outside_is_on_a_network_that_leads_there() -> None:
    assert compose()["networks"]["data"]["internal"]
    outside = {name for name in PROCESSES if "default" in everything()[name]["networks"]}
    assert outside == {"api", "dispatcher", "sync"}


def test_ports_are_published_to_this_machine_alone() -> None:
    ports = [port for service in everything().values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_images_of_others_are_of_a_patch_release() -> None:
    others = {service["image"] for name, service in everything().items() if name not in OURS}
    assert len(others) == 4
    assert [image for image in others if not re.search(r":v?\d+\.\d+", image)] == []


def test_files_that_are_mounted_are_there() -> None:
    binds = [volume for service in everything().values() for volume in service.get("volumes", [])]
    sources = [Path(volume["source"]) for volume in binds if volume["type"] == "bind"]
    assert len(sources) == 4
    assert [str(source) for source in sources if not source.exists()] == []


def make_secrets(folder: Path) -> dict[str, str]:
    subprocess.run([DEPLOY / "make-secrets", folder], check=True, capture_output=True)
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets") / "secrets"
    make_secrets(folder)
    return folder


def test_make_secrets_makes_each_file_that_compose_and_kubernetes_mount(secrets: Path) -> None:
    wanted = {Path(secret["file"]).name for secret in compose("--profile", "*")["secrets"].values()}
    assert wanted <= {path.name for path in secrets.iterdir()}
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o444}


def test_make_secrets_keeps_what_it_made_before(tmp_path: Path) -> None:
    before = make_secrets(tmp_path)
    assert make_secrets(tmp_path) == before
    (tmp_path / "trustlens_api_key").unlink()
    after = make_secrets(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {"trustlens_api_key", "stack.env", "cli.env"}
    assert f"TRUSTLENS_API_KEY={after['trustlens_api_key']}\n" in after["stack.env"]


@pytest.mark.parametrize("process", PROCESSES)
def test_the_secrets_that_are_made_start_every_process(
    process: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in settings():
        monkeypatch.delenv(variable(name), raising=False)
    read = load(PROCESSES[process], secrets)
    assert read.database_url.endswith("@postgres:5432/trustlens")
