"""A word to who may have mistyped a service's name, which no command can refuse: it may be registered in a moment."""

from __future__ import annotations

import click

from chowk.agent.commands.client import ApiClient, ApiError, path_of
from chowk.agent.commands.output import printable

ANY = "*"


def warn_unregistered(api: ApiClient, *services: str) -> None:
    """On standard error, for each that the catalog does not know. Says nothing where no server can tell."""
    for service in services:
        if service == ANY:
            continue
        try:
            known = api.get(path_of("catalog", "service", service))
        except ApiError:
            return
        if not known:
            click.echo(printable(f'No service "{service}" is registered now: is the name right?'), err=True)
