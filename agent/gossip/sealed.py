"""What passes gossip's ports: packets sealed with AES-GCM under the cluster's keys, or plain where there are none.

Called by `transport` for every datagram and every piece of a stream. A packet is

    version (1 byte) | length of the label (1) | label | nonce (12) | ciphertext and tag (16)      with keys
    version (1 byte) | length of the label (1) | label | payload                                   without

The label is the datacenter: in the clear, so that two clusters joined by mistake can be told apart, and authenticated, so
that nobody moves a packet from one to the other. Authenticated with it are the channel (datagram, question or answer of a
stream) and, on streams, the listener's fresh challenge and the number of the piece: a packet opens only where it was meant.

Replay. Streams cannot be replayed: the challenge is new for each. Datagrams can, and may: every statement in one carries the
incarnation or Lamport time that orders it, so an old one loses against what is known; an old ack answers no open probe, and
an old ping costs one ack. Keys are changed over streams only, for that reason.

Nonces are 12 random bytes (NIST SP 800-38D 8.2.2); at 1,000 packets a second the bound of 2**32 a key is reached after 49
days in the worst case, at gossip's usual 20 a second in seven years. Rotating keys (`chowk keyring`) starts anew.
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PLAIN: Final = 1
ENCRYPTED: Final = 2
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
LABEL_BYTES_MAX: Final = 63

DATAGRAM: Final = b"d"
QUESTION: Final = b"q"
ANSWER: Final = b"a"

MALFORMED: Final = "malformed"
OTHER_DATACENTER: Final = "other-datacenter"
NOT_ENCRYPTED: Final = "not-encrypted"
UNEXPECTED_ENCRYPTION: Final = "unexpected-encryption"
KEYS_DIFFER: Final = "keys-differ"

WORDS: Final = {
    MALFORMED: "it is no gossip packet, or a damaged one",
    OTHER_DATACENTER: "it is of another datacenter",
    NOT_ENCRYPTED: "it is not encrypted, and gossip here is (`encrypt`)",
    UNEXPECTED_ENCRYPTION: "it is encrypted, and gossip here is not (`encrypt` is not set)",
    KEYS_DIFFER: "no key of ours opens it: the gossip keys (`encrypt`, `chowk keyring`) differ",
}


class Refused(ValueError):
    """A packet that is not for us. `reason` is one of WORDS, `detail` what the sender calls its datacenter, or ""."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(WORDS[reason])
        self.reason = reason
        self.detail = detail


class Sealer:
    """Seals and opens for one datacenter, with `keys` (the primary first) as they were last set."""

    def __init__(self, datacenter: str, keys: tuple[bytes, ...]) -> None:
        self.datacenter = datacenter
        label = datacenter.encode()[:LABEL_BYTES_MAX]
        self._label = bytes([len(label)]) + label
        self._ciphers: dict[bytes, AESGCM] = {}
        self.keys: tuple[bytes, ...] = ()
        self.set_keys(keys)

    def set_keys(self, keys: tuple[bytes, ...]) -> None:
        """From now on: seal with the first, open with any; none: plain."""
        self.keys = keys
        self._ciphers = {key: self._ciphers.get(key) or AESGCM(key) for key in keys}

    @property
    def overhead(self) -> int:
        """Bytes that sealing adds, with keys or without: the size a packet may have does not change with a rotation."""
        return 1 + len(self._label) + NONCE_BYTES + TAG_BYTES

    def seal(self, payload: bytes, channel: bytes, context: bytes = b"") -> bytes:
        """The packet of `payload`."""
        if not self.keys:
            return bytes([PLAIN]) + self._label + payload
        nonce = os.urandom(NONCE_BYTES)
        head = bytes([ENCRYPTED]) + self._label
        return head + nonce + self._ciphers[self.keys[0]].encrypt(nonce, payload, head + channel + context)

    def open(self, packet: bytes, channel: bytes, context: bytes = b"") -> bytes:
        """The payload. Refused when the packet is damaged, of another cluster, or sealed otherwise than we seal."""
        head_size = 2 + packet[1] if len(packet) > 1 else 0
        if not head_size or len(packet) < head_size or packet[0] not in (PLAIN, ENCRYPTED):
            raise Refused(MALFORMED)
        head = packet[:head_size]
        if head[1:] != self._label:
            raise Refused(OTHER_DATACENTER, head[2 : 2 + LABEL_BYTES_MAX].decode(errors="replace"))
        if packet[0] == PLAIN:
            if self.keys:
                raise Refused(NOT_ENCRYPTED)
            return packet[head_size:]
        if not self.keys:
            raise Refused(UNEXPECTED_ENCRYPTION)
        nonce = packet[head_size : head_size + NONCE_BYTES]
        sealed = packet[head_size + NONCE_BYTES :]
        if len(sealed) < TAG_BYTES:
            raise Refused(MALFORMED)
        for cipher in self._ciphers.values():
            try:
                return cipher.decrypt(nonce, sealed, head + channel + context)
            except InvalidTag:
                continue
        raise Refused(KEYS_DIFFER)
