"""Metrics as statsd's lines, plain or with DogStatsD's tags. Pure; driven by `sender`.

Format: the statsd project, docs/metric_types.md; for tags DogStatsD, `|#name:value,…`. A counter
tells what came since the last time; the first time it tells nothing, for who listens may have heard of it before a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample

PACKET_BYTES_MAX: Final = 1400
"""What fits one packet of any network, and what other senders keep to."""
_UNFIT: Final = re.compile(r"[^0-9A-Za-z_.\-]")
_UNFIT_TAG: Final = re.compile(r"[|,#:\n]")


class Lines:
    """`tags` is None for plain statsd: then the values of labels are parts of the name. Else they are added to each line."""

    def __init__(self, tags: tuple[str, ...] | None = None) -> None:
        self._tags = tags
        self._counted: dict[str, float] = {}

    def of(self, families: Iterable[Metric]) -> Iterator[str]:
        """The lines that tell of these families now."""
        for family in families:
            for sample in family.samples:
                if family.type in ("gauge", "unknown", "untyped"):
                    yield from self._gauge(sample)
                elif sample.name.endswith(("_total", "_count", "_sum")):
                    yield from self._counter(sample)

    def _gauge(self, sample: Sample) -> Iterator[str]:
        name, tags = self._place(sample)
        if sample.value < 0:
            yield f"{name}:0|g{tags}"  # a sign means "less by": so from nothing
        yield f"{name}:{_written(sample.value)}|g{tags}"

    def _counter(self, sample: Sample) -> Iterator[str]:
        name, tags = self._place(sample)
        before = self._counted.get(name + tags)
        self._counted[name + tags] = sample.value
        if before is not None and sample.value > before:
            yield f"{name}:{_written(sample.value - before)}|c{tags}"

    def _place(self, sample: Sample) -> tuple[str, str]:
        labels = {name: str(value) for name, value in sample.labels.items() if value != ""}
        if self._tags is None:
            return _UNFIT.sub("_", ".".join((sample.name, *labels.values()))), ""
        told = [*self._tags, *(f"{name}:{_UNFIT_TAG.sub('_', value)}" for name, value in labels.items())]
        return sample.name, f"|#{','.join(told)}" if told else ""


def _written(value: float) -> str:
    """Plain digits: not every statsd reads exponents."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def packets(lines: Iterable[str]) -> Iterator[bytes]:
    """The lines in as few packets as they need; one that fits none is left out."""
    packet = b""
    for line in lines:
        encoded = line.encode()
        if len(encoded) > PACKET_BYTES_MAX:
            continue
        if packet and len(packet) + 1 + len(encoded) > PACKET_BYTES_MAX:
            yield packet
            packet = b""
        packet = packet + b"\n" + encoded if packet else encoded
    if packet:
        yield packet
