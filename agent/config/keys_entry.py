"""The tables of keys of config entries. Read by `config_entries`, and printed in the reference."""

from __future__ import annotations

from chowk.agent.config.keys_limits import ACCESS_LOGS, CONCURRENCY, MESH, PATHS, RATE_LIMITS
from chowk.agent.config.keys_service import EXPOSE, LIMITS, MESH_GATEWAY, PASSIVE, PROTOCOL, PROXY_CONFIG, TENANCY
from chowk.agent.config.keys_traffic import HEADER, LOCALITY_PRIORITY, RESOLVER, ROUTES, SPLITS
from chowk.agent.config.schema import Anything, Block, Blocks, Key, Open, Schema, Text, TextMap, Texts, Whole

ACTION = Text(choices=("", "allow", "deny"))

PERMISSION_HTTP = Schema(
    "http",
    (
        *PATHS,
        Key("methods", Texts(), "HTTP methods", "[]: all"),
        Key("header", Blocks(HEADER), "Conditions on headers; all must hold", "[]"),
    ),
)
PERMISSION = Schema(
    "permission",
    (
        Key("action", ACTION, "`allow` or `deny`; it must be given"),
        Key("http", Block(PERMISSION_HTTP), "What it is about; it must be given"),
        Key("jwt", Anything(), "Of JWT providers", "{}", served=False),
    ),
)
SOURCE = Schema(
    "source",
    (
        Key("name", Text(), "The calling service, or `*`; it must be given"),
        Key("action", ACTION, "`allow` or `deny`; this or permissions"),
        Key("permissions", Blocks(PERMISSION), "Rules by request; the first that matches decides", "[]"),
        Key("precedence", Whole(), "Computed; what is written is ignored", "0"),
        Key("type", Text(choices=("", "consul")), "Only `consul`", '"consul"'),
        Key("description", Text(), "For people", '""'),
        Key("peer", Text(choices=("",)), "Peerings are not supported", '""'),
        Key("sameness_group", Text(choices=("",)), "Of Consul Enterprise", '""'),
        Key("legacy_id", Text(), "Of the deprecated API", '""'),
        Key("legacy_meta", TextMap(), "Of the deprecated API", "{}"),
        Key("legacy_create_time", Text(), "Of the deprecated API", '""'),
        Key("legacy_update_time", Text(), "Of the deprecated API", '""'),
        *TENANCY,
    ),
)
_COMMON = (
    Key("kind", Text(), "The kind; it must be given"),
    Key("meta", TextMap(), "At most 64 pairs", "{}"),
    Key("create_index", Whole(maximum=2**63), "Of the API; ignored", "0"),
    Key("modify_index", Whole(maximum=2**63), "Of the API; ignored", "0"),
    Key("hash", Whole(maximum=2**64), "Of the API; ignored", "0"),
    *TENANCY,
)
INTENTIONS = Schema(
    "service-intentions",
    (
        Key("name", Text(), "The destination, or `*`; it must be given"),
        Key("sources", Blocks(SOURCE), "What each source may do"),
        Key("jwt", Anything(), "Of JWT providers", "{}", served=False),
        *_COMMON,
    ),
)
UPSTREAM_CONFIG = Schema(
    "upstream defaults",
    (
        Key("name", Text(), "The upstream (of overrides only)", '""'),
        Key("protocol", PROTOCOL, "Its protocol", '""'),
        Key("connect_timeout_ms", Whole(), "Milliseconds to connect", "5000"),
        Key("limits", Block(LIMITS), "Circuit breaking", "{}"),
        Key("passive_health_check", Block(PASSIVE), "Leaving out instances that fail", "{}"),
        Key("mesh_gateway", Block(MESH_GATEWAY), "Gateways for other datacenters", "{}"),
        Key("balance_outbound_connections", Text(), "Of Envoy", '""', served=False),
        Key("max_connect_attempts", Whole(), "Of Envoy", "0", served=False),
        Key("envoy_listener_json", Text(), "Of Envoy", '""', served=False),
        Key("envoy_cluster_json", Text(), "Of Envoy", '""', served=False),
        Key("peer", Text(choices=("",)), "Peerings are not supported", '""'),
        *TENANCY,
    ),
)
UPSTREAMS = Schema(
    "upstream_config",
    (
        Key("defaults", Block(UPSTREAM_CONFIG), "For every upstream", "{}"),
        Key("overrides", Blocks(UPSTREAM_CONFIG), "By name of the upstream", "[]"),
    ),
)
SERVICE_DEFAULTS = Schema(
    "service-defaults",
    (
        Key("name", Text(), "The service; it must be given"),
        Key("protocol", PROTOCOL, "What it speaks", '"tcp"'),
        Key(
            "balance_inbound_connections",
            Text(choices=("", "exact_balance")),
            "How connections spread over a proxy's workers",
            '""',
        ),
        Key("mesh_gateway", Block(MESH_GATEWAY), "Gateways for other datacenters", "{}"),
        Key("expose", Block(EXPOSE), "Paths served without mTLS", "{}"),
        Key("external_sni", Text(), "Name for TLS to services outside", '""'),
        Key("max_inbound_connections", Whole(), "Connections a sidecar takes; 0 is no limit of its own", "0"),
        Key("local_connect_timeout_ms", Whole(), "Milliseconds to connect to the application", "5000"),
        Key("local_request_timeout_ms", Whole(), "Milliseconds for a request", "0: none"),
        Key("upstream_config", Block(UPSTREAMS), "How the service's sidecar dials", "{}"),
        Key("mode", Text(choices=("", "direct", "transparent")), "Of transparent proxies", '""', served=False),
        Key("transparent_proxy", Anything(), "Of transparent proxies", "{}", served=False),
        Key("mutual_tls_mode", Text(), "Permissive mTLS", '""', served=False),
        Key("destination", Anything(), "Of terminating gateways", "{}", served=False),
        Key("rate_limits", Block(RATE_LIMITS), "Requests a second", "{}"),
        Key("concurrency", Block(CONCURRENCY), "Requests in work at once", "{}"),
        Key(
            "intention_mode",
            Text(choices=("", "enforce", "permissive")),
            "`permissive`: what intentions deny is let through, counted and shown",
            '"enforce"',
        ),
        Key("envoy_extensions", Anything(), "Of Envoy", "[]", served=False),
        *_COMMON,
    ),
)
PROXY_DEFAULTS = Schema(
    "proxy-defaults",
    (
        Key("name", Text(choices=("", "global")), "Only `global`", '"global"'),
        Key("config", Open(PROXY_CONFIG), "For every proxy; other keys are kept as written", "{}"),
        Key("mode", Text(choices=("", "direct", "transparent")), "Of transparent proxies", '""'),
        Key("mesh_gateway", Block(MESH_GATEWAY), "Gateways for other datacenters", "{}"),
        Key("expose", Block(EXPOSE), "Paths served without mTLS", "{}"),
        Key("transparent_proxy", Anything(), "Of transparent proxies", "{}", served=False),
        Key("mutual_tls_mode", Text(), "Permissive mTLS", '""', served=False),
        Key("access_logs", Block(ACCESS_LOGS), "A line for each request", "{}"),
        Key("failover_policy", Anything(), "Of failover", "{}", served=False),
        Key("prioritize_by_locality", Block(LOCALITY_PRIORITY), "For services whose resolver does not say", "none"),
        Key("envoy_extensions", Anything(), "Of Envoy", "[]", served=False),
        *_COMMON,
    ),
)
SERVICE = Key("name", Text(), "The service; it must be given")
SERVICE_RESOLVER = Schema("service-resolver", (SERVICE, *RESOLVER, *_COMMON))
SERVICE_ROUTER = Schema("service-router", (SERVICE, ROUTES, *_COMMON))
SERVICE_SPLITTER = Schema("service-splitter", (SERVICE, *SPLITS, *_COMMON))
MESH_ENTRY = Schema("mesh", (Key("name", Text(choices=("", "mesh")), "Only `mesh`", '"mesh"'), *MESH, *_COMMON))
SERVICE_BYPASS = Schema(
    "service-bypass",
    (
        SERVICE,
        Key("expires", Text(), "When it lapses (RFC 3339), at most 24h away; it must be given"),
        Key("reason", Text(), "Why; it must be given"),
        Key("by", Text(), "Who asked for it", '""'),
        *_COMMON,
    ),
)
ENTRIES: dict[str, Schema] = {
    schema.name: schema
    for schema in (
        INTENTIONS,
        SERVICE_DEFAULTS,
        PROXY_DEFAULTS,
        SERVICE_RESOLVER,
        SERVICE_ROUTER,
        SERVICE_SPLITTER,
        MESH_ENTRY,
        SERVICE_BYPASS,
    )
}
CONSUL_KINDS = (
    "service-intentions", "service-defaults", "proxy-defaults", "service-resolver", "service-router",
    "service-splitter", "mesh", "ingress-gateway", "terminating-gateway", "exported-services", "api-gateway",
    "bound-api-gateway", "inline-certificate", "file-system-certificate", "http-route", "tcp-route", "jwt-provider",
    "sameness-group", "control-plane-request-limit",
)  # fmt: skip
