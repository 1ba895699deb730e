"""The tables of keys of config entries of traffic: resolvers, routers and splitters. Read by
`config_entries`, and printed in the reference. A key's name is that of the field of its record in `core.records`.
"""

from __future__ import annotations

from chowk.agent.config.keys_limits import FALLBACK, PATHS, PERCENT
from chowk.agent.config.keys_service import TENANCY
from chowk.agent.config.schema import (
    Block,
    BlockMap,
    Blocks,
    Flag,
    Key,
    Period,
    Schema,
    Text,
    TextMap,
    Texts,
    Whole,
    Wholes,
)

NO_PEER = Key("peer", Text(choices=("",)), "Peerings are not supported", '""')
NO_SAMENESS = Key("sameness_group", Text(choices=("",)), "Of Consul Enterprise", '""')

HEADER = Schema(
    "header",
    (
        Key("name", Text(), "The header; it must be given", required=True),
        Key("present", Flag(), "It is there at all", "false"),
        Key("exact", Text(), "Its whole value", '""'),
        Key("prefix", Text(), "How its value starts", '""'),
        Key("suffix", Text(), "How its value ends", '""'),
        Key("contains", Text(), "What its value contains", '""'),
        Key("regex", Text(), "A pattern for the whole value", '""'),
        Key("invert", Flag(), "Match when the condition does not hold", "false"),
        Key("ignore_case", Flag(), "Compare without case", "false"),
    ),
)
QUERY_PARAM = Schema(
    "query_param",
    (
        Key("name", Text(), "The parameter; it must be given", required=True),
        Key("present", Flag(), "It is there at all", "false"),
        Key("exact", Text(), "Its whole value", '""'),
        Key("regex", Text(), "A pattern for the whole value", '""'),
    ),
)
MATCH_HTTP = Schema(
    "match http",
    (
        *PATHS,
        Key("case_insensitive", Flag(), "Compare the path without case", "false"),
        Key("header", Blocks(HEADER), "Conditions on headers; all must hold", "[]"),
        Key("query_param", Blocks(QUERY_PARAM), "Conditions on the query; all must hold", "[]"),
        Key("methods", Texts(), "HTTP methods", "[]: all"),
    ),
)
MATCH = Schema("match", (Key("http", Block(MATCH_HTTP), "Conditions; all must hold", "{}: every request"),))
EDITS = Schema(
    "header edits",
    (
        Key("add", TextMap(), "Headers to append", "{}"),
        Key("set", TextMap(), "Headers to replace, or add", "{}"),
        Key("remove", Texts(), "Headers to drop; before `set` and `add`", "[]"),
    ),
)
FAULT_DELAY = Schema(
    "fault delay",
    (
        Key("percent", PERCENT, "Of the requests; 0.1 is one in a thousand", required=True),
        Key("duration", Period(), "How long they are held, at most 5m", required=True),
    ),
)
FAULT_ABORT = Schema(
    "fault abort",
    (
        Key("percent", PERCENT, "Of the requests; 0.1 is one in a thousand", required=True),
        Key("status", Whole(), "What they are answered, 400 to 599", required=True),
    ),
)
FAULT = Schema(
    "fault",
    (
        Key("delay", Block(FAULT_DELAY), "Hold requests", "none"),
        Key("abort", Block(FAULT_ABORT), "Answer requests without asking the service", "none"),
        Key("max_percent", PERCENT, "No percentage above may be higher: the guard against a slip", "5"),
        Key(
            "expires",
            Text(),
            'When it ends, at most 24h from now: a time of RFC 3339, like "2030-01-31T18:00:00Z"',
            required=True,
        ),
    ),
)
MIRROR = Schema(
    "mirror",
    (
        Key("service", Text(), "Who gets the copies; answers are dropped", required=True),
        Key("service_subset", Text(), "A subset of it", '""'),
        Key("percent", PERCENT, "Of the requests", "100"),
    ),
)
HTTP_REDIRECT = Schema(
    "http redirect",
    (
        Key("scheme", Text(), "`http` or `https`", "the request's"),
        Key("host", Text(), "A host, with its port or without", "the request's"),
        Key("path", Text(), "A path, with a query or without", "the request's"),
        Key("prefix_rewrite", Text(), "Takes the place of what the route matched", '""'),
        Key("status", Whole(), "301, 302, 303, 307 or 308", "302"),
    ),
)
DESTINATION = Schema(
    "route destination",
    (
        Key("service", Text(), "The service", "the router's own"),
        Key("service_subset", Text(), "A subset of it", '""'),
        Key("prefix_rewrite", Text(), "Takes the place of the matched `path_exact` or `path_prefix`", '""'),
        Key("request_timeout", Period(), "For a request and all its retries", "0s: none"),
        Key("idle_timeout", Period(), "Without a byte in either direction", "0s: none"),
        Key("per_try_timeout", Period(), "For each try", "0s: none"),
        Key("num_retries", Whole(), "Tries after the first, at most 100", "0"),
        Key("retry_on_connect_failure", Flag(), "Retry when no connection comes about", "false"),
        Key("retry_on", Texts(), "Conditions to retry on: `5xx`, `gateway-error`, `reset`, `connect-failure`, …", "[]"),
        Key("retry_on_status_codes", Wholes(), "Status codes to retry on", "[]"),
        Key("request_headers", Block(EDITS), "Changes to the request", "{}"),
        Key("response_headers", Block(EDITS), "Changes to the answer", "{}"),
        Key("mirror", Block(MIRROR), "Copies for another service", "none"),
        Key("fault", Block(FAULT), "Harm done on purpose, for a time", "none"),
        Key("redirect", Block(HTTP_REDIRECT), "Answer with a redirect; excludes all but `response_headers`", "none"),
        Key("fallback", Block(FALLBACK), "The answer when no instance can be reached", "503"),
        *TENANCY,
    ),
)
ROUTE = Schema(
    "route",
    (
        Key("match", Block(MATCH), "Which requests it takes", "{}: every request"),
        Key("destination", Block(DESTINATION), "Where they go", "{}: the service itself"),
    ),
)
ROUTES = Key("routes", Blocks(ROUTE), "The first that matches decides; what none matches goes to the service", "[]")

