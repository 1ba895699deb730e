"""Which metrics are shown, and under which prefix: `telemetry { metrics_prefix, prefix_filter, filter_default }`. Pure.

Called by the API for what is asked, and so for what is sent. Of several rules that fit, the longest decides, as in Consul;
its rules have dots where the names have underscores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.metrics_core import Metric

from chowk.agent.config.model import METRICS_PREFIX, TelemetryConfig


def named(families: Iterable[Metric], settings: TelemetryConfig) -> Iterator[Metric]:
    """The families that are shown, under their names."""
    for family in families:
        name = _name(family.name, settings)
        if not _is_shown(name, settings):
            continue
        if name == family.name:
            yield family
            continue
        renamed = Metric(name, family.documentation, family.type, family.unit)
        renamed.samples = [sample._replace(name=_name(sample.name, settings)) for sample in family.samples]
        yield renamed


def _name(name: str, settings: TelemetryConfig) -> str:
    head, separator, rest = name.partition("_")
    return f"{settings.prefix}_{rest}" if separator and head == METRICS_PREFIX else name


def _is_shown(name: str, settings: TelemetryConfig) -> bool:
    fitting = [rule for rule in settings.rules if name.startswith(rule[1:].replace(".", "_"))]
    return max(fitting, key=len).startswith("+") if fitting else settings.shown
