"""The TLS contexts of a proxy, made from its leaf, its key and the mesh's roots. Called for each new leaf or roots.

Python's ssl takes certificate and key only from a file. The key must never lie on a disk, so the file is an anonymous one
in memory (memfd_create(2)), which has no name that another process could open and is gone when it is closed.
A new context has new ticket keys: what was resumable under the old leaf or the old roots must prove itself again.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from chowk.connect.proxy.renewal import HeldLeaf
from chowk.core.records.ca import CARoots

_GROUP: Final = "prime256v1"
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL's x509_vfy.h; Python has no name for it."""


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """What new handshakes use. Open connections keep the context they were made with."""

    leaf: HeldLeaf
    server: ssl.SSLContext
    client: ssl.SSLContext
    lenient: Callable[[], Credentials] | None = None
    """The same, for who is reached by a bypass: the dates of certificates count for nothing. None where it is that."""

    def valid(self, now_s: float) -> bool:
        """Whether the leaf proves anything at `now_s` (Unix seconds)."""
        return self.leaf.valid_from_s <= now_s < self.leaf.valid_until_s


def make_credentials(
    leaf: HeldLeaf, cert_pem: str, key_pem: bytes, roots: CARoots, *, any_time: bool = False
) -> Credentials:
    """Contexts for both roles; with `any_time`, certificates that have ended, or not begun, are good too.

    ssl.SSLError or ValueError when leaf, key or roots cannot be used.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    """Instances are dialled by address; who answers is judged by the SPIFFE id (see `peers`)."""
    authorities = "\n".join(root.root_cert_pem for root in roots.roots)
    if not authorities:
        raise ValueError("no roots")
    chain = cert_pem.encode() + b"\n" + key_pem
    for context in (server, client):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.set_ecdh_curve(_GROUP)
        context.load_verify_locations(cadata=authorities)
        _load_chain(context, chain)
        if any_time:
            context.verify_flags |= _NO_CHECK_TIME
    lenient = None if any_time else partial(make_credentials, leaf, cert_pem, key_pem, roots, any_time=True)
    return Credentials(leaf=leaf, server=server, client=client, lenient=lenient)


def _load_chain(context: ssl.SSLContext, chain_pem: bytes) -> None:
    descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(chain_pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
