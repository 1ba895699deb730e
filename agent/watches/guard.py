"""What handlers run ends with the agent, also when that is killed: the agent's side of `guarding`. Called by `watches`.

A handler runs in a session of its own, so that a terminal's Ctrl-C is not its business, and nothing of the kernel's would
end it with a killed agent: the next one would run it a second time beside the first.
"""

from __future__ import annotations

from typing import Final

from chowk.agent.children import Child
from chowk.core.runtime.clock import Clock

MODULE: Final = "chowk.agent.watches.guarding"


class Guard:
    """The agent's side: which process groups end with the agent. `start` returns at once."""

    def __init__(self, clock: Clock) -> None:
        self._groups: set[int] = set()
        self._child = Child("watch-guard", MODULE, lambda: {"groups": sorted(self._groups)}, clock)
        self._started = False

    @property
    def pid(self) -> int:
        """Of the guarding process, 0 while there is none."""
        return self._child.pid

    def start(self) -> None:
        """Begin to guard; once is enough."""
        if not self._started:
            self._started = True
            self._child.launch()

    async def close(self) -> None:
        """Guard no more; what still runs goes on."""
        if self._started:
            await self._child.close()

    def begun(self, group: int) -> None:
        """A process group runs."""
        self._groups.add(group)
        self._child.tell(b"+%d" % group)

    def ended(self, group: int) -> None:
        """Its first process has ended, and the number may become another's."""
        self._groups.discard(group)
        self._child.tell(b"-%d" % group)
