"""Dialling the local application behind a sidecar. Called by the inbound listener, for TCP and HTTP."""

from __future__ import annotations

import asyncio

from chowk.connect.proxy.link import AnyLink, dial_tcp
from chowk.connect.snapshot import InboundSnapshot


async def dial_application(inbound: InboundSnapshot, link: AnyLink) -> AnyLink:
    """`link`, connected to the application. OSError or TimeoutError within `connect_timeout_s`."""
    async with asyncio.timeout(inbound.connect_timeout_s):
        if inbound.local_socket_path:
            await asyncio.get_running_loop().create_unix_connection(lambda: link, inbound.local_socket_path)
        else:
            await dial_tcp(link, inbound.local_address, inbound.local_port)
    return link
