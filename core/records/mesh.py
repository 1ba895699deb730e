"""mesh: settings of the whole mesh; its only name is `mesh`."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from chowk.core.records.config_entry_base import ConfigEntry
from chowk.core.records.traffic import Part


class MeshTlsDirection(Part, frozen=True, kw_only=True):
    """The mesh speaks TLS 1.3 alone; older settings of Consul are kept as written."""

    tls_min_version: str = ""
    tls_max_version: str = ""
    cipher_suites: tuple[str, ...] = ()


class MeshTls(Part, frozen=True, kw_only=True):
    incoming: MeshTlsDirection | None = None
    outgoing: MeshTlsDirection | None = None


class Normalization(Part, frozen=True, kw_only=True):
    """Of request paths. The built-in proxy always normalises; the settings that would weaken it are refused."""

    insecure_disable_path_normalization: bool = False
    merge_slashes: bool = False
    path_with_escaped_slashes_action: str = ""
    headers_with_underscores_action: str = ""


class MeshHttpIncoming(Part, frozen=True, kw_only=True):
    request_normalization: Normalization | None = None


class MeshHttp(Part, frozen=True, kw_only=True):
    sanitize_x_forwarded_client_cert: bool = False
    incoming: MeshHttpIncoming | None = None


class MeshTransparentProxy(Part, frozen=True, kw_only=True):
    mesh_destinations_only: bool = False


class Mesh(ConfigEntry, frozen=True, kw_only=True, omit_defaults=True, tag="mesh"):
    """`allowed_regions`: traffic never leaves these (empty: no such bound)."""

    kind: ClassVar[str] = "mesh"
    since: ClassVar[int] = 4
    transparent_proxy: MeshTransparentProxy | None = None
    allow_enabling_permissive_mutual_tls: bool = msgspec.field(default=False, name="AllowEnablingPermissiveMutualTLS")
    tls: MeshTls | None = None
    http: MeshHttp | None = None
    allowed_regions: tuple[str, ...] = ()
