"""What a listener has carried: counted by its connections, read for reports."""

from __future__ import annotations


class Tally:
    """Counters of a listener, added to by its connections."""

    def __init__(self) -> None:
        self.open = 0
        self.total = 0
        self.to_mesh_bytes = 0
        self.from_mesh_bytes = 0
