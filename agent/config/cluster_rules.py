"""What makes this agent part of a cluster: server or not, how it joins, gossip's and Raft's times. Called by `assemble`.

The rule of the house: a cluster's traffic leaves this host encrypted, or because somebody said in words that it need not.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from chowk.agent.config.decode import Decoded
from chowk.agent.config.host import Host
from chowk.agent.config.listeners import gossip_bind_of
from chowk.agent.config.model import GossipConfig, Ports
from chowk.agent.config.problems import Problems
from chowk.core.definitions import Position
from chowk.core.server_options import Autopilot, RaftTuning

_PROVIDER: Final = re.compile(r"(?:^|\s)provider\s*=\s*\"?([A-Za-z0-9_-]{1,40})")
"""`provider=aws tag_key=…`: Consul's cloud auto-join."""
_VERIFY: Final = ("verify_incoming", "verify_incoming_rpc", "verify_outgoing", "verify_server_hostname")
KEYRING: Final = Path("serf") / "local.keyring"
"""Where in data_dir gossip keeps its keys; once it is there it counts, and `encrypt` does not."""


def server_of(whole: Decoded, problems: Problems, *, dev: bool, fragments: bool) -> tuple[bool, int]:
    """(runs a server, bootstrap_expect). A server that joins an existing cluster needs no bootstrap_expect."""
    server = dev or whole.get("server", False)
    expect = whole.get("bootstrap_expect", 0)
    if whole.get("bootstrap"):
        if expect > 1:
            problems.add(whole.at("bootstrap"), "give bootstrap or bootstrap_expect, not both")
        expect = 1
    if dev:
        if expect > 1:
            problems.add(whole.at("bootstrap_expect"), "-dev is a cluster of one server")
        return True, 1
    if expect and not server and not fragments:
        problems.add(whole.at("bootstrap_expect"), "bootstrap_expect needs server = true")
    joins = whole.get("retry_join") or whole.get("start_join")
    if server and not expect and not joins and not fragments:
        problems.warn(
            whole.at("server"),
            "this server waits to be joined: with neither bootstrap_expect (1 for a single server) nor retry_join it forms "
            "no cluster itself",
        )
    if expect == 2:
        problems.warn(
            whole.at("bootstrap_expect"), "bootstrap_expect = 2: two servers stop when either fails; use 1, 3 or 5"
        )
    elif expect > 1 and expect % 2 == 0:
        problems.warn(
            whole.at("bootstrap_expect"), f"bootstrap_expect = {expect} bears no more failures than {expect - 1}"
        )
    return server, expect


def gossip_of(whole: Decoded, ports: Ports, host: Host, problems: Problems) -> GossipConfig:
    """Joining and gossip's timing."""
    block: Decoded = whole.get("gossip_lan") or Decoded(whole.position, "gossip_lan")
    joining = whole.pick(
        retry_interval_s="retry_interval",
        retry_max="retry_max",
        rejoin_after_leave="rejoin_after_leave",
        disable_coordinates="disable_coordinates",
        reconnect_timeout_s="reconnect_timeout",
    )
    timing = block.pick(
        gossip_nodes="gossip_nodes",
        gossip_interval_s="gossip_interval",
        probe_interval_s="probe_interval",
        probe_timeout_s="probe_timeout",
        suspicion_mult="suspicion_mult",
        retransmit_mult="retransmit_mult",
    )
    for key in ("start_join", "retry_join"):
        joining[key] = _addresses_to_join(whole, key, problems)
    bind = gossip_bind_of(whole, host, problems)
    return GossipConfig(enabled=ports.serf_lan >= 0, bind_addr=bind, **joining, **timing)


def _addresses_to_join(whole: Decoded, key: str, problems: Problems) -> tuple[str, ...]:
    """What is written to join, but for the clouds' (`provider=aws …`), which are not asked: a warning says so."""
    found = []
    for text in whole.get(key, ()):
        provider = _PROVIDER.search(text)
        if provider is None:
            found.append(text)
        else:
            problems.warn(
                whole.at(key),
                f"{key}: members are not looked up with the provider {provider[1]}; give addresses, or a DNS name that "
                "has them",
            )
    return tuple(found)


def raft_of(whole: Decoded) -> RaftTuning:
    """Raft's tuning, its own keys and `performance.raft_multiplier`."""
    block: Decoded = whole.get("performance") or Decoded(whole.position, "performance")
    return RaftTuning(
        **whole.pick(
            snapshot_threshold="raft_snapshot_threshold",
            snapshot_interval_s="raft_snapshot_interval",
            trailing_logs="raft_trailing_logs",
        ),
        **block.pick(raft_multiplier="raft_multiplier"),
    )


def timing_of(whole: Decoded) -> dict[str, Any]:
    """The fields of AgentConfig that `performance` sets."""
    block: Decoded = whole.get("performance") or Decoded(whole.position, "performance")
    return block.pick(rpc_hold_timeout_s="rpc_hold_timeout", leave_drain_time_s="leave_drain_time")


def autopilot_of(whole: Decoded) -> Autopilot:
    """What the leader does about servers at first; `operator autopilot set-config` changes it later."""
    block: Decoded = whole.get("autopilot") or Decoded(whole.position, "autopilot")
    return Autopilot(
        **block.pick(
            cleanup_dead_servers="cleanup_dead_servers",
            last_contact_threshold_s="last_contact_threshold",
            max_trailing_logs="max_trailing_logs",
            min_quorum="min_quorum",
            server_stabilization_time_s="server_stabilization_time",
        )
    )


def sealing_problems(
    whole: Decoded, addresses: tuple[str, ...], gossip: GossipConfig, problems: Problems, *, fragments: bool
) -> None:
    """Refuse a cluster whose traffic would pass between hosts in the clear, unless that is said in words; and say when a
    check of certificates was asked for that there is not."""
    data_dir = whole.get("data_dir")
    if whole.get("encrypt") or (data_dir and (Path(data_dir) / KEYRING).exists()):
        return
    verified = _verified(whole)
    if verified is not None and (data_dir or not fragments):
        position, name = verified
        problems.warn(
            position,
            f"{name}: agents do not verify one another, for there is no encrypt, which makes their traffic mutual TLS here; "
            "certificates of tls are of the HTTPS API alone",
        )
    for address in addresses if gossip.enabled and not whole.get("insecure_cluster") else ():
        if address and not ip_address(address).is_loopback:
            key = "serf_lan" if address == gossip.bind_addr else "bind_addr"
            problems.add(
                whole.at(key) if key in whole else Position(),
                f"{key} {address} is reachable from other hosts, and the cluster's traffic would not be encrypted. Either "
                'make a key with `chowk keygen` and give the same encrypt = "…" to every agent, or say '
                "insecure_cluster = true to let anyone who reaches these ports read and change the cluster",
            )


def _verified(whole: Decoded) -> tuple[Position, str] | None:
    """The first key that asks agents to verify one another: where it is, and its name."""
    tls: Decoded | None = whole.get("tls")
    blocks = [whole, *(tls.get(name) for name in ("defaults", "internal_rpc") if tls is not None)]
    for block in blocks:
        for name in _VERIFY:
            if block is not None and block.get(name):
                return block.at(name), name if block is whole else f"{block.path}.{name}"
    return None
