"""Who is at the other end of a TLS connection, judged for each one, resumed or not. Called after every handshake.

OpenSSL has verified the chain against the roots; a resumed session skips that, so the leaf's time is looked at here.
"""

from __future__ import annotations

from typing import Final

from cryptography import x509

from chowk.connect.ca.verification import IdentityError, peer_identity
from chowk.connect.snapshot import SpiffeService

REMEMBERED_MAX: Final = 1024


class Peers:
    """Reads leaves. What was read is remembered by the leaf's bytes, at most REMEMBERED_MAX of them, the oldest dropped."""

    def __init__(self) -> None:
        self._read: dict[tuple[bytes, str], tuple[SpiffeService, float, float]] = {}

    def identify(
        self, leaf_der: bytes | None, trust_domain: str, now_s: float, *, any_time: bool = False
    ) -> SpiffeService:
        """The identity proven by `leaf_der`. IdentityError when there is none, or it is not valid at `now_s` (Unix): that,
        unless its dates do not count (`any_time`).
        """
        if not leaf_der:
            raise IdentityError("the peer showed no certificate")
        known = self._read.get((leaf_der, trust_domain))
        if known is None:
            identity = peer_identity(leaf_der, trust_domain)
            leaf = x509.load_der_x509_certificate(leaf_der)
            known = (identity, leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())
            if len(self._read) >= REMEMBERED_MAX:
                del self._read[next(iter(self._read))]
            self._read[(leaf_der, trust_domain)] = known
        identity, valid_from_s, valid_until_s = known
        if not any_time and not valid_from_s <= now_s < valid_until_s:
            raise IdentityError(f"the certificate of {identity} is not valid now")
        return identity

    def in_time(self, leaf_der: bytes | None, trust_domain: str, now_s: float) -> bool:
        """Whether a leaf that was identified is valid at `now_s` (Unix) too."""
        try:
            self.identify(leaf_der, trust_domain, now_s)
        except IdentityError:
            return False
        return True
