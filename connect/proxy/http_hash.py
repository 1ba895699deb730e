"""What binds a caller to an instance: the hash of parts of its request, by the cluster's hash keys. Pure."""

from __future__ import annotations

import random

from chowk.connect.balance.hashing import combine, hash_key
from chowk.connect.http1.cookie import is_cookie_name, set_cookie
from chowk.connect.http1.heads import RequestHead
from chowk.connect.routing.conditions import cookie_value, header_value, query_value
from chowk.connect.snapshot import HashKey


def hash_of(
    keys: tuple[HashKey, ...], request: RequestHead, address: str, rng: random.Random
) -> tuple[int | None, bytes]:
    """The key for the balancer (None: nothing binds this request), and a Set-Cookie for a cookie that was made (b"": none).

    Keys that the request has are combined in their order; a terminal one that it has ends the search (as in Envoy).
    """
    found: int | None = None
    made = b""
    for key in keys:
        value = _value(key, request, address)
        name = key.name.encode(errors="replace")
        if not value and key.makes_cookie and key.source == "cookie" and not made and is_cookie_name(name):
            value = b"%032x" % rng.getrandbits(128)
            made = set_cookie(name, value, key.cookie_ttl_s, key.cookie_path.encode(errors="replace"))
        if not value:
            continue
        hashed = hash_key(value.decode("latin-1"))
        found = hashed if found is None else combine(found, hashed)
        if key.terminal:
            break
    return found, made


def _value(key: HashKey, request: RequestHead, address: str) -> bytes | None:
    name = key.name.encode(errors="replace")
    match key.source:
        case "header":
            return header_value(request, name.lower())
        case "cookie":
            return cookie_value(request, name)
        case "query":
            return query_value(request.query, name)
        case "source_ip":
            return address.encode()
    return None
