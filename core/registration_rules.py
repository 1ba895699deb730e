"""What a service and a check must be to be registered, each by itself, and how it is completed, as Consul does. Pure.

Asked by agents before they take a registration, and by servers before they write one: what an agent takes, its servers take.
"""

from __future__ import annotations

import msgspec

from chowk.core import limits
from chowk.core.errors import InvalidRequest
from chowk.core.records.check import CRITICAL, STATUSES, HealthCheck
from chowk.core.records.service import KIND_CONNECT_PROXY, KIND_TYPICAL, ConnectProxy, NodeService, Upstream


def checked_service(service: NodeService) -> NodeService:
    """The service as it will be applied. InvalidRequest with the reason when it may not be."""
    if not service.service:
        raise InvalidRequest("Must provide service name (Service.Service) when service ID is provided")
    service = msgspec.structs.replace(service, id=service.id or service.service, create_index=0, modify_index=0)
    limits.check_name(service.service, "Service name")
    limits.check_name(service.id, "Service ID", chars_max=2 * limits.NAME_CHARS_MAX)
    limits.check_meta(service.meta, "Service")
    limits.check_address(service.address, "service address")
    limits.check_port(service.port, "service port")
    limits.check_text(service.socket_path, "Service socket path")
    if service.port and service.socket_path:
        raise InvalidRequest("Service port and socket path are mutually exclusive: set one of them")
    _check_tags(service.tags)
    for name, tagged in service.tagged_addresses.items():
        limits.check_name(name, "Tagged address name")
        limits.check_address(tagged.address, f'tagged address "{name}"')
        limits.check_port(tagged.port, f'port of tagged address "{name}"')
    _check_weights(service)
    if service.kind not in (KIND_TYPICAL, KIND_CONNECT_PROXY):
        raise InvalidRequest(f'Service kind "{service.kind}" is not supported: use connect-proxy, or leave it out')
    if service.kind == KIND_CONNECT_PROXY:
        _check_proxy(service)
    elif service.proxy != ConnectProxy():
        raise InvalidRequest(f'Service "{service.service}" has a Proxy block: its kind must be connect-proxy')
    return service


def _check_tags(tags: tuple[str, ...]) -> None:
    if len(tags) > limits.TAGS_MAX:
        raise InvalidRequest(f"Service cannot have more than {limits.TAGS_MAX} tags")
    if sum(map(len, tags)) > limits.TAGS_CHARS_MAX:
        raise InvalidRequest(f"Service tags are too long (limit: {limits.TAGS_CHARS_MAX} characters together)")


def _check_weights(service: NodeService) -> None:
    weights = service.weights
    if not 1 <= weights.passing <= limits.WEIGHT_MAX:
        raise InvalidRequest(f"Weights: Passing must be between 1 and {limits.WEIGHT_MAX}")
    if not 0 <= weights.warning <= limits.WEIGHT_MAX:
        raise InvalidRequest(f"Weights: Warning must be between 0 and {limits.WEIGHT_MAX}")


def _check_proxy(service: NodeService) -> None:
    proxy = service.proxy
    if not proxy.destination_service_name:
        raise InvalidRequest("Proxy.DestinationServiceName must be non-empty for Connect proxy services")
    limits.check_name(proxy.destination_service_name, "Proxy.DestinationServiceName")
    if proxy.destination_service_name == "*":
        raise InvalidRequest("Proxy.DestinationServiceName must not be a wildcard for Connect proxy services")
    if not service.port and not service.socket_path:
        raise InvalidRequest("Port or SocketPath must be set for a Connect proxy")
    if service.connect.native:
        raise InvalidRequest("A Proxy cannot also be Connect Native, only typical services")
    limits.check_port(proxy.local_service_port, "Proxy.LocalServicePort")
    limits.check_free(proxy.config, "Proxy.Config")
    if len(proxy.upstreams) > limits.UPSTREAMS_MAX:
        raise InvalidRequest(f"a proxy takes at most {limits.UPSTREAMS_MAX} upstreams")
    taken: dict[tuple[str, int] | str, str] = {}
    for upstream in proxy.upstreams:
        _check_upstream(upstream)
        place = upstream.local_bind_socket_path or (
            upstream.local_bind_address or "127.0.0.1",
            upstream.local_bind_port,
        )
        other = taken.setdefault(place, upstream.destination_name)
        if other != upstream.destination_name or list(proxy.upstreams).count(upstream) > 1:
            raise InvalidRequest(
                f"upstreams cannot contain duplicates of local bind address and port, or of local socket path:"
                f" {other} and {upstream.destination_name} both bind {_place_text(place)}"
            )


def _check_upstream(upstream: Upstream) -> None:
    name = upstream.destination_name
    if not name:
        raise InvalidRequest("upstream destination name cannot be empty")
    limits.check_name(name, "upstream destination name")
    if name == "*":
        raise InvalidRequest("upstream destination name cannot be a wildcard")
    limits.check_free(upstream.config, f"Config of upstream {name}")
    limits.check_port(upstream.local_bind_port, f"local bind port of upstream {name}")
    limits.check_text(upstream.local_bind_socket_path, f"local socket path of upstream {name}")
    if not upstream.local_bind_port and not upstream.local_bind_socket_path:
        raise InvalidRequest(f"upstream {name}: local bind port or local socket path must be defined and nonzero")
    if upstream.local_bind_port and upstream.local_bind_socket_path:
        raise InvalidRequest(f"upstream {name}: only one of local bind port and local socket path may be set")


def _place_text(place: tuple[str, int] | str) -> str:
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"


def checked_alone(check: HealthCheck) -> HealthCheck:
    """The check as it will be applied, but for its node. InvalidRequest when it may not be."""
    check_id = check.check_id or check.name
    if not check_id:
        raise InvalidRequest("Must provide check ID or name")
    limits.check_name(check_id, "Check ID", chars_max=2 * limits.TEXT_CHARS_MAX)
    status = check.status or CRITICAL
    if status not in STATUSES:
        raise InvalidRequest(f'Invalid check status "{status}": must be passing, warning or critical')
    limits.check_text(check.name, "Check name")
    if len(check.output) > limits.OUTPUT_CHARS_MAX:
        raise InvalidRequest(
            f"the output of check {check_id} is too long (limit: {limits.OUTPUT_CHARS_MAX} characters)"
        )
    limits.check_free(check.definition, f"Definition of check {check_id}")
    return msgspec.structs.replace(check, check_id=check_id, status=status, create_index=0, modify_index=0)
