"""The proxy's line to its agent: attaches for ever, hands on instructions, calls when it is there. Called by `proxy`."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Final, TypeVar

import structlog

from chowk.connect.control import (
    ATTACH,
    REPORT,
    SIGN_LEAF,
    TAPPED,
    Attach,
    Instruction,
    Report,
    SignLeaf,
    Tapped,
)
from chowk.connect.stats.observation import RequestRecord
from chowk.core.errors import ChowkError, Unavailable
from chowk.core.records.ca import LeafCertificate
from chowk.core.requests import Method
from chowk.core.runtime.rpc.connection import RpcConnection
from chowk.core.runtime.rpc.listener import dial_unix

log = structlog.get_logger("chowk.proxy")
RETRY_S_MIN: Final = 0.05
SIGN_TIMEOUT_S: Final = 15.0
REPORT_TIMEOUT_S: Final = 5.0
Q = TypeVar("Q")
A = TypeVar("A")


class AgentLink:
    """`take` is called with each instruction. `version` is what the proxy tells it serves when it attaches."""

    def __init__(
        self,
        proxy_id: str,
        path: Path,
        *,
        manual: bool,
        retry_s_max: float,
        take: Callable[[Instruction], None],
        version: Callable[[], int],
    ) -> None:
        self.proxy_id = proxy_id
        self.instance = secrets.token_hex(8)
        self._path = path
        self._manual = manual
        self._retry_s_max = retry_s_max
        self._take = take
        self._version = version
        self._connection: RpcConnection | None = None

    async def run(self) -> None:
        """Attach; when the agent is gone, attach to the next one. For ever."""
        delay = RETRY_S_MIN
        while True:
            before = self._version()
            try:
                await self._attach()
            except (ChowkError, OSError) as error:
                log.debug("agent not there", error=str(error))
            if self._version() != before:
                delay = RETRY_S_MIN
            await asyncio.sleep(delay)
            delay = min(delay * 2, self._retry_s_max)

    async def sign(self, csr_pem: str) -> LeafCertificate:
        """Have a CSR signed. ChowkError."""
        request = SignLeaf(proxy_id=self.proxy_id, instance=self.instance, csr_pem=csr_pem)
        return (await self._call(SIGN_LEAF, request, SIGN_TIMEOUT_S)).leaf

    async def report(self, report: Report) -> None:
        """Tell how things are. ChowkError."""
        await self._call(REPORT, report, REPORT_TIMEOUT_S)

    async def send_tapped(self, tap_id: int, requests: tuple[RequestRecord, ...], missed: int) -> None:
        """Hand on what a tap took. ChowkError."""
        batch = Tapped(proxy_id=self.proxy_id, instance=self.instance, id=tap_id, requests=requests, missed=missed)
        await self._call(TAPPED, batch, REPORT_TIMEOUT_S)

    async def _attach(self) -> None:
        connection = await dial_unix(self._path)
        attach = Attach(
            proxy_id=self.proxy_id,
            pid=os.getpid(),
            instance=self.instance,
            manual=self._manual,
            version=self._version(),
        )
        try:
            async with aclosing(connection.stream(ATTACH, attach)) as instructions:  # type: ignore[type-var]
                async for instruction in instructions:
                    self._connection = connection
                    self._take(instruction)
        finally:
            self._connection = None
            await connection.close()

    async def _call(self, method: Method[Q, A], request: Q, timeout_s: float) -> A:
        connection = self._connection
        if connection is None:
            raise Unavailable("the agent is not there")
        return await connection.call(method, request, timeout_s=timeout_s)
