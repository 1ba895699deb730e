"""What DNS workers are told of the configuration and of the cluster. Called by `agent.boot`."""

from __future__ import annotations

import msgspec

from chowk.agent.cluster import Cluster
from chowk.agent.config.model import AgentConfig
from chowk.agent.workers.orders import Orders, WorkerOptions
from chowk.dns.settings import DnsSettings


def dns_settings(config: AgentConfig) -> DnsSettings:
    """What the DNS room needs of the configuration."""
    return msgspec.convert(config.dns, DnsSettings, from_attributes=True)


def worker_orders(config: AgentConfig, cluster: Cluster) -> Orders:
    """What may change while workers run."""
    return Orders(servers=cluster.servers, keys=cluster.keys, settings=dns_settings(config), log_level=config.log_level)


def worker_options(
    config: AgentConfig, cluster: Cluster, server_socket: str, udp: tuple[int, ...], tcp: tuple[int, ...]
) -> WorkerOptions:
    """The first line of a worker with these sockets."""
    return WorkerOptions(
        udp=udp,
        tcp=tcp,
        node_id=config.node_id,
        node_name=config.node_name,
        datacenter=config.datacenter,
        server_socket=server_socket if config.server else "",
        log_json=config.log_json,
        orders=worker_orders(config, cluster),
    )