SPLIT = Schema(
    "split",
    (
        Key("weight", PERCENT, "Percent, to 0.01; all weights sum to 100", required=True),
        Key("service", Text(), "The service", "the splitter's own"),
        Key("service_subset", Text(), "A subset of it", '""'),
        Key("request_headers", Block(EDITS), "Changes to the request", "{}"),
        Key("response_headers", Block(EDITS), "Changes to the answer", "{}"),
        *TENANCY,
    ),
)
STICKY = Schema(
    "sticky",
    (
        Key("header", Text(), "Callers are told by the value of this header", '""'),
        Key("cookie", Text(), "Callers are told by this cookie, made when there is none", '""'),
        Key("ttl", Period(), "How long the cookie lasts", "0s: the session"),
    ),
)
SPLITS = (
    Key("splits", Blocks(SPLIT), "Where the parts go; it must be given"),
    Key("sticky", Block(STICKY), "Whoever came to one split comes to it again", "none"),
)

SUBSET = Schema(
    "subset",
    (
        Key("filter", Text(), "Which instances: the language of `?filter=` of `/v1/health/service`", '"": all'),
        Key("only_passing", Flag(), "Leave out instances with a warning", "false"),
    ),
)
RESOLVER_REDIRECT = Schema(
    "resolver redirect",
    (
        Key("service", Text(), "The service that is meant", '""'),
        Key("service_subset", Text(), "A subset of it", '""'),
        Key("datacenter", Text(), "Its datacenter", '""'),
        NO_PEER,
        NO_SAMENESS,
        *TENANCY,
    ),
)
FAILOVER_TARGET = Schema(
    "failover target",
    (
        Key("service", Text(), "Another service", "the resolver's own"),
        Key("service_subset", Text(), "A subset", '""'),
        Key("datacenter", Text(), "Another datacenter", '""'),
        NO_PEER,
        *TENANCY,
    ),
)
FAILOVER_POLICY = Schema(
    "failover policy",
    (
        Key("mode", Text(choices=("", "sequential", "order-by-locality")), "The order of the targets", '"sequential"'),
        Key("regions", Texts(), "Instances of other regions are never used", "[]: all are"),
    ),
)
FAILOVER = Schema(
    "failover",
    (
        Key("service", Text(), "Another service", "the resolver's own"),
        Key("service_subset", Text(), "A subset", '""'),
        Key("datacenters", Texts(), "Other datacenters, in order", "[]"),
        Key("targets", Blocks(FAILOVER_TARGET), "Places to go, in order; instead of the three above", "[]"),
        Key("policy", Block(FAILOVER_POLICY), "Order and bounds", "{}"),
        NO_SAMENESS,
        *TENANCY,
    ),
)
HASH_COOKIE = Schema(
    "cookie_config",
    (
        Key("session", Flag(), "It lasts as long as the browser", "false"),
        Key("ttl", Period(), "How long it lasts", "0s"),
        Key("path", Text(), "Its path", '""'),
    ),
)
HASH_POLICY = Schema(
    "hash policy",
    (
        Key("field", Text(choices=("", "header", "cookie", "query_parameter")), "What is hashed", '""'),
        Key("field_value", Text(), "The name of the header, cookie or parameter", '""'),
        Key("cookie_config", Block(HASH_COOKIE), "A cookie made for who has none", "none"),
        Key("source_ip", Flag(), "Hash the caller's address", "false"),
        Key("terminal", Flag(), "Leave it at this one when it is there", "false"),
    ),
)
LOAD_BALANCER = Schema(
    "load_balancer",
    (
        Key(
            "policy",
            Text(choices=("", "peak_ewma", "random", "round_robin", "least_request", "ring_hash", "maglev")),
            "How an instance is chosen",
            '"peak_ewma"',
        ),
        Key(
            "ring_hash_config",
            Block(
                Schema(
                    "ring_hash_config",
                    (
                        Key("minimum_ring_size", Whole(), "Points on the ring, at least", "1024"),
                        Key("maximum_ring_size", Whole(), "Points on the ring, at most", "8388608"),
                    ),
                )
            ),
            "Of `ring_hash`",
            "none",
        ),
        Key(
            "least_request_config",
            Block(
                Schema(
                    "least_request_config", (Key("choice_count", Whole(), "Random instances that are compared", "2"),)
                )
            ),
            "Of `least_request`",
            "none",
        ),
        Key("hash_policies", Blocks(HASH_POLICY), "Of `ring_hash` and `maglev`: what is hashed", "[]"),
    ),
)
LOCALITY_PRIORITY = Schema(
    "prioritize_by_locality",
    (Key("mode", Text(choices=("", "none", "failover")), "`failover`: own zone, own region, others", '""'),),
)
RESOLVER = (
    Key("default_subset", Text(), "The subset that is meant when none is named", '"": all instances'),
    Key("subsets", BlockMap(SUBSET), "Instances by name of the subset", "{}"),
    Key("redirect", Block(RESOLVER_REDIRECT), "The name means another service; excludes subsets and failover", "none"),
    Key("failover", BlockMap(FAILOVER), "By subset, or `*`: where to go when no instance is healthy", "{}"),
    Key("connect_timeout", Period(), "To connect to an instance", "5s"),
    Key("request_timeout", Period(), "For a request", "0s: none"),
    Key("load_balancer", Block(LOAD_BALANCER), "How an instance is chosen", "{}"),
    Key("prioritize_by_locality", Block(LOCALITY_PRIORITY), "Near instances first", "none"),
)
