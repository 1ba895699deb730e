"""Who was in the cluster when this agent last ran: a restarted one finds it again without being told. Called by `driver`.

A hint, never the truth: it says whom to ask, and is written now and then. A damaged file costs the hint and nothing else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import structlog

from chowk.agent.gossip.keyring import FOLDER
from chowk.core.runtime.files import write_durably

log = structlog.get_logger("chowk.gossip")

FILE: Final = "local.snapshot"
MEMBERS_MAX: Final = 512
"""One that answers is enough; the first by name are kept."""

FILE_BYTES_MAX: Final = 256 * 1024


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`addresses` are (host, port) of the other members' gossip; `left`: this agent left on purpose and stays away."""

    addresses: tuple[tuple[str, int], ...] = ()
    left: bool = False


def read_snapshot(data_dir: Path | None) -> Snapshot:
    """The last one; an empty one when there is none that can be read."""
    if data_dir is None:
        return Snapshot()
    path = data_dir / FOLDER / FILE
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(FILE_BYTES_MAX), type=Snapshot)
    except FileNotFoundError:
        return Snapshot()
    except (OSError, ValueError) as error:
        log.warning(
            "the members of the last run are forgotten: their file cannot be read", file=str(path), error=str(error)
        )
        return Snapshot()


def write_snapshot(data_dir: Path | None, snapshot: Snapshot) -> None:
    """Keep it for the next run; on a disk that refuses, that run will not know whom to ask."""
    if data_dir is None:
        return
    path = data_dir / FOLDER / FILE
    kept = msgspec.structs.replace(snapshot, addresses=tuple(sorted(snapshot.addresses)[:MEMBERS_MAX]))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, msgspec.json.encode(kept))
    except OSError as error:
        log.warning("the members could not be kept for the next run", file=str(path), error=str(error))
