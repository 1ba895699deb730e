"""A server's duties over what is on a disk: for tests of the certificate authority. `Life` is one run of them."""

from __future__ import annotations

from pathlib import Path

from chowk.core import codec
from chowk.core.commands import Envelope, SetCAConfiguration, SetCARoots
from chowk.core.errors import Unavailable
from chowk.core.runtime.clock import SystemClock
from chowk.core.server_options import ServerOptions
from chowk.server.leader.leadership import LeaderContext, Leadership
from chowk.server.rpc.board import ClusterBoard
from chowk.server.rpc.gate import Gate, Roles
from chowk.server.rpc.servers import OtherServers, dial_nobody
from chowk.server.rpc.writes import Writes
from chowk.server.state.machine import StoreMachine
from support.consensus import SoloConsensus


class Spy(SoloConsensus):
    """Notes which keys were on the disk when a root was proposed; may crash there, before it is written or after."""

    def __init__(self, machine: StoreMachine, folder: Path) -> None:
        super().__init__(machine, folder / "solo.log")
        self.folder = folder
        self.keys_seen: list[set[str]] = []
        self.failures = 0
        self.refuse_configuration = 0
        self.replies_lost = 0

    async def propose(self, entry: bytes, *, timeout_s: float) -> object:
        command = codec.unpack(entry, Envelope).command
        if isinstance(command, SetCAConfiguration) and self.refuse_configuration:
            self.refuse_configuration -= 1
            raise Unavailable("the disk of the log is away")
        if isinstance(command, SetCARoots):
            ca = self.folder / "server" / "ca"
            self.keys_seen.append({path.stem for path in ca.glob("*.pem")})
            if self.failures:
                self.failures -= 1
                raise Unavailable("the disk of the log is away")
            if self.replies_lost:
                self.replies_lost -= 1
                await super().propose(entry, timeout_s=timeout_s)
                raise Unavailable("nobody knows whether it was written")
        return await super().propose(entry, timeout_s=timeout_s)


class MovedClock(SystemClock):
    """The machine's clock, some time ahead."""

    ahead_s = 0.0

    def now(self) -> float:
        return super().now() + self.ahead_s

    def wall(self) -> float:
        return super().wall() + self.ahead_s


class Life:
    """One run of a server's duties over what is on the disk."""

    def __init__(self, folder: Path, failures: int = 0, clock: SystemClock | None = None, **options: object) -> None:
        self.machine = StoreMachine()
        self.consensus = Spy(self.machine, folder)
        self.consensus.failures = failures
        clock = clock or SystemClock()
        settings = ServerOptions(
            node_id="",
            node_name="solo",
            socket_path="",
            data_dir=str(folder),
            **options,  # type: ignore[arg-type]
        )
        context = LeaderContext(
            options=settings,
            machine=self.machine,
            consensus=self.consensus,
            writes=Writes(self.consensus, clock),
            board=ClusterBoard(()),
            servers=OtherServers(dial_nobody),
            gate=Gate(Roles()),
            clock=clock,
        )
        self.duties = Leadership(context)

    async def __aenter__(self) -> Life:
        self.consensus.on_leadership(self.duties.led)
        await self.consensus.start()
        await self.duties.done.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.duties.close()
        await self.consensus.stop()

    def active(self) -> str:
        return self.machine.store.trusted().active_root_id
