"""What is done at a change: a command with the JSON on standard input, or an HTTP request with it as the body.

Trust boundary: commands and URLs come from the agent's own files, or from the command line of `chowk watch`; never over
the API. Called by `watches` and `chowk watch`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp

from chowk.agent.checks.dial import in_words, tls_context
from chowk.agent.checks.process import Tail, run_command
from chowk.agent.config.model import WatchRequest
from chowk.agent.watches.plan import Change

OUTPUT_BYTES_MAX: Final = 4096
GRACE_S: Final = 5.0
"""How long a command that is stopped has between SIGTERM and SIGKILL."""


class HandlerFailed(Exception):
    """A handler did not do what it should; the text says why."""


def shell() -> str:
    """The shell that runs a command given as one line: the user's."""
    return os.environ.get("SHELL") or "/bin/sh"


async def run_handler(
    arguments: Sequence[str], change: Change, output: Tail | None, begun: Callable[[int], None] = lambda _group: None
) -> None:
    """Run a command to its end. It has the environment of this process, and CONSUL_INDEX and CHOWK_INDEX.

    `output` None lets it write where this process writes. When cancelled, SIGTERM goes to all it started, and SIGKILL
    GRACE_S later. `begun` gets the number of its process group. HandlerFailed when it cannot be started or does not exit
    with 0.
    """
    index = str(change.index)
    with tempfile.TemporaryFile() as stdin:  # a file, so that a command which does not read it holds nobody up
        stdin.write(encode(change))
        stdin.seek(0)
        env = {**os.environ, "CONSUL_INDEX": index, "CHOWK_INDEX": index}
        try:
            status = await run_command(arguments, output, stdin=stdin.fileno(), env=env, grace_s=GRACE_S, begun=begun)
        except (OSError, ValueError) as error:
            raise HandlerFailed(f"cannot run {arguments[0]}: {in_words(error)}") from error
    if status:
        raise HandlerFailed(f"exit status {status}" if status > 0 else f"ended by signal {-status}")


async def post_change(request: WatchRequest, change: Change, session: aiohttp.ClientSession) -> None:
    """Make the request. Redirects are not followed. HandlerFailed unless the answer is 2xx."""
    headers = [("Content-Type", "application/json"), ("X-Consul-Index", str(change.index))]
    headers += [(name, value) for name, values in request.header.items() for value in values]
    try:
        async with session.request(
            request.method,
            request.url,
            data=encode(change),
            headers=headers,
            allow_redirects=False,
            ssl=tls_context(request.tls_skip_verify),
            timeout=aiohttp.ClientTimeout(total=request.timeout_s),
        ) as response:
            if not 200 <= response.status <= 299:
                text = await response.content.read(OUTPUT_BYTES_MAX)
                raise HandlerFailed(f"{request.url} answered {response.status}: {text.decode(errors='replace')}")
    except TimeoutError:
        raise HandlerFailed(f"{request.url} did not answer in {request.timeout_s:g}s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise HandlerFailed(f"{request.url}: {in_words(error)}") from error


def encode(change: Change) -> bytes:
    """The JSON of a change, one line."""
    return json.dumps(change.data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
