"""The tables of TLS: `tls{}`, and the older names at the top. Read by `keys_agent`; what they come to is `https_rules`.

Only the HTTPS API uses them. RPC and gossip take theirs from `encrypt`: see docs/security.md.
"""

from __future__ import annotations

from chowk.agent.config.schema import Block, Flag, Key, Schema, Text

VERSIONS = ("", "TLSv1_0", "TLSv1_1", "TLSv1_2", "TLSv1_3", "TLS_AUTO", "tls10", "tls11", "tls12", "tls13")


def _block(name: str, *, served: bool, extra: tuple[Key, ...] = ()) -> Schema:
    return Schema(
        name,
        (
            Key("cert_file", Text(), "The certificate, and those between it and the authority (PEM)", '""', served=served),
            Key("key_file", Text(), "Its key (PEM)", '""', served=served),
            Key("ca_file", Text(), "The authorities of clients' certificates (PEM)", '""', served=served),
            Key("ca_path", Text(), "A folder of them", '""', served=served),
            Key("verify_incoming", Flag(), "Clients must show a certificate", "false", served=served),
            Key("tls_min_version", Text(choices=VERSIONS), "The oldest TLS taken; 1.2 at least", '"TLSv1_2"', served=served),
            Key("tls_cipher_suites", Text(), "OpenSSL's default is used", '""', served=False),
            *extra,
        ),
    )  # fmt: skip


_OUTGOING = (
    Key("verify_outgoing", Flag(), "With `encrypt`, RPC is mTLS by certificates of that key", "true", always=True),
    Key(
        "verify_server_hostname", Flag(), "With `encrypt`, RPC is mTLS by certificates of that key", "true", always=True
    ),
)
TLS = Schema(
    "tls",
    (
        Key("defaults", Block(_block("tls.defaults", served=True, extra=_OUTGOING)), "For every listener", "{}"),
        Key("https", Block(_block("tls.https", served=True)), "The HTTPS API", "tls.defaults"),
        Key(
            "internal_rpc",
            Block(_block("tls.internal_rpc", served=False, extra=_OUTGOING)),
            "RPC, whose certificates come from `encrypt`",
            "{}",
        ),
        Key(
            "grpc",
            Block(
                _block(
                    "tls.grpc",
                    served=False,
                    extra=(Key("use_auto_cert", Flag(), "Of auto_encrypt", "false", served=False),),
                )
            ),
            "xDS for Envoy",
            "{}",
        ),
    ),
)
OLD_TLS = (
    Key("cert_file", Text(), "tls.defaults.cert_file (older name)", '""'),
    Key("key_file", Text(), "tls.defaults.key_file (older name)", '""'),
    Key("ca_file", Text(), "tls.defaults.ca_file (older name)", '""'),
    Key("ca_path", Text(), "tls.defaults.ca_path (older name)", '""'),
    Key("tls_min_version", Text(choices=VERSIONS), "tls.defaults.tls_min_version (older name)", '"TLSv1_2"'),
    Key("verify_incoming", Flag(), "tls.defaults.verify_incoming (older name)", "false"),
    Key("verify_incoming_https", Flag(), "tls.https.verify_incoming (older name)", "false"),
)
UNIX_SOCKETS = Schema(
    "unix_sockets",
    (
        Key("user", Text(), "Owner of the sockets: a name or a number", "the agent's"),
        Key("group", Text(), "Group of the sockets: a name or a number", "the agent's"),
        Key("mode", Text(), 'Mode of the sockets, as in "0660"', '"0600"'),
    ),
)
