"""`/v1/discovery-chain/:service`: what a request to a service goes through, for people and tools that look at the mesh."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from chowk.agent.api.errors import decode_failed
from chowk.agent.api.reads import read
from chowk.agent.api.replies import json_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core.chain_requests import CHAIN_GET, ChainOverrides, ChainQuery
from chowk.core.durations import format_duration, parse_duration
from chowk.core.records.base import Record
from chowk.core.records.chain import ChainNode, ChainResolver, ChainTarget, CompiledChain
from chowk.core.records.service import MeshGateway

MODES: Final = ("", "none", "local", "remote")


class OverridesBody(Record, frozen=True, kw_only=True):
    """The body of a POST. A timeout is a duration, or nanoseconds."""

    override_connect_timeout: str | int = 0
    override_protocol: str = ""
    override_mesh_gateway: MeshGateway = MeshGateway()


async def get(request: ApiRequest) -> web.Response:
    """The compiled chain; blocks. `?compile-dc` is the datacenter it is seen from. A POST's body says what to override."""
    service = request.part("service", "Missing chain name")
    overrides = ChainOverrides()
    if request.method == "POST":
        overrides = _overrides(await request.json_as(OverridesBody))
    reply = await read(
        request,
        CHAIN_GET,
        ChainQuery(service=service, evaluate_in=request.query.get("compile-dc"), overrides=overrides),
    )
    return json_reply(request, {"Chain": _shown(reply.chain)}, reply.meta)


def _overrides(body: OverridesBody) -> ChainOverrides:
    if body.override_mesh_gateway.mode not in MODES:
        raise decode_failed(f'OverrideMeshGateway: "{body.override_mesh_gateway.mode[:64]}" is no mode')
    return ChainOverrides(
        protocol=body.override_protocol.lower(),
        connect_timeout_s=_seconds(body.override_connect_timeout),
        mesh_gateway_mode=body.override_mesh_gateway.mode,
    )


def _seconds(value: str | int) -> float:
    try:
        seconds = (parse_duration(value) if value else 0.0) if isinstance(value, str) else value / 1e9
    except ValueError as error:
        raise decode_failed(f"OverrideConnectTimeout: {error}") from None
    if seconds < 0:
        raise decode_failed("OverrideConnectTimeout: a timeout is not negative")
    return seconds


def _shown(chain: CompiledChain) -> dict[str, Any]:
    """Consul's shape: what is empty is left out."""
    shown: dict[str, Any] = {
        "ServiceName": chain.service_name,
        "Namespace": chain.namespace,
        "Partition": chain.partition,
        "Datacenter": chain.datacenter,
    }
    optional = {
        "CustomizationHash": chain.customization_hash,
        "Default": chain.default,
        "Protocol": chain.protocol,
        "ServiceMeta": chain.service_meta,
        "StartNode": chain.start_node,
        "Nodes": {name: _node(node) for name, node in chain.nodes.items()},
        "Targets": {name: _target(target) for name, target in chain.targets.items()},
    }
    return shown | {name: value for name, value in optional.items() if value}


def _node(node: ChainNode) -> dict[str, Any]:
    shown: dict[str, Any] = {"Type": node.type, "Name": node.name}
    if node.routes:
        shown["Routes"] = [
            {"Definition": msgspec.to_builtins(route.definition), "NextNode": route.next_node} for route in node.routes
        ]
    if node.splits:
        shown["Splits"] = [
            {"Definition": msgspec.to_builtins(split.definition), "Weight": split.weight, "NextNode": split.next_node}
            for split in node.splits
        ]
    if node.resolver is not None:
        shown["Resolver"] = _resolver(node.resolver)
    if node.load_balancer is not None:
        shown["LoadBalancer"] = msgspec.to_builtins(node.load_balancer)
    return shown


def _resolver(resolver: ChainResolver) -> dict[str, Any]:
    shown: dict[str, Any] = {
        **({"Default": True} if resolver.default else {}),
        "ConnectTimeout": format_duration(resolver.connect_timeout_s),
        "Target": resolver.target,
    }
    if resolver.request_timeout_s:
        shown["RequestTimeout"] = format_duration(resolver.request_timeout_s)
    if resolver.failover is not None:
        policy = msgspec.to_builtins(resolver.failover.policy)
        shown["Failover"] = {"Targets": list(resolver.failover.targets), **({"Policy": policy} if policy else {})}
    return shown


def _target(target: ChainTarget) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.structs.asdict(target)
    names = {
        "ID": "id", "Service": "service", "ServiceSubset": "service_subset", "Namespace": "namespace",
        "Partition": "partition", "Datacenter": "datacenter",
    }  # fmt: skip
    return {
        **{name: plain[field] for name, field in names.items() if plain[field]},
        "MeshGateway": {"Mode": target.mesh_gateway_mode} if target.mesh_gateway_mode else {},
        "Subset": msgspec.to_builtins(target.subset),
        **({"External": True} if target.external else {}),
        "SNI": target.sni,
        "Name": target.name,
    }


ROUTES: Final = (Route(("GET", "POST"), "/v1/discovery-chain/{service:.*}", get, "service:read"),)
