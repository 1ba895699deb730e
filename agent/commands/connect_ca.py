"""`chowk connect ca get-config|set-config|status|rotate`: the certificate authority of the mesh."""

from __future__ import annotations

from typing import Any, Final

import click

from chowk.agent.commands.api_flags import api_flags
from chowk.agent.commands.client import ApiClient, path_of
from chowk.agent.commands.command import Command, Group, flag
from chowk.agent.commands.documents import get_any, read_plain
from chowk.agent.commands.output import JSON, format_flag, show_json, show_line, show_table

CA_CONFIGURATION = path_of("connect", "ca", "configuration")
CODES: Final = {"ok": 0, "warning": 1, "critical": 2}
UNKNOWN_CODE: Final = 3

ca = Group("ca", help="The certificate authority of the mesh.")


class _Status(Command):
    error_code = UNKNOWN_CODE


@ca.command("get-config", examples="chowk connect ca get-config")
@flag("--format", type=click.Choice([JSON]), default=JSON, expose_value=False, help="Format of the output.")
@api_flags
def get_config(api: ApiClient) -> None:
    """Show the authority's configuration as JSON."""
    show_json(api.get(CA_CONFIGURATION), indent="\t")


@ca.command("set-config", examples="chowk connect ca set-config -config-file ca.json")
@flag("--config-file", required=True, metavar="FILE", help="HCL or JSON; `-` is standard input.")
@flag("--force-without-cross-signing", is_flag=True, help="Go on even if the old root cannot sign the new one.")
@api_flags
def set_config(api: ApiClient, config_file: str, force_without_cross_signing: bool) -> None:
    """Change the authority's configuration: JSON or HCL with Provider ("consul") and Config.

    Config takes LeafCertTTL, IntermediateCertTTL, RootCertTTL, RotationPeriod, CSRMaxPerSecond, CSRMaxConcurrent, and
    PrivateKey with RootCert: a root of your own. Another root is trusted at once, signs in 30 seconds, and is vouched for by
    the one before it; the key goes to the servers' disks and is never shown. Without RootCert the cluster makes its own.
    """
    plain = read_plain(config_file)
    configuration: dict[str, Any] = {
        "Provider": get_any(plain, "provider") or "consul",
        "Config": get_any(plain, "config") or {},
    }
    if force_without_cross_signing or get_any(plain, "forcewithoutcrosssigning"):
        configuration["ForceWithoutCrossSigning"] = True
    api.put(CA_CONFIGURATION, body=configuration)
    show_line("Configuration updated!")


@ca.command("status", cls=_Status, examples="chowk connect ca status\nchowk connect ca status -format=json || page")
@format_flag
@api_flags
def status(api: ApiClient, output_format: str) -> int:
    """Show every certificate that this agent knows, those that end first at the top.

    Exit code 0: all is well, 1: one comes to its end, 2: one is about to, or has ended, 3: that cannot be known.
    """
    found = api.get(path_of("agent", "metrics", "certificates"))
    if output_format == JSON:
        show_json(found)
    else:
        rows: list[tuple[str, ...]] = [("Severity", "Type", "Name", "Phase", "Ends", "Left")]
        rows += [
            (
                one["Severity"],
                one["Type"],
                one["Name"],
                one.get("Phase", ""),
                one["NotAfter"],
                time_left(one["SecondsRemaining"]),
            )
            for one in found["Certificates"]
        ]
        show_table(rows)
    return max((CODES[one["Severity"]] for one in found["Certificates"] if one["Active"]), default=UNKNOWN_CODE)


@ca.command(
    "rotate",
    examples="chowk connect ca rotate\nchowk connect ca rotate -emergency\nchowk connect ca rotate -emergency -distrust-old",
)
@flag("--emergency", is_flag=True, help="The new root signs at once: the old one has ended, or its key is lost.")
@flag("--distrust-old", is_flag=True, help="With -emergency: trust the old roots no more, since a key may be stolen.")
@api_flags
def rotate(api: ApiClient, emergency: bool, distrust_old: bool) -> None:
    """Give the mesh a new root. All proxies trust it before it signs, and renew their leaves; no connection fails.

    Nothing here depends on the mesh's certificates: it works when every one of them has ended.
    """
    if distrust_old and not emergency:
        raise click.UsageError("-distrust-old needs -emergency")
    query = {"emergency": "true" if emergency else None, "distrust": "true" if distrust_old else None}
    found = api.put(path_of("connect", "ca", "rotate"), query).json()
    show_line(f"New root: {found['RootID']}")
    if distrust_old:
        show_line(
            "It signs now. Proxies renew their leaves; connections between those that have and have not fail until then."
        )
    elif emergency:
        show_line(
            "It signs now. Proxies renew their leaves within 30 seconds; what they hold stays trusted until it ends."
        )
    else:
        show_line(
            "It is trusted now, and signs in 30 seconds; proxies then renew their leaves. Watch: chowk connect ca status"
        )


def time_left(seconds: int) -> str:
    """`3d 4h`, `2h 5m`, `ended`."""
    if seconds <= 0:
        return "ended"
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes = rest // 60
    if days >= 10:
        return f"{days}d"
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest % 60}s"
