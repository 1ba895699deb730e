"""Ports that nobody uses now, found by asking the kernel. Called by every integration test."""

from __future__ import annotations

import socket


def free_port() -> int:
    """A port free for both TCP and UDP on loopback, below the range the kernel gives to outgoing connections when it can."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port: int = tcp.getsockname()[1]
            try:
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
