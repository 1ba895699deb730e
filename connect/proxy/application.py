"""Dialling the local application behind a sidecar. Called by the inbound listener, for TCP and HTTP."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from chowk.connect.proxy.links import PlainLink
from chowk.connect.snapshot import InboundSnapshot

AnyLink = TypeVar("AnyLink", bound=PlainLink)


async def dial_application(inbound: InboundSnapshot, link: AnyLink) -> AnyLink:
    """`link`, connected to the application. OSError or TimeoutError within `connect_timeout_s`."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(inbound.connect_timeout_s):
        if inbound.local_socket_path:
            await loop.create_unix_connection(lambda: link, inbound.local_socket_path)
        else:
            await loop.create_connection(lambda: link, inbound.local_address, inbound.local_port)
    return link
