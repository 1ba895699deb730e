"""Who the agent is: node name and id, datacenter, domain, gossip key. Called by `assemble`."""

from __future__ import annotations

import base64
import binascii
import re
import uuid

from chowk.agent.config.decode import Decoded
from chowk.agent.config.host import Host
from chowk.agent.config.problems import Problems

NODE_NAME_CHARS_MAX = 128
KEY_BYTES = (16, 24, 32)
_NODE_NAME = re.compile(r"[^\s\x00-\x1f\x7f/:\\*?\"<>|]+")
_DNS_NAME = re.compile(r"[A-Za-z0-9-]{1,63}")
_DATACENTER = re.compile(r"[a-z0-9_-]{1,63}")
_DOMAIN = re.compile(r"(?=.{1,200}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")


def node_name_of(whole: Decoded, host: Host, problems: Problems) -> str:
    """The node's name, the host's when none is given. Names that DNS cannot find are allowed, with a warning."""
    name = str(whole.get("node_name") or host.name).strip()
    where = whole.at("node_name")
    if not name or len(name) > NODE_NAME_CHARS_MAX or _NODE_NAME.fullmatch(name) is None:
        problems.add(
            where, f'node_name: "{name[:40]}" cannot name a node: use letters, digits, dashes and dots, at most 128'
        )
    elif _DNS_NAME.fullmatch(name) is None:
        text = "will not be found through DNS: a name there has at most 63 letters, digits and dashes"
        problems.warn(where, f'node name "{name}" {text}')
    return name


def node_id_of(whole: Decoded, problems: Problems) -> str:
    """The node's UUID in small letters, "" when none is given."""
    text: str = whole.get("node_id", "")
    if not text:
        return ""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        problems.add(whole.at("node_id"), f'node_id: "{text[:40]}" is no UUID')
        return ""


def datacenter_of(whole: Decoded, problems: Problems) -> str:
    """The datacenter, in small letters as in Consul."""
    name = str(whole.get("datacenter") or "dc1").lower()
    if _DATACENTER.fullmatch(name) is None:
        problems.add(whole.at("datacenter"), f'datacenter: "{name[:40]}" may hold letters, digits, - and _ only')
    primary = str(whole.get("primary_datacenter") or name).lower()
    if primary != name:
        text = f'"{primary[:40]}" is another datacenter than "{name[:40]}", which stands for itself here: its CA is its own'
        problems.warn(whole.at("primary_datacenter"), f"primary_datacenter: {text}")
    return name


def domain_of(whole: Decoded, key: str, problems: Problems) -> str:
    """A DNS domain in small letters without its last dot; "" when none is given."""
    name = str(whole.get(key) or "").lower().strip(".")
    if name and _DOMAIN.fullmatch(name) is None:
        problems.add(whole.at(key), f'{key}: "{name[:40]}" is no domain name')
    return name


def base64_key(whole: Decoded, problems: Problems) -> str:
    """The gossip key as written. The key itself is never put into a message."""
    text: str = whole.get("encrypt", "")
    try:
        length = len(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        problems.add(whole.at("encrypt"), "encrypt: no base64; make a key with `chowk keygen`")
        return text
    if text and length not in KEY_BYTES:
        problems.add(
            whole.at("encrypt"), f"encrypt: a key has 16, 24 or 32 bytes, this one {length}; see `chowk keygen`"
        )
    return text
