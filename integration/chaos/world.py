"""A world of its own for a cluster: hosts are network namespaces behind a switch that can be told to fail.

Where namespaces are not allowed the hosts are addresses of loopback; then nothing can be cut, and `can_cut` says so. Called
by `run`, which enters the namespaces with `enter` before anything else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

HUB: Final = 1
"""The number of the host that the clients and the test run on; its links never fail."""
_INSIDE: Final = "CHOWK_CHAOS_INSIDE"


def enter() -> bool:
    """Run this program again inside namespaces of its own (never returns then); False when that is not allowed."""
    if os.environ.get(_INSIDE):
        return True
    wrapper = ["unshare", "--net", "--mount", "--"]
    try:
        allowed = subprocess.run([*wrapper, "test", "-w", "/dev/net/tun"], capture_output=True).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        return False
    return os.execvpe("unshare", [*wrapper, sys.executable, *sys.argv], {**os.environ, _INSIDE: "1"})


class World:
    """Hosts numbered 10, 11, …; `address(host)` is where one listens, `command(host, …)` runs something on it."""

    def __init__(self, hosts: Iterable[int], *, can_cut: bool) -> None:
        self.hosts = tuple(hosts)
        self.can_cut = can_cut
        self._switch: subprocess.Popen[str] | None = None
        self.disks: dict[int, Path] = {}

    def start(self) -> None:
        """Make the network."""
        if not self.can_cut:
            return
        Path("/run/netns").mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        _run("ip", "link", "set", "lo", "up")
        everyone = (HUB, *self.hosts)
        self._switch = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "switch.py"), *map(str, everyone)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say_heard("ready")
        for host in everyone:
            inside = [] if host == HUB else ["-n", f"host{host}"]
            if host != HUB:
                _run("ip", "netns", "add", f"host{host}")
                _run("ip", "link", "set", f"tap{host}", "netns", f"host{host}")
                _run("ip", *inside, "link", "set", "lo", "up")
            _run("ip", *inside, "link", "set", f"tap{host}", "address", _mac(host))
            _run("ip", *inside, "link", "set", f"tap{host}", "mtu", "9000", "up")
            _run("ip", *inside, "addr", "add", f"{self.address(host)}/24", "dev", f"tap{host}")
            for other in everyone:
                if other != host:
                    neighbour = ["neigh", "add", self.address(other), "lladdr", _mac(other), "dev", f"tap{host}"]
                    _run("ip", *inside, *neighbour)

    def close(self) -> None:
        """End the switch; the namespaces end with this process."""
        if self._switch is not None:
            self._switch.kill()
            self._switch.wait()

    def address(self, host: int) -> str:
        """The IP address of a host."""
        return f"10.99.0.{host}" if self.can_cut else f"127.99.0.{host}"

    def command(self, host: int, *words: str) -> list[str]:
        """The command that runs `words` on a host."""
        return ["ip", "netns", "exec", f"host{host}", *words] if self.can_cut else list(words)

    def set_links(self, links: Iterable[tuple[int, int, float, float]]) -> None:
        """(from, to, loss 0..1, delay in seconds) of every link that is not perfect from now on."""
        if self._switch is not None and self._switch.stdin is not None:
            self._switch.stdin.write(json.dumps({"links": list(links)}) + "\n")
            self._switch.stdin.flush()
            self._say_heard("set")

    def heal(self) -> None:
        """Every link is perfect."""
        self.set_links([])

    def small_disk(self, host: int, path: Path, megabytes: int) -> None:
        """Mount a small file system at `path` for a host's data."""
        path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path))
        self.disks[host] = path

    def _say_heard(self, word: str) -> None:
        if self._switch is None or self._switch.stdout is None or self._switch.stdout.readline().strip() != word:
            raise RuntimeError("the switch does not run")


def _mac(host: int) -> str:
    return f"02:00:00:00:00:{host:02x}"


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")
