"""Applies what changes the mesh's authority (roots, configuration) and the cluster's facts. Total. Called by `machine`."""

from __future__ import annotations

from chowk.core.commands import SetAutopilot, SetCAConfiguration, SetCARoots, SetSystemMetadata
from chowk.core.events import Topic
from chowk.core.records.autopilot import AutopilotConfiguration
from chowk.server.state.changed import AUTOPILOT, CA_CONFIGURATION, METADATA
from chowk.server.state.changes import Changes
from chowk.server.state.store import CLUSTER_ID, Store, stamped


def set_roots(store: Store, changes: Changes, command: SetCARoots) -> bool:
    """Replace the roots; False when they are no longer those it was computed from."""
    if command.cas != store.roots_index:
        return False
    old = {root.id: root for root in store.roots}
    roots = tuple(stamped(root, old.get(root.id), changes.index) or old[root.id] for root in command.roots)
    if roots != store.roots:
        changes.touch_roots()
        store.roots = roots
        store.roots_index = changes.index
    return True


def set_configuration(store: Store, changes: Changes, command: SetCAConfiguration) -> bool:
    """Replace the CA's configuration; False when its compare-and-set lost."""
    old = store.ca_configuration
    if command.cas is not None and command.cas != (old.modify_index if old is not None else 0):
        return False
    written = stamped(command.configuration, old, changes.index)
    if written is not None:
        changes.touch_topic(Topic(kind=CA_CONFIGURATION))
        store.ca_configuration = written
    return True


def set_autopilot(store: Store, changes: Changes, command: SetAutopilot) -> bool:
    """Replace the autopilot's settings; False when its compare-and-set lost."""
    old = store.autopilot
    if command.cas is not None and command.cas != (old.modify_index if old is not None else 0):
        return False
    written = stamped(AutopilotConfiguration(settings=command.settings), old, changes.index)
    if written is not None:
        changes.touch_topic(AUTOPILOT)
        store.autopilot = written
    return True


def set_metadata(store: Store, changes: Changes, command: SetSystemMetadata) -> bool:
    """Set a fact; False when it was to be set once and is set already."""
    old = store.metadata.get(command.key)
    if old is not None and command.only_if_absent:
        return False
    if old != command.value:
        changes.touch_topic(Topic(kind=METADATA, key=command.key))
        if command.key == CLUSTER_ID:
            changes.touch_roots()
        store.metadata[command.key] = command.value
    return True
