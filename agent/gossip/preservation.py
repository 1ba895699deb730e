"""Self-preservation: whether so much vanished at once that it is likelier that we are cut off than that all of them died.

A verdict on a suspect is withheld (the member is `kept`) when both hold:

* *Much is lost at once*: at least 4 others were there within the window, and half of them or more are out of reach:
  suspects, kept ones, and those that failed within the window. A small side of a large cluster cannot probe all the others
  before the first suspicion ends, so it may also judge from a sample: of at least 4 members probed since the wave began,
  three quarters are silent.
* *We are the minority*: no majority of the servers known is within our reach (heard of directly since the wave began). The
  servers decide, not the heads: the side with their majority has the leader, so only its verdicts change the catalog, and a
  rack of clients that really died must leave the catalog in seconds. Where no servers are known, heads are counted.

Hence three nodes that lose one judge as ever (fewer than 4 others), a majority fails its minority, an even split is kept on
both sides. Someone who is kept is still probed. Once we reach a majority again (or not much is lost any more) those that
stay silent are judged anew. All this ends after `preservation_limit_s`: those who really died do not haunt a view forever.
"""

from __future__ import annotations

from typing import Final

from chowk.agent.gossip.roster import ALIVE, KEPT, SUSPECT, Known, Roster
from chowk.agent.gossip.settings import Settings

FEWEST_OTHERS: Final = 4
SAMPLE_SIZE: Final = 16
SAMPLE_FEWEST: Final = 4
SAMPLE_SILENT: Final = 0.75
MAX_FAILURES: Final = 16_384


class Preservation:
    """Told of every probe's outcome and every failure; asked before a verdict."""

    def __init__(self, settings: Settings, roster: Roster, self_is_server: bool) -> None:
        self._settings = settings
        self._roster = roster
        self._self_is_server = self_is_server
        self._failures: dict[str, tuple[float, bool]] = {}
        self._failed_servers = 0
        self._sample: dict[str, tuple[float, bool]] = {}
        self._wave_start: float | None = None
        self._since: float | None = None

    def probed(self, name: str, answered: bool, now: float) -> None:
        """The outcome of a probe of ours."""
        self._sample.pop(name, None)
        self._sample[name] = (now, answered)
        if len(self._sample) > SAMPLE_SIZE:
            del self._sample[next(iter(self._sample))]

    def failed(self, known: Known, now: float) -> None:
        """A member was declared failed here."""
        self.returned(known.name)
        if len(self._failures) >= MAX_FAILURES:
            self.returned(next(iter(self._failures)))
        self._failures[known.name] = (now, known.is_server)
        self._failed_servers += known.is_server

    def returned(self, name: str) -> None:
        """A member is here again, or not to be missed any more."""
        _, was_server = self._failures.pop(name, (0.0, False))
        self._failed_servers -= was_server

    def observe(self, now: float) -> None:
        """Note when losing began. To be called at each change and each round of probes."""
        self._forget_old_failures(now)
        count = self._roster.count
        if not count(SUSPECT) + count(KEPT) + len(self._failures):
            self._wave_start = None
        elif self._wave_start is None:
            self._wave_start = now

    def withholds(self, now: float) -> bool:
        """Whether verdicts are withheld now."""
        self.observe(now)
        if not self._settings.preservation or not self._much_is_lost(now) or self._is_majority(now):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        return now - self._since < self._settings.preservation_limit_s

    def _much_is_lost(self, now: float) -> bool:
        count = self._roster.count
        lost = count(SUSPECT) + count(KEPT) + len(self._failures)
        others = lost + count(ALIVE)
        return others >= FEWEST_OTHERS and (lost * 2 >= others or self._sample_is_silent(now))

    def _is_majority(self, now: float) -> bool:
        count, servers = self._roster.count, self._roster.server_counts
        total = sum(servers[state] for state in (ALIVE, SUSPECT, KEPT)) + self._failed_servers + self._self_is_server
        if total:
            return (self._servers_heard(now) + self._self_is_server) * 2 > total
        lost = count(SUSPECT) + count(KEPT) + len(self._failures)
        return count(ALIVE) + 1 > lost and not self._sample_is_silent(now)

    def _servers_heard(self, now: float) -> int:
        """Servers that answered or asked us since losing began: those not probed since may be lost as well."""
        start = self._sample_start(now)
        return sum(known.state == ALIVE and known.heard >= start for known in self._roster.servers())

    def _sample_is_silent(self, now: float) -> bool:
        start = self._sample_start(now)
        outcomes = [answered for at, answered in self._sample.values() if at >= start]
        return len(outcomes) >= SAMPLE_FEWEST and outcomes.count(False) >= SAMPLE_SILENT * len(outcomes)

    def _sample_start(self, now: float) -> float:
        oldest = now - self._settings.preservation_window_s
        return oldest if self._wave_start is None else max(oldest, self._wave_start)

    def _forget_old_failures(self, now: float) -> None:
        oldest = now - self._settings.preservation_window_s
        while self._failures:
            name, (at, _) = next(iter(self._failures.items()))
            if at >= oldest:
                return
            self.returned(name)
