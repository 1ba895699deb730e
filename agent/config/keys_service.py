"""The tables of keys of a service, a check, a proxy and an upstream. Read by `definitions`, and printed in the reference."""

from __future__ import annotations

from chowk.agent.config.schema import (
    Anything,
    Block,
    BlockMap,
    Blocks,
    Duration,
    Flag,
    Key,
    Open,
    Schema,
    Text,
    TextMap,
    Texts,
    TextsMap,
    Whole,
)

PORT = Whole(minimum=0, maximum=65535)
STATUS = Text(choices=("", "passing", "warning", "critical"))
GATEWAY_MODE = Text(choices=("", "none", "local", "remote"))

# Consul Enterprise has namespaces and partitions; its clients send their default values, which mean nothing here.
TENANCY = (
    Key(
        "namespace", Text(choices=("", "default")), "Only `default`: there are no namespaces", '"default"', also=("ns",)
    ),
    Key("partition", Text(choices=("", "default")), "Only `default`: there are no partitions", '"default"'),
)

CHECK = Schema(
    "check",
    (
        Key("id", Text(), "Unique on the node", "`service:<service id>`", also=("check_id",)),
        Key("name", Text(), "What people read", "`Service '<name>' check`"),
        Key("notes", Text(), "For people", '""'),
        Key("service_id", Text(), "Ties a check of its own to a service of this agent", '""'),
        Key("token", Text(), "ACL token to register with", '""', served=False),
        Key("status", STATUS, "The status until the first run", '"critical"'),
        Key("args", Texts(), "A script: command and arguments, no shell in between", "[]", also=("script_args",)),
        Key("script", Text(), "Refused, as in Consul since 1.1: use `args`", '""'),
        Key("http", Text(), "URL to GET: 2xx passes, 429 warns, all else is critical", '""'),
        Key("method", Text(), "HTTP method", '"GET"'),
        Key("header", TextsMap(), "HTTP headers, each with its values", "{}"),
        Key("body", Text(), "HTTP body", '""'),
        Key("disable_redirects", Flag(), "Take a redirect as the answer instead of following it", "true"),
        Key("output_max_size", Whole(minimum=1, maximum=1_048_576), "Bytes of output kept", "4096"),
        Key("tcp", Text(), "`host:port` that must accept a connection", '""'),
        Key("tcp_use_tls", Flag(), "Make a TLS handshake too", "false"),
        Key("udp", Text(), "`host:port` that must not refuse a datagram", '""'),
        Key("interval", Duration(), "Time between runs", "none: it must be given"),
        Key("timeout", Duration(), "How long a run may take", "10s; scripts 30s"),
        Key("ttl", Duration(), "The application reports itself at least this often", "0s"),
        Key("docker_container_id", Text(), "Run `args` in this container", '""', served=False),
        Key("shell", Text(), "The shell of a container's script", '""', served=False),
        Key("grpc", Text(), "`host:port[/service]` of the gRPC health protocol", '""'),
        Key("grpc_use_tls", Flag(), "gRPC over TLS", "false"),
        Key("h2ping", Text(), "`host:port` that must answer an HTTP/2 PING", '""'),
        Key("h2ping_use_tls", Flag(), "HTTP/2 over TLS", "true"),
        Key("os_service", Text(), "A unit of the init system that must be active", '""'),
        Key("tls_server_name", Text(), "The name to expect in the certificate", "the URL's host"),
        Key("tls_skip_verify", Flag(), "Do not verify the certificate", "false"),
        Key("alias_node", Text(), "Follow the checks of this node", '""'),
        Key("alias_service", Text(), "Follow the checks of this service id", '""'),
        Key("success_before_passing", Whole(), "Successes in a row before it passes", "0"),
        Key("failures_before_warning", Whole(), "Failures in a row before it warns", "failures_before_critical"),
        Key("failures_before_critical", Whole(), "Failures in a row before it is critical", "0"),
        Key(
            "deregister_critical_service_after",
            Duration(),
            "Deregister the service when critical for so long; at least 1m",
            "0s: never",
        ),
        *TENANCY,
    ),
)

