"""A topic's frames folded into its items. Pure. Called by `views.View`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from chowk.agent.views.sharing import SharedNodes
from chowk.core.events import Event, Payload, StreamFrame


class Fold:
    """The items as of the last frame that could be shown.

    A `reset` begins a new snapshot: it is collected apart, and what was there is shown until `snapshot_done`, so that
    readers never see half of one. `items` is never changed in place: a reader may keep it.
    """

    def __init__(self) -> None:
        self.items: Mapping[str, Payload] = MappingProxyType({})
        self.ready = False
        self.index = 0
        """The store's index that the items are as of."""
        self.changed_index = 0
        """The index of the last change that shows."""
        self._collecting: dict[str, Payload] | None = {}
        self._nodes = SharedNodes()

    def receive(self, frame: StreamFrame) -> bool:
        """Take one frame; True when what `items`, or `ready`, shows has changed."""
        if frame.reset:
            self._collecting = {}
        if self._collecting is None:
            self.index = max(self.index, frame.index)
            return self._show_live(frame)
        _apply(self._collecting, frame.events, self._nodes)
        if not frame.snapshot_done:
            return False
        changed = not self.ready or self._collecting != self.items
        self.items, self._collecting = MappingProxyType(self._collecting), None
        self._nodes.trim(self.items.values(), len(self.items))
        self.ready, self.index = True, frame.index
        if changed:
            self.changed_index = frame.index
        return changed

    def _show_live(self, frame: StreamFrame) -> bool:
        if not frame.events:
            return False
        items = dict(self.items)
        if not _apply(items, frame.events, self._nodes):
            return False
        self.items = MappingProxyType(items)
        self._nodes.trim(items.values(), len(items))
        self.changed_index = frame.index
        return True


def _apply(items: dict[str, Payload], events: tuple[Event, ...], nodes: SharedNodes) -> bool:
    changed = False
    for event in events:
        if event.payload is None:
            changed |= items.pop(event.key, None) is not None
        elif items.get(event.key) != event.payload:
            items[event.key] = nodes.share(event.payload)
            changed = True
    return changed
