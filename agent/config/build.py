"""Files and flags to one frozen `AgentConfig`, with every problem of every file in one ConfigError.

Called by `agent.boot` (start and reload), `chowk validate` and the demo.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chowk.agent.config.assemble import assemble
from chowk.agent.config.config_entries import decode_config_entry, is_config_entry
from chowk.agent.config.decode import Decoded, Reading, decode
from chowk.agent.config.host import Host, this_host
from chowk.agent.config.keys_agent import AGENT
from chowk.agent.config.merge import merge, nested
from chowk.agent.config.model import AgentConfig
from chowk.agent.config.parse import parse
from chowk.agent.config.problems import ConfigError, Problems
from chowk.agent.config.sources import read_all
from chowk.agent.config.tree import from_plain
from chowk.core.definitions import Position

ENTRY_FILE = (
    "this file is a config entry, which the servers keep: write it with `chowk config write`, "
    "or put it into config_entries { bootstrap [ … ] }"
)


def build(
    files: Sequence[str],
    dirs: Sequence[str],
    flags: Mapping[str, Any],
    *,
    hcl: Sequence[str] = (),
    host: Host | None = None,
    fragments: bool = False,
    any_ending: bool = False,
    now: float | None = None,
) -> AgentConfig:
    """The configuration of `files`, then `dirs`, then `flags`, each laid over the ones before. A folder among either is
    read as its *.hcl and *.json files; with `any_ending` as all of its files.

    `flags` has the names of the agent's keys, with dots for blocks (`ports.http`), and `dev`; None is a flag not given.
    `hcl` are pieces of configuration given on the command line, laid over the files and under the flags.
    With `fragments` (validate) nothing is missed that another file could hold, and a file may be a config entry. The times
    in config entries are judged by `now`, Unix seconds, where it is given. ConfigError has all problems.
    """
    problems = Problems()
    reading = Reading(problems, now=now)
    whole = Decoded(Position(), "")
    read = []
    for path, tree in read_all((*files, *dirs), problems, any_ending=any_ending):
        read.append(path)
        if is_config_entry(tree):
            if fragments:
                decode_config_entry(tree, problems, now=now)
            else:
                problems.add(tree.entries[0].position, ENTRY_FILE)
            continue
        merge(whole, decode(tree, AGENT, reading))
    for text in hcl:
        try:
            merge(whole, decode(parse(text, "-hcl"), AGENT, reading))
        except ConfigError as error:
            problems.extend(error)
    given = dict(flags)
    dev = bool(given.pop("dev", False))
    merge(whole, decode(from_plain(nested(given)), AGENT, reading))
    config = assemble(whole, reading, host or this_host(), dev=dev, fragments=fragments)
    problems.raise_if_any()
    return msgspec.structs.replace(config, files=tuple(read), warnings=tuple(problems.warnings))
