"""The base of all records, and the names their fields have in JSON. Called by every module of `core.records`."""

from __future__ import annotations

import msgspec

_ACRONYMS = {
    "acl": "ACL",
    "ca": "CA",
    "csr": "CSR",
    "dns": "DNS",
    "grpc": "GRPC",
    "h2ping": "H2PING",
    "http": "HTTP",
    "id": "ID",
    "ip": "IP",
    "os": "OS",
    "pem": "PEM",
    "tcp": "TCP",
    "tls": "TLS",
    "ttl": "TTL",
    "udp": "UDP",
    "uri": "URI",
    "uris": "URIs",
    "uuid": "UUID",
}


def json_name(field: str) -> str:
    """`service_id` -> `ServiceID`: Consul's JSON key of a field."""
    return "".join(_ACRONYMS.get(word, word.capitalize()) for word in field.split("_"))


class Record(msgspec.Struct, frozen=True, kw_only=True, rename=json_name, gc=False):
    """An immutable value with Consul's JSON names. Subclass it; change one with `msgspec.structs.replace`.

    A value that is made whole is in no cycle, so the garbage collector need not look at it: with 300,000 of them its
    full pass, which stops the loop, takes 50 ms instead of 400.
    """


class Indexed(Record, frozen=True, kw_only=True):
    """A record of the replicated store: the Raft index that created it and the one that last changed it."""

    create_index: int = 0
    modify_index: int = 0
