"""Counts from which a service's summary is made without visiting its instances. Kept by `server.state.store`."""

from __future__ import annotations

from collections import Counter

from chowk.core.events import ServiceSummary
from chowk.core.records.service import NodeService


class Tally:
    """What the instances of one name have together."""

    def __init__(self) -> None:
        self.instances = 0
        self._tags: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()

    def copy(self) -> Tally:
        """One of its own, that counts the same."""
        other = Tally()
        other.instances, other._tags, other._kinds = self.instances, self._tags.copy(), self._kinds.copy()
        return other

    def add(self, service: NodeService) -> None:
        """One instance more."""
        self.instances += 1
        self._kinds[service.kind] += 1
        for tag in set(service.tags):
            self._tags[tag] += 1

    def remove(self, service: NodeService) -> None:
        """One instance less."""
        self.instances -= 1
        self._kinds -= Counter((service.kind,))
        self._tags -= Counter(set(service.tags))

    def summary(self, name: str, virtual_ip: str) -> ServiceSummary:
        """The summary of `name`."""
        return ServiceSummary(
            service=name,
            tags=tuple(sorted(self._tags)),
            kind=min(self._kinds, default=""),
            instances=self.instances,
            virtual_ip=virtual_ip,
        )
