"""The one place that knows everyone: makes the agent's rooms, starts them in order, reloads them, and ends them.

Called by the `agent` and `demo` commands. Ports are bound first, so that a second agent fails before it disturbs anything.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import structlog

from chowk.agent.api.agent_certificates import known_certificates, known_roots
from chowk.agent.api.agent_metrics import known_metrics
from chowk.agent.api.app import make_app
from chowk.agent.api.context import ApiContext
from chowk.agent.api.members import own_tags, shown_member
from chowk.agent.api.secure import BadCertificate
from chowk.agent.api.serve import ApiServer
from chowk.agent.checks.scheduler import CheckScheduler
from chowk.agent.children import Child
from chowk.agent.cluster import Cluster
from chowk.agent.config.model import AgentConfig
from chowk.agent.config.problems import ConfigError
from chowk.agent.config.reload import reload_diff
from chowk.agent.config_watch import ConfigWatch
from chowk.agent.expiry import ExpiryWatch
from chowk.agent.identity import AgentFolder
from chowk.agent.local.registrations import Registrations
from chowk.agent.local.sidecar import ANYWHERE
from chowk.agent.local.state import LocalState
from chowk.agent.lookup import ViewLookup
from chowk.agent.proxies.leaves import LeafCache
from chowk.agent.proxies.stored import StoredSnapshots
from chowk.agent.proxies.supervisor import ProxySupervisor
from chowk.agent.sync import Syncer
from chowk.agent.telemetry.sender import StatsdSender
from chowk.agent.views.views import Views
from chowk.agent.watches.watches import Watches
from chowk.agent.workers.group import DnsWorkers
from chowk.agent.workers.options import dns_settings, worker_options, worker_orders
from chowk.core.addresses import joined
from chowk.core.errors import ChowkError
from chowk.core.records.member import Member
from chowk.core.records.node import Node
from chowk.core.runtime import logging
from chowk.core.runtime.clock import SystemClock
from chowk.core.runtime.sockets import is_taken
from chowk.core.server_options import ServerOptions
from chowk.dns.server import DnsServer

log = structlog.get_logger("chowk.agent")
LEAVE_TIMEOUT_S = 5.0
SERVER_SOCKET = "server.sock"


class Agent:
    """One agent. `load` builds its configuration anew, for reloads; it raises ConfigError when the files are wrong."""

    def __init__(self, config: AgentConfig, load: Callable[[], AgentConfig]) -> None:
        self.config = config
        self._load = load
        self._clock = SystemClock()
        self._rng = random.Random()
        self._folder = AgentFolder("" if config.dev else config.data_dir)
        self._wake = asyncio.Event()
        self._stopping = False
        self._leave_asked = False
        self._reload_asked = False
        self.failure = ""
        """Why the agent stopped by itself; "" when it was told to."""
        self._closers: list[Callable[[], Any]] = []
        self.workers: DnsWorkers | None = None

    # --- life

    async def start(self) -> None:
        """Start everything. ChowkError or OSError with a clear text when a port, folder or child cannot be had."""
        self._folder.open()
        self._closers.append(self._folder.close)
        config = self.config
        run_dir = self._folder.run_dir
        node = self._make_node(config)
        config = self.config
        self.cluster = Cluster(
            config,
            self._folder.data_dir or None,
            run_dir / SERVER_SOCKET if config.server else None,
            self._services,
            self._cannot_be_member,
            self._clock,
            self._rng,
        )
        self.client = self.cluster.client
        self.views = Views(self.client, self._clock)
        registrations = Registrations(self._folder.data_dir) if self._folder.data_dir else None
        ports = range(config.ports.sidecar_min_port, config.ports.sidecar_max_port + 1)
        taken = partial(is_taken, node.address)
        self.local = LocalState(node, self._clock, registrations, ports, taken, config.locality)
        self.local.load(config.services, config.checks)
        interval_s = config.checks_config.check_update_interval_s
        self.syncer = Syncer(
            self.local, self.client, self._clock, check_update_interval_s=interval_s, nodes=self.cluster.size
        )
        self.checks = CheckScheduler(
            self.local,
            config.checks_config,
            self._clock,
            client=self.client,
            veto=lambda name: self.proxies.listen_error(name),
        )
        stored = StoredSnapshots(self._folder.data_dir, self._clock, keeps_leaves=config.connect.keep_leaves)
        self.proxies = ProxySupervisor(
            lambda: self.config,
            self.local,
            self.views,
            self.client,
            run_dir,
            stored,
            self._folder.data_dir,
            self._clock,
            self.checks.hasten,
        )
        self.leaves = LeafCache(self.client, self._clock, config.node_name, roots=lambda: known_roots(self.views))
        await self._start_listeners()
        await self._start_server(node)
        await self._start(self.cluster)
        await self._start_workers()
        await self._start(self.views)
        await self._start(self.syncer)
        await self._start(self.checks)
        await self._start(self.leaves)
        self.watches = Watches(config.watches, self._own_api, self._clock)
        await self._start(self.watches)
        await self._start(stored)
        await self.proxies.start()
        self._closers.append(lambda: self.proxies.close(stop_proxies=True))
        if config.auto_reload_config:
            await self._start(ConfigWatch(self._watched_files, self._ask_reload, self._clock))
        for warning in config.warnings:
            log.warning(warning)

    async def close(self) -> None:
        """End everything, last started first."""
        for close in reversed(self._closers):
            result = close()
            if result is not None:
                await result
        self._closers.clear()

    def follow_signals(self) -> None:
        """SIGTERM and SIGINT stop, also while the agent still starts; SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ask_stop, "SIGTERM", self.config.leave_on_terminate)
        loop.add_signal_handler(signal.SIGINT, self._ask_stop, "SIGINT", not self.config.skip_leave_on_interrupt)
        loop.add_signal_handler(signal.SIGHUP, self._ask_reload)

    async def run(self) -> None:
        """Serve until a signal or `leave` ends it, then leave the cluster where that is configured."""
        gc.freeze()  # what is there now stays: the collector's full pass, which stops the loop, passes it over
        while not self._stopping:
            await self._wake.wait()
            self._wake.clear()
            if self._reload_asked and not self._stopping:
                self._reload_asked = False
                await self._reload_on_signal()
        if self._leave_asked:
            await self._leave_catalog()

    # --- what the API may ask

    async def reload(self) -> None:
        """Take the files as they are now. ConfigError (nothing changes then) when they are wrong."""
        new = msgspec.structs.replace(self._load(), node_id=self.config.node_id)
        for name in reload_diff(self.config, new):
            log.warning("this setting changes only with a restart", setting=name)
        keep = self.config
        self.config = msgspec.structs.replace(
            keep,
            services=new.services,
            checks=new.checks,
            node_meta=new.node_meta,
            checks_config=new.checks_config,
            dns=msgspec.structs.replace(
                new.dns, domain=keep.dns.domain, alt_domain=keep.dns.alt_domain, workers=keep.dns.workers
            ),
            watches=new.watches,
            limits=new.limits,
            http=new.http,
            log_level=new.log_level,
            files=new.files,
            warnings=new.warnings,
        )
        if new.log_level != keep.log_level:
            logging.configure(new.log_level, json=keep.log_json, process="agent")
        self.local.set_node(self._make_node(self.config))
        self.local.load(new.services, new.checks)
        self.checks.reload(self.config.checks_config)
        self.dns.reload(dns_settings(self.config))
        self._tell_workers()
        self._reload_certificate()
        self.syncer.reload(self.config.checks_config.check_update_interval_s)
        await self.watches.reload(new.watches)
        for warning in new.warnings:
            log.warning(warning)
        log.info("configuration reloaded", services=len(new.services), files=len(new.files))

    def _reload_certificate(self) -> None:
        if self.config.ports.http < 0 and not self.config.https.cert_file:
            return
        try:
            self.http.reload()
        except BadCertificate as error:
            log.error("the certificate of HTTPS was not reloaded; the old one stays", error=str(error))

    async def leave(self) -> None:
        """Leave the cluster and stop."""
        self._ask_stop("leave", True)

    def listening(self) -> dict[str, str]:
        """Where HTTP and DNS listen: also what the kernel gave for port 0. Called by the command, for its banner."""
        config = self.config
        places = {}
        if config.ports.http >= 0:
            tcp = [f"{host}:{self.http.port}" for host in config.addresses.http]
            places["HTTP"] = ", ".join([*tcp, *(f"unix://{path}" for path in config.addresses.http_sockets)])
        if config.ports.https >= 0 and config.https.cert_file:
            places["HTTPS"] = ", ".join(f"{host}:{self.http.https_port}" for host in config.addresses.https)
        if config.ports.dns >= 0:
            places["DNS"] = ", ".join(f"{host}:{self.dns.port}" for host in config.addresses.dns)
        return places

    def _own_api(self) -> str:
        """The base URL of this agent's HTTP API, for its watches; "" when it has none."""
        if self.config.ports.http < 0 or not self.config.addresses.http:
            return ""
        host = self.config.addresses.http[0]
        return f"http://{joined(ANYWHERE.get(host, host), self.http.port)}"

    def members(self) -> list[dict[str, Any]]:
        """The members as Consul's `agent/members` shows them: this host alone where there is no gossip."""
        known = self.cluster.members()
        if not known:
            config = self.config
            tags = own_tags(config, config.ports.server)
            known = [
                Member(
                    name=config.node_name, address=config.advertise_addr, port=max(0, config.ports.serf_lan), tags=tags
                )
            ]
        return [shown_member(one) for one in known]

    def _watched_files(self) -> list[str]:
        config = self.config
        folders = {os.path.dirname(path) or "." for path in config.files}
        return [*config.files, *sorted(folders), *filter(None, (config.https.cert_file, config.https.key_file))]

    def _services(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(each.service.service, tuple(each.service.tags)) for each in self.local.services.values()]

    # --- parts

    async def _start(self, part: Any) -> None:
        await part.start()
        self._closers.append(part.close)

    def _make_node(self, config: AgentConfig) -> Node:
        node_id = self._folder.node_id(config.node_id)
        self.config = msgspec.structs.replace(config, node_id=node_id)
        return Node(
            id=node_id,
            node=config.node_name,
            address=config.advertise_addr,
            datacenter=config.datacenter,
            tagged_addresses={"lan": config.advertise_addr, "wan": config.advertise_addr, **config.tagged_addresses},
            meta=config.node_meta,
        )

    async def _start_listeners(self) -> None:
        config = self.config
        context = ApiContext(
            config=lambda: self.config,
            client=self.client,
            views=self.views,
            clock=self._clock,
            local=self.local,
            checks=self.checks,
            syncer=self.syncer,
            proxies=self.proxies,
            leaves=self.leaves,
            reload=self.reload,
            leave=self.leave,
            members=self.members,
            gossip=self.cluster.gossip,
            certificate_ends=lambda: self.cluster.certificate_ends_at_s,
            dns=lambda: msgspec.structs.asdict(self.dns.stats()) if self.workers is None else self.workers.stats(),
            rng=self._rng,
        )
        await self._start(ExpiryWatch(lambda: known_certificates(context), self.local, self._clock))
        if config.ports.http >= 0 or config.https.cert_file:
            self.http = ApiServer(make_app(context), config.addresses.http, config.ports.http)
            await self._start(self.http)
        lookup = ViewLookup(self.views, self.client, config.datacenter, self._clock)
        self.dns = DnsServer(lookup, dns_settings(config), config.node_name, config.datacenter, self._clock, self._rng)
        if config.ports.dns >= 0:
            await self.dns.start(config.addresses.dns, config.ports.dns, shares=max(1, config.dns.workers))
            self._closers.append(self.dns.close)
        for one in config.telemetry.statsd:
            sender = StatsdSender(one.host, one.port, one.tags, lambda: known_metrics(context), self._clock)
            await self._start(sender)

    async def _start_server(self, node: Node) -> None:
        config = self.config
        if not config.server:
            return
        options = ServerOptions(
            node_id=node.id,
            node_name=node.node,
            datacenter=config.datacenter,
            address=joined(config.advertise_addr, max(0, config.ports.server)),
            bind_addr=config.bind_addr,
            rpc_port=config.ports.server,
            bootstrap_expect=config.bootstrap_expect,
            keys=self.cluster.keys,
            socket_path=str(self._folder.run_dir / SERVER_SOCKET),
            data_dir=str(self._folder.data_dir or ""),
            log_level=config.log_level,
            log_json=config.log_json,
            ca_provider=config.connect.ca_provider,
            ca_config=config.connect.ca_config,
            default_intention_policy=config.default_intention_policy,
            config_entries=config.config_entries,
            raft=config.raft,
            autopilot=config.autopilot,
            rpc_hold_timeout_s=config.rpc_hold_timeout_s,
            reconnect_timeout_s=config.gossip.reconnect_timeout_s,
            session_ttl_s_min=config.session_ttl_s_min,
            parent_pid=os.getpid(),
        )
        server = Child("server", "chowk.server.main", lambda: msgspec.to_builtins(options), self._clock)
        await self._start(server)

    async def _start_workers(self) -> None:
        if self.config.ports.dns < 0 or not self.config.dns.workers:
            return
        socket = str(self._folder.run_dir / SERVER_SOCKET)
        self.workers = DnsWorkers(
            self.dns,
            lambda udp, tcp: worker_options(self.config, self.cluster, socket, udp, tcp),
            self._clock,
        )
        self.cluster.reach.add(lambda _: self._tell_workers())
        await self._start(self.workers)

    def _tell_workers(self) -> None:
        if self.workers is not None:
            self.workers.tell(worker_orders(self.config, self.cluster))

    async def _reload_on_signal(self) -> None:
        try:
            await self.reload()
        except ConfigError as error:
            log.error("the configuration was not reloaded; the old one stays", error=str(error))

    def _ask_stop(self, why: str, leave: bool) -> None:
        if not self._stopping:
            log.info("stopping", why=why, leave=leave)
        self._leave_asked = self._leave_asked or leave
        self._stopping = True
        self._wake.set()

    def _cannot_be_member(self, why: str) -> None:
        self.failure = self.failure or why
        self._ask_stop("this agent cannot be a member of its cluster", False)

    def _ask_reload(self) -> None:
        self._reload_asked = True
        self._wake.set()

    async def _leave_catalog(self) -> None:
        try:
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await self.syncer.leave()
        except (TimeoutError, ChowkError) as error:
            log.warning("could not leave the catalog", error=str(error) or "no server answered in time")
        await self.cluster.leave(LEAVE_TIMEOUT_S)