EXPOSE_PATH = Schema(
    "expose path",
    (
        Key("path", Text(), "The path, starting with `/`"),
        Key("listener_port", PORT, "Where the proxy listens for it without mTLS"),
        Key("local_path_port", PORT, "Where the application serves it"),
        Key("protocol", Text(choices=("", "http", "http2")), "`http` or `http2`", '"http"'),
        Key("parsed_from_check", Flag(), "Set by Consul; ignored", "false"),
    ),
)
EXPOSE = Schema(
    "expose",
    (
        Key("checks", Flag(), "Expose the paths of the HTTP and gRPC checks", "false"),
        Key("paths", Blocks(EXPOSE_PATH), "Paths served without mTLS", "[]"),
    ),
)
MESH_GATEWAY = Schema("mesh_gateway", (Key("mode", GATEWAY_MODE, "Gateways for other datacenters", '""'),))

LIMITS = Schema(
    "upstream limits",
    (
        Key("max_connections", Whole(), "Open connections to the upstream; of `http`, requests wait for one", "none"),
        Key("max_pending_requests", Whole(), "Requests waiting for a connection", "none"),
        Key("max_concurrent_requests", Whole(), "Requests under way at once", "none"),
        Key(
            "max_instance_requests", Whole(), "Requests under way at once with one instance; another is chosen", "none"
        ),
    ),
)
PASSIVE = Schema(
    "passive_health_check",
    (
        Key("interval", Duration(), "Between analyses of the instances", "10s"),
        Key("max_failures", Whole(), "Failures before an instance is left out", "5"),
        Key("enforcing_consecutive_5xx", Whole(maximum=100), "Percent of the times that it is left out", "100"),
        Key("base_ejection_time", Duration(), "How long an instance is left out", "5s"),
        Key("max_ejection_percent", Whole(maximum=100), "Instances left out at once, percent", "50"),
    ),
)
PROTOCOL = Text(choices=("", "tcp", "http", "http2", "grpc"))
UPSTREAM_CONFIG = Schema(
    "upstream config",
    (
        Key("protocol", PROTOCOL, "What the upstream speaks", '"tcp"'),
        Key("connect_timeout_ms", Whole(), "Milliseconds to connect", "5000"),
        Key("limits", Open(LIMITS), "Circuit breaking", "{}"),
        Key("passive_health_check", Open(PASSIVE), "Leaving out instances that fail", "{}"),
    ),
)
PROXY_CONFIG = Schema(
    "proxy config",
    (
        Key("protocol", PROTOCOL, "What the application speaks", '"tcp"'),
        Key("bind_address", Text(), "Where the public listener binds", "the proxy's address"),
        Key("bind_port", PORT, "Where the public listener binds", "the proxy's port"),
        Key("local_connect_timeout_ms", Whole(), "Milliseconds to connect to the application", "5000"),
        Key("local_request_timeout_ms", Whole(), "Milliseconds for a request", "0: none"),
        Key("max_inbound_connections", Whole(), "Connections taken at once", "0"),
    ),
)
UPSTREAM = Schema(
    "upstream",
    (
        Key("destination_name", Text(), "The service to reach; it must be given"),
        Key(
            "destination_type",
            Text(choices=("", "service", "prepared_query")),
            "What the name is of. A prepared query in a file is a warning, and nothing listens for it",
            '"service"',
        ),
        Key("destination_peer", Text(), "There are no peerings: a warning in a file, and nothing listens for it", '""'),
        Key("destination_namespace", Text(choices=("", "default")), "Only `default`", '"default"'),
        Key("destination_partition", Text(choices=("", "default")), "Only `default`", '"default"'),
        Key("datacenter", Text(), "Another datacenter", "the agent's own"),
        Key("local_bind_address", Text(), "Where the application dials", '"127.0.0.1"'),
        Key("local_bind_port", PORT, "The port the application dials; this or a socket must be given"),
        Key("local_bind_socket_path", Text(), "A Unix socket instead of a port", '""'),
        Key("local_bind_socket_mode", Text(), 'Its mode, as text like "0660"', '""'),
        Key("config", Open(UPSTREAM_CONFIG), "How the upstream is dialled; other keys are kept as written", "{}"),
        Key("mesh_gateway", Block(MESH_GATEWAY), "Gateways for other datacenters", "{}"),
        Key("centrally_configured", Flag(), "Set by Consul; ignored", "false"),
        Key("ingress_hosts", Texts(), "Of ingress gateways", "[]", served=False),
    ),
)
PROXY = Schema(
    "proxy",
    (
        Key("destination_service_name", Text(), "The service this proxy stands for", "a sidecar's own service"),
        Key("destination_service_id", Text(), "The instance it stands for", "a sidecar's own instance"),
        Key("local_service_address", Text(), "Where the application listens", '"127.0.0.1"'),
        Key("local_service_port", PORT, "The application's port", "the service's port"),
        Key("local_service_socket_path", Text(), "The application's Unix socket", '""'),
        Key("mode", Text(choices=("", "direct", "transparent")), "How the application's traffic gets in", '"direct"'),
        Key("config", Open(PROXY_CONFIG), "How the proxy works; other keys are kept as written", "{}"),
        Key("upstreams", Blocks(UPSTREAM), "Services the application dials on local ports", "[]"),
        Key("mesh_gateway", Block(MESH_GATEWAY), "Gateways for other datacenters", "{}"),
        Key("expose", Block(EXPOSE), "Paths served without mTLS", "{}"),
        Key("transparent_proxy", Anything(), "Of transparent proxies", "{}", served=False),
        Key("envoy_extensions", Anything(), "Of Envoy", "[]", served=False),
        Key("access_logs", Anything(), "Of Envoy", "{}", served=False),
        Key("mutual_tls_mode", Text(), "Permissive mTLS", '""', served=False),
    ),
)
WEIGHTS = Schema(
    "weights",
    (
        Key("passing", Whole(minimum=1, maximum=65535), "Weight while passing", "1"),
        Key("warning", Whole(maximum=65535), "Weight while warning", "1"),
    ),
)
TAGGED_ADDRESS = Schema(
    "tagged address", (Key("address", Text(), "Address"), Key("port", PORT, "Port", "the service's port"))
)
LOCALITY = Schema("locality", (Key("region", Text(), "Region", '""'), Key("zone", Text(), "Zone", '""')))

