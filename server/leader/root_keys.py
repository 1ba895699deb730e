"""The private keys of the mesh's roots, on this server and the others: found for a root that is there, made for a new one.

A new root's key is durable here and on a majority before the root is told to anybody: whoever leads next has it. Called by
`authority`.
"""

from __future__ import annotations

import asyncio

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from chowk.connect.ca.certificates import Authority, make_root, root_record
from chowk.connect.ca.keys import key_pem, load_key, make_key
from chowk.core.records.ca import CARoot
from chowk.server.leader.key_sharing import KeySharing
from chowk.server.leader.keystore import KeyStore

log = structlog.get_logger("chowk.ca")


class RootKeys:
    """Keys here (`keys`) and there (`sharing`)."""

    def __init__(self, keys: KeyStore, sharing: KeySharing) -> None:
        self._keys = keys
        self._sharing = sharing
        self._candidate: tuple[CARoot, Authority, bytes] | None = None

    def forget(self) -> None:
        """This server leads no more."""
        self._candidate = None

    async def pem(self, root_id: str) -> bytes | None:
        """The key as this server holds it."""
        return await asyncio.to_thread(self._keys.load, root_id)

    async def find(self, root: CARoot) -> Authority | None:
        """The authority of a root, None when nobody has its key. Unavailable when that cannot be known yet."""
        authority = _authority_of(root, await self.pem(root.id))
        if authority is None:
            copy = await self._sharing.find(root.id, lambda pem: _authority_of(root, pem) is not None)
            authority = _authority_of(root, copy)
            if authority is not None and copy is not None:
                await asyncio.to_thread(self._keys.save, root.id, copy)
                log.info("got the key of a root from another server", root=root.id)
        return authority

    async def make(self, cluster_id: str, now_s: float, ttl_s: float) -> tuple[CARoot, Authority]:
        """A new root whose key is where it must be: the same until `made` is called. Unavailable, OSError: call again."""
        if self._candidate is None:
            self._candidate = await asyncio.to_thread(_new, cluster_id, now_s, ttl_s)
        record, authority, pem = self._candidate
        await asyncio.to_thread(self._keys.save, record.id, pem)
        await self._sharing.publish(record.id, pem)
        return record, authority

    async def hold(self, record: CARoot, key: ec.EllipticCurvePrivateKey) -> None:
        """The key of a root that the operator brought is where it must be. Unavailable, OSError: call again."""
        pem = key_pem(key)
        await asyncio.to_thread(self._keys.save, record.id, pem)
        await self._sharing.publish(record.id, pem)

    def made(self) -> None:
        """The root that `make` gave is replicated: the next one is another."""
        self._candidate = None


def _new(cluster_id: str, now_s: float, ttl_s: float) -> tuple[CARoot, Authority, bytes]:
    key = make_key()
    certificate = make_root(key, cluster_id, now_s, ttl_s)
    return root_record(certificate, active=False), Authority(certificate, key), key_pem(key)


def _authority_of(root: CARoot, pem: bytes | None) -> Authority | None:
    """None when the key is gone or is another's."""
    if pem is None:
        return None
    try:
        return Authority(x509.load_pem_x509_certificate(root.root_cert_pem.encode()), load_key(pem))
    except ValueError as error:
        log.error("a key of a root is not usable", root=root.id, error=str(error))
        return None
