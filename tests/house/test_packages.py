"""What is installed: setup.cfg lists every folder of modules, every file beside them, and every distribution they import."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / room for room in ("agent", "connect", "core", "dns", "server")]
SOURCES = [*(path for folder in FOLDERS for path in folder.rglob("*.py")), *ROOT.glob("*.py")]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
# The modules of a distribution that are not named as it is, those of the distributions it always brings with it among them.
MODULES = {
    "aiohttp": {"aiohttp", "multidict", "yarl"},
    "google-re2": {"re2"},
    "h2": {"h2", "hpack", "hyperframe"},
    "prometheus-client": {"prometheus_client"},
}


def lines(section: str, option: str) -> list[str]:
    return [line.strip() for line in SETUP[section][option].splitlines() if line.strip()]


def imported(path: Path) -> set[str]:
    """The top-level names that a module imports, at its start or later."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_the_packages_are_the_folders_with_modules_in_them() -> None:
    folders = {path.parent for path in SOURCES} - {ROOT}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []
    names = {".".join(("chowk", *folder.relative_to(ROOT).parts)) for folder in folders}
    assert lines("options", "packages") == sorted({"chowk", *names})


def test_every_file_beside_the_modules_is_package_data() -> None:
    packaged = set()
    for package, patterns in SETUP["options.package_data"].items():
        folder = ROOT.joinpath(*package.split(".")[1:])
        packaged |= {path for pattern in re.split(r"[\s,]+", patterns.strip()) for path in folder.glob(pattern)}
    assert ROOT / "py.typed" in packaged
    files = {
        path for folder in FOLDERS for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert sorted(path for path in files if path.suffix != ".py" and path not in packaged) == []


def test_what_is_imported_is_what_is_required() -> None:
    required = {re.split(r"[\s<>=;]", line)[0] for line in lines("options", "install_requires")}
    foreign = set().union(*map(imported, SOURCES)) - set(sys.stdlib_module_names) - {"chowk", "_typeshed"}
    assert sorted(foreign) == sorted(set().union(*(MODULES.get(name, {name}) for name in required)))


def test_every_requirement_says_its_oldest_version() -> None:
    requirements = lines("options", "install_requires") + [
        line for extra in SETUP["options.extras_require"] for line in lines("options.extras_require", extra)
    ]
    assert [line for line in requirements if ">=" not in line] == []
