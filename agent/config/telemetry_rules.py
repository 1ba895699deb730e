"""`telemetry { … }`: where metrics go and what they are called. Called by `assemble`."""

from __future__ import annotations

import re
from typing import Final

from chowk.agent.config.decode import Decoded
from chowk.agent.config.model import METRICS_PREFIX, StatsdConfig, TelemetryConfig
from chowk.agent.config.problems import Problems

_PREFIX: Final = re.compile(r"[A-Za-z_][0-9A-Za-z_]{0,63}")
_ADDRESS: Final = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:\[\]]+)):(?P<port>[0-9]{1,5})")


def telemetry_of(whole: Decoded, problems: Problems) -> TelemetryConfig:
    """The settings; what is wrong is noted in `problems`."""
    block: Decoded = whole.get("telemetry") or Decoded(whole.position, "telemetry")
    prefix = block.get("metrics_prefix") or METRICS_PREFIX
    if not _PREFIX.fullmatch(prefix):
        problems.add(
            block.at("metrics_prefix"),
            f'telemetry.metrics_prefix: "{prefix}" is no name: letters, digits and underscores',
        )
    rules = tuple(block.get("prefix_filter", ()))
    for rule in rules:
        if rule[:1] not in ("+", "-") or len(rule) < 2:
            problems.add(
                block.at("prefix_filter"),
                f'telemetry.prefix_filter: "{rule}" does not begin with + (show) or - (hide), like "+chowk.dns"',
            )
    tags = tuple(block.get("dogstatsd_tags", ()))
    found = (_statsd(block, "statsd_address", None, problems), _statsd(block, "dogstatsd_addr", tags, problems))
    return TelemetryConfig(
        prefix=prefix,
        rules=rules,
        shown=block.get("filter_default", True),
        statsd=tuple(one for one in found if one is not None),
    )


def _statsd(block: Decoded, name: str, tags: tuple[str, ...] | None, problems: Problems) -> StatsdConfig | None:
    text = block.get(name, "")
    if not text:
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        problems.add(block.at(name), f'telemetry.{name}: "{text}" is no address and port, like "127.0.0.1:8125"')
        return None
    return StatsdConfig(host=match["v6"] or match["host"], port=int(match["port"]), tags=tags)
