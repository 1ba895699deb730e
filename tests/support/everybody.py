"""An authorizer that lets everybody do everything, for tests of what comes behind the gate."""

from __future__ import annotations

from chowk.core.runtime.rpc.endpoints import Peer


class Everybody:
    def require(self, permission: str, token: str, peer: Peer) -> None:
        """Everyone may."""
