"""`chowk keygen`."""

from __future__ import annotations

import base64
import os

import click

from chowk.agent.commands.command import command as make_command

KEY_BYTES = 32


@make_command("keygen", examples="chowk keygen\nchowk agent -encrypt=$(chowk keygen)")
def command() -> None:
    """Make a random key for encrypting gossip: 32 bytes in base64."""
    click.echo(base64.b64encode(os.urandom(KEY_BYTES)).decode())
