"""The gossip keys of this agent: one signs and encrypts what is sent, all open what is received. Kept in a file, mode 0600.

`Keyring.open` is called by `agent.boot` before gossip starts; the driver changes it when a rotation reaches this agent.
The file is Consul's (`serf/local.keyring`: a JSON list of base64, the primary key first), so that its tools know it.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Final

import structlog

from chowk.core.errors import ChowkError, InvalidRequest
from chowk.core.runtime.files import write_durably

log = structlog.get_logger("chowk.gossip")

FOLDER: Final = "serf"
FILE: Final = "local.keyring"
KEY_BYTES: Final = (16, 24, 32)
KEYS_MAX: Final = 8
"""Keys in one ring. Every foreign packet costs a try of each, and a rotation needs two."""

FILE_BYTES_MAX: Final = 64 * 1024


class KeyringError(ChowkError):
    """The keyring's file cannot be used; the text says what to do."""


def decode_key(text: str) -> bytes:
    """The bytes of a key in base64. InvalidRequest when it is none; the text never holds the key."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("the key is no base64; make one with `chowk keygen`") from None
    if len(key) not in KEY_BYTES:
        raise InvalidRequest(f"a gossip key has 16, 24 or 32 bytes, this one {len(key)}; make one with `chowk keygen`")
    return key


def encode_key(key: bytes) -> str:
    """A key in base64."""
    return base64.b64encode(key).decode()


class Keyring:
    """The keys, the primary one first; none: the cluster is not encrypted. `path` None keeps them in memory only.

    Every change is on disk before it is in force, and in force at once for who reads `keys`.
    """

    def __init__(self, keys: tuple[bytes, ...] = (), path: Path | None = None) -> None:
        self.keys = keys
        self._path = path

    @classmethod
    def open(cls, encrypt: str, data_dir: Path | None) -> Keyring:
        """The ring of `data_dir`; where there is none yet, a new one of the one key `encrypt` ("" for none).

        Once there is a file it counts and `encrypt` does not, as in Consul: a rotation must outlive a restart with an old
        configuration. KeyringError when the file or the key cannot be used.
        """
        configured = (decode_key(encrypt),) if encrypt else ()
        if data_dir is None:
            return cls(configured)
        path = data_dir / FOLDER / FILE
        try:
            if not path.exists():
                ring = cls((), path)
                if configured:
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    ring._replace(configured)
                return ring
            path.chmod(0o600)
            with path.open("rb") as file:
                keys = _decode_file(file.read(FILE_BYTES_MAX))
        except (OSError, ValueError, InvalidRequest) as error:
            text = (
                f"{path} cannot be used as a gossip keyring ({error}); restore it, or delete it to begin with `encrypt`"
            )
            raise KeyringError(text) from error
        if configured and configured[0] not in keys:
            log.warning("the keyring's file counts, not the key of `encrypt`, which is not in it", file=str(path))
        return cls(keys, path)

    def install(self, key: bytes) -> None:
        """Add a key that opens what others send; nothing is sealed with it until `use`. InvalidRequest: the ring is full."""
        self._refuse_if_plain()
        if key in self.keys:
            return
        if len(self.keys) >= KEYS_MAX:
            raise InvalidRequest(f"the keyring holds {KEYS_MAX} keys already; remove one first")
        self._replace((*self.keys, key))

    def use(self, key: bytes) -> None:
        """Make an installed key the primary one. InvalidRequest when it is not installed."""
        self._refuse_if_plain()
        if key not in self.keys:
            raise InvalidRequest("the key is not in the keyring; install it first")
        self._replace((key, *(each for each in self.keys if each != key)))

    def remove(self, key: bytes) -> None:
        """Forget a key; one that is not there is no error. InvalidRequest for the primary one."""
        self._refuse_if_plain()
        if key == self.keys[0]:
            raise InvalidRequest("removing the primary key is not allowed; use another one first")
        if key in self.keys:
            self._replace(tuple(each for each in self.keys if each != key))

    def _refuse_if_plain(self) -> None:
        # A key sent through a cluster that is not encrypted would be anyone's.
        if not self.keys:
            raise InvalidRequest("gossip is not encrypted on this agent: it has no keyring; set `encrypt` and restart")

    def _replace(self, keys: tuple[bytes, ...]) -> None:
        if self._path is not None:
            write_durably(self._path, json.dumps([encode_key(key) for key in keys]).encode())
        self.keys = keys


def _decode_file(data: bytes) -> tuple[bytes, ...]:
    texts = json.loads(data)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError("it is no JSON list of keys in base64")
    if len(texts) > KEYS_MAX:
        raise ValueError(f"it holds more than {KEYS_MAX} keys")
    return tuple(dict.fromkeys(decode_key(text) for text in texts))
