"""The tables of keys of the mesh entry, and of the limits and logs in service-defaults and proxy-defaults. Read by
`config_entries`, and printed in the reference. A key's name is that of the field of its record in `core.records`.
"""

from __future__ import annotations

from chowk.agent.config.schema import Block, Blocks, Flag, Key, Number, Schema, Text, TextMap, Texts, Whole

PERCENT = Number(maximum=100)
PATHS = (
    Key("path_exact", Text(), "The whole path", '""'),
    Key("path_prefix", Text(), "How the path starts", '""'),
    Key("path_regex", Text(), "A pattern (RE2) for the whole path", '""'),
)
FALLBACK = Schema(
    "fallback",
    (
        Key("status", Whole(), "200 to 599", "503"),
        Key("body", Text(), "At most 16,384 characters", '""'),
        Key("headers", TextMap(), "Headers of the answer", "{}"),
    ),
)
_TLS_VERSION = Text(choices=("", "TLS_AUTO", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3"))
TLS_DIRECTION = Schema(
    "mesh tls direction",
    (
        Key("tls_min_version", _TLS_VERSION, "Kept; the mesh speaks TLS 1.3 alone", '"TLSv1_3"'),
        Key("tls_max_version", _TLS_VERSION, "Kept; the mesh speaks TLS 1.3 alone", '"TLSv1_3"'),
        Key("cipher_suites", Texts(), "Of TLS 1.2 and older", "[]", served=False),
    ),
)
NORMALIZATION = Schema(
    "request_normalization",
    (
        Key("insecure_disable_path_normalization", Flag(), "Only `false`: paths are always normalised", "false"),
        Key("merge_slashes", Flag(), "Slashes are always merged", "true", always=True),
        Key(
            "path_with_escaped_slashes_action",
            Text(),
            "Such requests are always refused; what would let them through is an error",
            '"REJECT_REQUEST"',
        ),
        Key("headers_with_underscores_action", Text(), "Kept; headers that imitate a proxy's are refused", '""'),
    ),
)
MESH = (
    Key(
        "transparent_proxy",
        Block(
            Schema(
                "mesh transparent_proxy",
                (Key("mesh_destinations_only", Flag(), "Of transparent proxies", "false", served=False),),
            )
        ),
        "Of transparent proxies",
        "{}",
        served=False,
    ),
    Key("allow_enabling_permissive_mutual_tls", Flag(), "Of permissive mTLS", "false", served=False),
    Key(
        "tls",
        Block(
            Schema(
                "mesh tls",
                (
                    Key("incoming", Block(TLS_DIRECTION), "Of what sidecars take", "{}"),
                    Key("outgoing", Block(TLS_DIRECTION), "Of what sidecars dial", "{}"),
                ),
            )
        ),
        "TLS between sidecars",
        "{}",
    ),
    Key(
        "http",
        Block(
            Schema(
                "mesh http",
                (
                    Key("sanitize_x_forwarded_client_cert", Flag(), "That header is always the proxy's own", "true"),
                    Key(
                        "incoming",
                        Block(
                            Schema(
                                "mesh http incoming",
                                (Key("request_normalization", Block(NORMALIZATION), "How paths are read", "{}"),),
                            )
                        ),
                        "Of what sidecars take",
                        "{}",
                    ),
                ),
            )
        ),
        "HTTP between sidecars",
        "{}",
    ),
    Key("allowed_regions", Texts(), "Traffic never leaves these regions", "[]: no bound"),
)

_BURST = Key("requests_max_burst", Whole(), "Requests at once", "the same")
_LEVEL = (Key("requests_per_second", Whole(), "Requests a second", "0: no limit"), _BURST)
_RATE = (Key("requests_per_second", Whole(), "Requests a second, over 0", required=True), _BURST)
RATE_LIMITS = Schema(
    "rate_limits",
    (
        Key(
            "instance_level",
            Block(
                Schema(
                    "instance_level",
                    (
                        *_LEVEL,
                        Key("routes", Blocks(Schema("rate of a route", (*PATHS, *_RATE))), "Rates of paths", "[]"),
                    ),
                )
            ),
            "What one instance takes, all callers together",
            "{}",
        ),
        Key(
            "callers",
            Blocks(Schema("rate of a caller", (Key("name", Text(), "A service, or `*`", required=True), *_RATE))),
            "What one instance takes of one calling service",
            "[]",
        ),
    ),
)
CONCURRENCY = Schema(
    "concurrency",
    (
        Key("limit", Whole(), "Requests in work at once; with `adaptive` the highest limit", "0: none"),
        Key("adaptive", Flag(), "Find the limit by watching latency", "false"),
        Key("limit_min", Whole(), "With `adaptive`: the lowest limit", "0"),
        Key("priority_header", Text(), "A request header with `critical`, `default` or `sheddable`", '""'),
        Key("trusted_callers", Texts(), "Services whose priorities are believed", "[]: all"),
        Key("fallback", Block(FALLBACK), "The answer to what is shed", "503"),
    ),
)
ACCESS_LOGS = Schema(
    "access_logs",
    (
        Key("enabled", Flag(), "Write a line for each request", "false"),
        Key("disable_listener_logs", Flag(), "Of Envoy", "false", served=False),
        Key("type", Text(choices=("", "stdout", "stderr", "file")), "Where to", '"stdout"'),
        Key("path", Text(), "The file, for the type `file`; an absolute path", '""'),
        Key("json_format", Text(), "Lines are JSON of fixed fields", '""', served=False),
        Key("text_format", Text(), "Lines are JSON of fixed fields", '""', served=False),
        Key("sample_percent", PERCENT, "Of the requests that went well; all others are written", "100"),
    ),
)
