"""An Ethernet switch in user space: a network that can be cut, slowed and made to lose frames, link by link and way by way.

Each host of the world has a TAP device whose other end is here. Run by `world` as a process of its own; one JSON line on
stdin sets the rules: `{"links": [[from, to, loss, delay_s], …]}`, hosts being numbers; a link that is not named is perfect.
The kernel's own delays (netem) are not everywhere; this needs only /dev/net/tun.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import struct
import sys
from typing import Final

FRAME_BYTES_MAX: Final = 65_536
DELAYED_MAX: Final = 20_000
"""Frames on their way; more are lost, as in any switch."""
_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000


def open_tap(name: str) -> int:
    """The descriptor of a new TAP device in this network namespace; it stays ours when the device moves to another."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


class Switch:
    """`taps` maps a host's number, which is the last byte of its MAC address, to its descriptor."""

    def __init__(self, taps: dict[int, int], rng: random.Random) -> None:
        self._taps = taps
        self._rng = rng
        self._links: dict[tuple[int, int], tuple[float, float]] = {}
        self._delayed = 0
        self._loop = asyncio.get_running_loop()
        for host, descriptor in taps.items():
            self._loop.add_reader(descriptor, self._read, host, descriptor)

    def set_links(self, links: list[tuple[int, int, float, float]]) -> None:
        """The rules from now on."""
        self._links = {(source, target): (loss, delay_s) for source, target, loss, delay_s in links}

    def _read(self, source: int, descriptor: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(descriptor, FRAME_BYTES_MAX)
            except BlockingIOError:
                return
            if frame[0] & 1:
                for target in self._taps:
                    if target != source:
                        self._carry(source, target, frame)
            else:
                self._carry(source, frame[5], frame)

    def _carry(self, source: int, target: int, frame: bytes) -> None:
        loss, delay_s = self._links.get((source, target), (0.0, 0.0))
        if target not in self._taps or (loss and self._rng.random() < loss):
            return
        if not delay_s:
            self._write(target, frame)
        elif self._delayed < DELAYED_MAX:
            self._delayed += 1
            self._loop.call_later(delay_s * self._rng.uniform(0.5, 1.5), self._late, target, frame)

    def _late(self, target: int, frame: bytes) -> None:
        self._delayed -= 1
        self._write(target, frame)

    def _write(self, target: int, frame: bytes) -> None:
        try:
            os.write(self._taps[target], frame)
        except OSError:
            return  # the host's queue is full, or the host is down


async def _serve(hosts: list[int]) -> None:
    taps = {host: open_tap(f"tap{host}") for host in hosts}
    switch = Switch(taps, random.Random(0))
    print("ready", flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        switch.set_links(json.loads(line)["links"])
        print("set", flush=True)


if __name__ == "__main__":
    asyncio.run(_serve([int(argument) for argument in sys.argv[1:]]))
