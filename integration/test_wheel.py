"""What a user installs: the wheel, alone in a fresh environment, run from a folder that is not the checkout's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.ports import free_port
from harness.waiting import eventually

ROOT = Path(__file__).resolve().parents[1]
IMPORT_ALL = """
import importlib, pkgutil, chowk
for module in pkgutil.walk_packages(chowk.__path__, "chowk."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(chowk.__file__)
"""


@dataclass(frozen=True)
class Installed:
    """The files that were built, and the environment where the wheel is installed with all it requires."""

    wheel: Path
    sdist: Path
    binaries: Path

    def run(self, folder: Path, program: str, *arguments: str) -> str:
        """Standard output of a program of that environment, run in `folder`; it must succeed."""
        done = subprocess.run(
            [self.binaries / program, *arguments], cwd=folder, env=plain(), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def plain() -> dict[str, str]:
    """The environment without what would let Python see the checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CHOWK", "CONSUL"))}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = f"import setuptools.build_meta as backend; backend.build_sdist({str(folder)!r})"
    for command in (
        [*pip, "install", "setuptools>=68"],
        [python, "-c", build],
        [*pip, "wheel", "--no-deps", "--wheel-dir", folder, source],
    ):
        subprocess.run(command, cwd=source, env=plain(), check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    subprocess.run([*pip, "install", wheel], cwd=folder, env=plain(), check=True, capture_output=True)
    shutil.rmtree(source)
    return Installed(wheel, sdist, folder / "env" / "bin")


def test_the_command_works_from_any_folder(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "web.hcl").write_text('service { name = "web" port = 8080 }')
    (tmp_path / "dns").mkdir()  # a folder that a bare import would take for ours
    assert installed.run(tmp_path, "chowk", "version").startswith("chowk v")
    assert installed.run(tmp_path, "chowk", "validate", "web.hcl") == "Configuration is valid!\n"
    assert "-config-dir" in installed.run(tmp_path, "chowk", "agent", "-help")
    assert installed.run(tmp_path, "python", "-m", "chowk", "version").startswith("chowk v")


def test_every_module_is_there_and_finds_what_it_imports(installed: Installed, tmp_path: Path) -> None:
    assert "site-packages" in installed.run(tmp_path, "python", "-c", IMPORT_ALL)
    installed.run(tmp_path, "python", "-m", "pip", "check")


def test_an_installed_agent_answers_and_stops(installed: Installed, tmp_path: Path) -> None:
    http = free_port()
    flags = ["-dev", f"-http-port={http}", f"-dns-port={free_port()}"]
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(
            [installed.binaries / "chowk", "agent", *flags], cwd=tmp_path, env=plain(), stdout=log, stderr=log
        )
    try:
        url = f"http://127.0.0.1:{http}/v1/status/leader"
        eventually(lambda: urllib.request.urlopen(url, timeout=2).read() not in (b"", b'""'), "a leader")
        agent.terminate()
        assert agent.wait(20) == 0
    finally:
        if agent.poll() is None:
            agent.kill()
            agent.wait()


def test_the_wheel_has_the_modules_and_nothing_of_the_checkout(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"chowk"}
    assert "chowk/py.typed" in names
    assert not [name for name in names if name.startswith(("chowk/tests/", "chowk/integration/"))]


def test_the_source_distribution_holds_the_same_modules(installed: Installed) -> None:
    wheel = {
        name.removeprefix("chowk/") for name in zipfile.ZipFile(installed.wheel).namelist() if name.endswith(".py")
    }
    with tarfile.open(installed.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert wheel <= names
    assert {"LICENSE", "README.md", "setup.cfg", "pyproject.toml"} <= names
