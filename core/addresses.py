"""How an address and a port are written together. Called wherever one is told or dialled."""

from __future__ import annotations


def joined(host: str, port: int | str) -> str:
    """`host:port`, and `[v6]:port` for an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
