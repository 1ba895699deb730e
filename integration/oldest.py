"""The oldest versions that setup.cfg allows, as constraints for pip. Called by `make test-oldest`."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)\s*>=(?P<oldest>[\w.]+)")


def constraints(setup: str) -> list[str]:
    """`name==version` of each requirement of `setup` (the text of setup.cfg), those of the extra `test` among them."""
    config = configparser.ConfigParser()
    config.read_string(setup)
    text = config["options"]["install_requires"] + config["options.extras_require"]["test"]
    return [f"{match['name']}=={match['oldest']}" for match in REQUIREMENT.finditer(text)]


if __name__ == "__main__":
    print("\n".join(constraints((Path(__file__).resolve().parents[1] / "setup.cfg").read_text())))
