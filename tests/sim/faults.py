"""What goes wrong, by name: each is a method, chosen by the weights of the profile at random times."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

from chowk.server.raft.errors import ChangeRefused, NotLeading

if TYPE_CHECKING:
    from sim.server import Server
    from sim.world import World

RESTART_AFTER_S: Final = (0.05, 5.0)
PAUSE_S: Final = (0.2, 4.0)
SLOW: Final = (5.0, 40.0)


class Faults:
    """Started by the world; ends with its `is_calm`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._names = [name for name, _weight in world.profile.faults]
        self._weights = [weight for _name, weight in world.profile.faults]
        if self._names:
            world.agenda.after(self._pause(), self._next)

    def _pause(self) -> float:
        return self._rng.uniform(0.1, 2.0) * self._world.profile.fault_every_s

    def _next(self) -> None:
        if self._world.is_calm:
            return
        name = self._rng.choices(self._names, self._weights)[0]
        self._world.note("fault", name)
        getattr(self, name)()
        self._world.agenda.after(self._pause(), self._next)

    def _running(self) -> Server | None:
        running = [server for server in self._world.running() if not server.paused]
        if not running:
            return None
        leaders = [server for server in running if server.raft is not None and server.raft.leads]
        return self._rng.choice(leaders if leaders and self._rng.random() < 0.4 else running)

    def kill(self) -> None:
        """A process dies; what it wrote is in the system's memory still."""
        self._end(power_lost=False)

    def power(self) -> None:
        """A host dies; what was not synced is lost or torn."""
        self._end(power_lost=True)

    def _end(self, *, power_lost: bool) -> None:
        writing = [server for server in self._world.running() if server.is_writing]
        server = self._rng.choice(writing) if writing and self._rng.random() < 0.5 else self._running()
        if server is not None:
            server.kill(power_lost=power_lost)
            self._world.agenda.after(self._rng.uniform(*RESTART_AFTER_S), self._restart, server)

    def restart(self) -> None:
        """One that is down comes back sooner."""
        down = [server for server in self._world.alive() if server.raft is None]
        if down:
            self._restart(self._rng.choice(down))

    def _restart(self, server: Server) -> None:
        if server.raft is None and not server.is_ruined and not server.is_retired:
            server.start()

    def pause(self) -> None:
        """A process stands still; its clock does not."""
        server = self._running()
        if server is not None:
            server.paused = True
            self._world.agenda.after(self._rng.uniform(*PAUSE_S), self._resume, server, server.life)

    def _resume(self, server: Server, life: int) -> None:
        if server.life == life and server.paused:
            server.resume()

    def jump(self) -> None:
        """A clock skips some seconds."""
        server = self._running()
        if server is not None:
            server.clock.jump(self._rng.uniform(0.1, 3.0))

    def split(self) -> None:
        """Two groups that hear nothing of each other."""
        ids = self._ids()
        self._rng.shuffle(ids)
        size = self._rng.randint(1, max(1, len(ids) - 1))
        self._cut(ids[:size], ids[size:], both=True)

    def isolate(self) -> None:
        """One server, the leader more often, hears nobody and is not heard."""
        server = self._running()
        if server is not None:
            self._cut([server.id], [id for id in self._ids() if id != server.id], both=True)

    def one_way(self) -> None:
        """Some hear others who do not hear them."""
        ids = self._ids()
        self._rng.shuffle(ids)
        size = self._rng.randint(1, max(1, len(ids) - 1))
        self._cut(ids[:size], ids[size:], both=False)

    def bridge(self) -> None:
        """Two groups, and one server that hears both."""
        ids = self._ids()
        self._rng.shuffle(ids)
        half = len(ids) // 2
        self._cut(ids[:half], ids[half + 1 :], both=True)

    def _ids(self) -> list[str]:
        return sorted(self._world.servers)

    def _cut(self, some: list[str], others: list[str], *, both: bool) -> None:
        cuts = self._world.network.cuts
        for one in some:
            for other in others:
                cuts.add((one, other))
                if both:
                    cuts.add((other, one))

    def heal(self) -> None:
        """Everybody hears everybody."""
        self._world.network.cuts.clear()

    def rough(self) -> None:
        """The network is worse for a while, or better."""
        self._world.network.drop = self._rng.choice((0.0, 0.05, 0.3)) * self._rng.random()
        self._world.network.delay_s = self._world.profile.delay_s * self._rng.choice((0.5, 1.0, 4.0))

    def slow_disk(self) -> None:
        """A disk is slow for a while, or quick again."""
        server = self._running()
        if server is not None:
            server.slowness = self._rng.uniform(*SLOW) if server.slowness == 1.0 else 1.0

    def disk_full(self) -> None:
        """The next write meets a full disk: the server ends, and comes back when there is room."""
        self._refuse(errno.ENOSPC)

    def disk_error(self) -> None:
        """The next fsync fails: what it was to make durable may be gone, and nothing is tried again."""
        self._refuse(errno.EIO)

    def _refuse(self, number: int) -> None:
        server = self._running()
        if server is not None:
            server.disk_error = number
            self._world.agenda.after(self._rng.uniform(1.0, 6.0), self._restart, server)

    def rot(self) -> None:
        """A bit flips in what was acknowledged long ago: the server must see that and never start again.

        Only while the others are enough: at most one is ruined, and no membership changes.
        """
        world = self._world
        whole = [server for server in world.servers.values() if not server.is_ruined and not server.is_retired]
        if len(whole) < len(world.servers) or len(whole) < 3:
            return
        server = self._running()
        if server is not None:
            server.kill(power_lost=False)
            if server.disk.rot(self._rng):
                server.start()
                if not server.is_ruined:
                    raise RuntimeError("rot has no effect")
            else:
                server.start()

    def depose(self) -> None:
        """A leader hears nobody any more, or one only; where members change, in the moment it is asked to change them."""
        leaders = [server for server in self._world.running() if server.raft is not None and server.raft.leads]
        if leaders:
            leader = self._rng.choice(leaders)
            if self._world.profile.members_every_s:
                self._world.operator.change(leader)
            others = [id for id in self._ids() if id != leader.id]
            if self._rng.random() < 0.5:
                others.remove(self._rng.choice(others))
            self._world.network.cuts.clear()
            self._cut([leader.id], others, both=True)

    def transfer(self) -> None:
        """The operator moves the leadership."""
        server = self._running()
        if server is None or server.raft is None or not server.raft.leads:
            return
        others = [voter for voter in server.raft.configuration.voters if voter != server.id]
        if others:
            try:
                server.raft.transfer_leadership(self._rng.choice(others), server.clock.now())
            except (NotLeading, ChangeRefused):
                return
            server.pump()
