"""This agent's part in its cluster: gossip with its keys, the way to the servers, and what its own server is told.

Made by `agent.boot`. Gossip says which servers there are; the RPC client goes to one of them, proved by the gossip keys; an
agent with a server tells it of the members over the Unix socket that the two share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Final

import structlog

from chowk.agent.api.members import own_tags
from chowk.agent.client.pool import ServerClient
from chowk.agent.config.model import AgentConfig
from chowk.agent.gossip.callbacks import Callbacks
from chowk.agent.gossip.driver import Gossip, GossipOptions
from chowk.agent.gossip.keyring import Keyring, encode_key
from chowk.agent.gossip.reporting import MemberReporter
from chowk.agent.gossip.settings import Settings
from chowk.agent.gossip.whereabouts import Whereabouts
from chowk.core.errors import ChowkError
from chowk.core.records import member
from chowk.core.records.member import Member
from chowk.core.runtime.clock import Clock
from chowk.core.runtime.rpc.endpoints import AGENT
from chowk.core.runtime.rpc.identity import ClusterIdentity

log = structlog.get_logger("chowk.agent")

REACHABLE: Final = frozenset({member.ALIVE, member.LEAVING})


class Cluster:
    """`client` is the agent's way to the servers; `gossip` is None where it is turned off. `server_socket` None: no server
    here. `services()` gives (name, tags) of what runs here; `fatal` is called with what to do when this agent cannot be a
    member. KeyringError when the keys' file is not usable."""

    def __init__(
        self,
        config: AgentConfig,
        data_dir: Path | None,
        server_socket: Path | None,
        services: Callable[[], Iterable[tuple[str, Iterable[str]]]],
        fatal: Callable[[str], None],
        clock: Clock,
        rng: Random,
    ) -> None:
        keyring = Keyring.open(config.encrypt, data_dir)
        self.keys = tuple(encode_key(key) for key in keyring.keys)
        self._identity = ClusterIdentity(self.keys, AGENT, config.node_id, config.node_name, config.datacenter, clock)
        self.client = ServerClient(server_socket, clock, rng, identity=self._identity)
        self.servers: tuple[str, ...] = ()
        """The servers of other hosts that can be reached, as `host:port`."""
        self.reach: Callbacks[None] = Callbacks()
        """After `servers` or `keys` changed: all that other processes of this agent need to go to a server."""
        self.gossip: Gossip | None = None
        self._reporter: MemberReporter | None = None
        self._own: ServerClient | None = None
        self._whereabouts: Whereabouts | None = None
        if not config.gossip.enabled:
            return
        self.gossip = gossip = Gossip(
            config.node_name,
            own_tags(config, config.ports.server),
            _options(config),
            _settings(config),
            keyring,
            clock,
            rng,
            data_dir,
            services,
        )
        gossip.changed.add(lambda _: self._follow_members(gossip))
        gossip.on_keys(self._follow_keys)
        gossip.fatal.add(fatal)
        self._whereabouts = Whereabouts(gossip, self.client, self.size, clock, rng)
        if server_socket is not None:
            self._own = ServerClient(server_socket, clock, rng)
            self._reporter = MemberReporter(gossip, self._own, clock)

    async def start(self) -> None:
        """Gossip, join, and go to a server. OSError or ChowkError with a clear text when that cannot be."""
        await self.client.start()
        if self.gossip is None:
            return
        if self._own is not None and self._reporter is not None:
            await self._own.start()
            await self._learn_cluster(self._reporter)
        await self.gossip.start()
        self._follow_members(self.gossip)
        if self._reporter is not None:
            await self._reporter.start()
        if self._whereabouts is not None:
            self._whereabouts.start()

    async def _learn_cluster(self, reporter: MemberReporter) -> None:
        """Before anybody is joined: it is by this that two clusters are told apart."""
        try:
            await reporter.learn_cluster()
        except ChowkError as error:
            log.warning("it is not known yet which cluster the server of this agent is of", error=str(error))

    async def close(self) -> None:
        """End, without a word to the others: see `leave`."""
        if self._whereabouts is not None:
            await self._whereabouts.close()
        if self._reporter is not None and self._own is not None:
            await self._reporter.close()
            await self._own.close()
        if self.gossip is not None:
            await self.gossip.close()
        await self.client.close()

    async def leave(self, timeout_s: float) -> None:
        """Tell the others that this agent goes."""
        if self.gossip is not None and not await self.gossip.leave(timeout_s):
            log.warning("not every member may know that this agent leaves", waited_s=timeout_s)

    @property
    def certificate_ends_at_s(self) -> float | None:
        """When the certificate that this agent shows to others ends (Unix); None while it has none."""
        return self._identity.ends_at_s

    def members(self) -> list[Member]:
        """Every member; none without gossip."""
        return self.gossip.members() if self.gossip is not None else []

    def size(self) -> int:
        """How many members are reachable, this one among them."""
        return max(1, sum(1 for one in self.members() if one.status in REACHABLE))

    def _follow_members(self, gossip: Gossip) -> None:
        """An agent whose own server is of a cluster goes to no server of another."""
        cluster = gossip.me.cluster
        servers = sorted(
            one.rpc_address
            for one in gossip.members()
            if one.status in REACHABLE
            and one.rpc_address
            and one.name != gossip.name
            and (not cluster or one.cluster in ("", cluster))
        )
        self.client.set_servers(tuple(servers))
        if tuple(servers) != self.servers:
            self.servers = tuple(servers)
            self.reach.call(None)

    def _follow_keys(self, keys: tuple[str, ...]) -> None:
        self._identity.set_keys(keys)
        self.keys = keys
        self.reach.call(None)


def _options(config: AgentConfig) -> GossipOptions:
    asked = config.gossip
    return GossipOptions(
        bind_addr=asked.bind_addr or config.bind_addr,
        port=config.ports.serf_lan,
        advertise_addr=config.advertise_addr,
        start_join=asked.start_join,
        retry_join=asked.retry_join,
        retry_interval_s=asked.retry_interval_s,
        retry_max=asked.retry_max,
        rejoin_after_leave=asked.rejoin_after_leave,
    )


def _settings(config: AgentConfig) -> Settings:
    asked = config.gossip
    return Settings(
        datacenter=config.datacenter,
        probe_interval_s=asked.probe_interval_s,
        probe_timeout_s=asked.probe_timeout_s,
        suspicion_mult=asked.suspicion_mult,
        gossip_interval_s=asked.gossip_interval_s,
        gossip_nodes=asked.gossip_nodes,
        retransmit_mult=asked.retransmit_mult,
        reconnect_timeout_s=asked.reconnect_timeout_s,
        coordinates=not asked.disable_coordinates,
    )