_KINDS = (
    "", "typical", "connect-proxy", "mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway",
)  # fmt: skip
_COMMON = (
    Key("kind", Text(choices=_KINDS), "`connect-proxy` for a proxy registered by hand; gateways come later", '""'),
    Key("id", Text(), "Unique on the node", "the name"),
    Key("name", Text(), "What DNS and intentions call it; it must be given", also=("service",)),
    Key("tags", Texts(), "For filters and DNS", "[]"),
    Key("address", Text(), "Where the instance listens", "the node's address"),
    Key("tagged_addresses", BlockMap(TAGGED_ADDRESS), "More addresses: lan, wan, virtual, …", "{}"),
    Key("port", PORT, "Where the instance listens", "0"),
    Key("socket_path", Text(), "A Unix socket instead of a port", '""'),
    Key("meta", TextMap(), "At most 64 pairs; keys 128 and values 512 characters at most", "{}"),
    Key("weights", Block(WEIGHTS), "DNS SRV weights by health", "{ passing = 1, warning = 1 }"),
    Key("enable_tag_override", Flag(), "Let others change the tags in the catalog", "false"),
    Key("check", Blocks(CHECK), "A health check", "none"),
    Key("checks", Blocks(CHECK), "Health checks", "[]"),
    Key("token", Text(), "ACL token to register with", '""', served=False),
    Key("proxy", Block(PROXY), "What a proxy stands for and what it dials", "{}"),
    Key("locality", Block(LOCALITY), "Where the instance runs", "the agent's"),
    Key("launch", Flag(), "Of a proxy: the agent starts it; false leaves that to you", "the agent's connect.launch"),
    # What a service read from the API carries: accepted, so that it can be written back.
    Key("content_hash", Text(), "Of the API; ignored", '""'),
    Key("datacenter", Text(), "Of the API; ignored", '""'),
    Key("create_index", Whole(maximum=2**63), "Of the API; ignored", "0"),
    Key("modify_index", Whole(maximum=2**63), "Of the API; ignored", "0"),
    Key("enterprise_meta", Anything(), "Ignored", "{}"),
    *TENANCY,
)
SIDECAR = Schema(
    "sidecar_service",
    (
        *_COMMON,
        Key("connect", Anything(), "Refused: a sidecar has no sidecar", "none"),
    ),
)
CONNECT = Schema(
    "a service's connect",
    (
        Key("native", Flag(), "The application itself speaks mesh mTLS", "false"),
        Key("sidecar_service", Block(SIDECAR), "Give the service a sidecar proxy", "none"),
        Key("proxy", Anything(), "Refused: the managed proxies of Consul before 1.3", "none"),
    ),
)
SERVICE = Schema("service", (*_COMMON, Key("connect", Block(CONNECT), "The service's place in the mesh", "none")))
