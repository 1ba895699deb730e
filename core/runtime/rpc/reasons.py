"""Why somebody was not let in at the RPC port, or could not get in: the names that are counted, the words for a person.

Used by `tcp`.
"""

from __future__ import annotations

import ssl
from typing import Final

_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
"""X509_V_ERR_… of OpenSSL."""

NOT_ENCRYPTED: Final = "not-encrypted"
UNEXPECTED_ENCRYPTION: Final = "unexpected-encryption"
KEYS_DIFFER: Final = "keys-differ"
HANDSHAKE: Final = "handshake"
SILENT: Final = "silent"
PUSHED_OUT: Final = "pushed-out"
TOO_MANY: Final = "too-many-connections"
WRONG_MEMBER: Final = "wrong-member"

WANTS_ENCRYPTION: Final = "the server wants encryption: set `encrypt`"
HAS_NO_ENCRYPTION: Final = "the server is not encrypted, and we are: set `encrypt` there"
THE_KEYS_DIFFER: Final = "the gossip keys differ (`encrypt`, `chowk keyring`)"


def words_of(error: ssl.SSLError) -> str:
    """What a failed handshake means to a person."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
            return f"{error.verify_message}: the clocks of the two hosts differ by a day or more"
        return f"{THE_KEYS_DIFFER}: {error.verify_message}"
    if error.reason == "WRONG_VERSION_NUMBER":
        return HAS_NO_ENCRYPTION
    return f"the TLS handshake failed: {error}"
