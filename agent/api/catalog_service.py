"""One row of `/v1/catalog/service`: an instance and its node in one flat object. Pure; called by `variants`."""

from __future__ import annotations

from chowk.core.records.base import Indexed
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.service import ConnectProxy, ServiceAddress, ServiceConnect, Weights


class CatalogService(Indexed, frozen=True, kw_only=True):
    """The indexes are the service's."""

    id: str
    node: str
    address: str
    datacenter: str
    tagged_addresses: dict[str, str]
    node_meta: dict[str, str]
    service_kind: str
    service_id: str
    service_name: str
    service_tags: tuple[str, ...]
    service_address: str
    service_tagged_addresses: dict[str, ServiceAddress]
    service_weights: Weights
    service_meta: dict[str, str]
    service_port: int
    service_socket_path: str
    service_enable_tag_override: bool
    service_proxy: ConnectProxy
    service_connect: ServiceConnect


def catalog_service(instance: ServiceInstance) -> CatalogService:
    """The flat form of an instance."""
    node, service = instance.node, instance.service
    return CatalogService(
        id=node.id,
        node=node.node,
        address=node.address,
        datacenter=node.datacenter,
        tagged_addresses=node.tagged_addresses,
        node_meta=node.meta,
        service_kind=service.kind,
        service_id=service.id,
        service_name=service.service,
        service_tags=service.tags,
        service_address=service.address,
        service_tagged_addresses=service.tagged_addresses,
        service_weights=service.weights,
        service_meta=service.meta,
        service_port=service.port,
        service_socket_path=service.socket_path,
        service_enable_tag_override=service.enable_tag_override,
        service_proxy=service.proxy,
        service_connect=service.connect,
        create_index=service.create_index,
        modify_index=service.modify_index,
    )
