"""DNS messages for tests: made and read with dnslib, sent over real sockets of the loopback."""

from __future__ import annotations

import asyncio

import dnslib


def packet(
    name: str, kind: str = "A", *, edns: int | None = None, version: int = 0, number: int = 0x1234, rd: int = 1
) -> bytes:
    record = dnslib.DNSRecord(
        dnslib.DNSHeader(id=number, rd=rd), q=dnslib.DNSQuestion(name, dnslib.QTYPE.reverse[kind])
    )
    if edns is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns, version=version))
    return bytes(record.pack())


def read(reply: bytes) -> dnslib.DNSRecord:
    return dnslib.DNSRecord.parse(reply)


def rcode(reply: bytes) -> str:
    return str(dnslib.RCODE.get(read(reply).header.rcode))


def data(reply: bytes) -> list[str]:
    return [str(rr.rdata) for rr in read(reply).rr]


class _Once(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.replies: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.replies.put_nowait(data)


async def ask_udp(host: str, port: int, *packets: bytes, timeout_s: float = 5.0) -> list[bytes]:
    """The replies to `packets`, as they come."""
    loop = asyncio.get_running_loop()
    transport, once = await loop.create_datagram_endpoint(_Once, remote_addr=(host, port))
    try:
        async with asyncio.timeout(timeout_s):
            for one in packets:
                transport.sendto(one)
            return [await once.replies.get() for _ in packets]
    finally:
        transport.close()


async def ask_tcp(host: str, port: int, *packets: bytes, timeout_s: float = 5.0) -> list[bytes]:
    """The replies to `packets`, all sent at once on one connection."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(b"".join(len(one).to_bytes(2, "big") + one for one in packets))
            return [await read_frame(reader) for _ in packets]
    finally:
        writer.close()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
