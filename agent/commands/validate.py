"""`chowk validate`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from chowk.agent.commands.command import Failure, flag
from chowk.agent.commands.command import command as make_command
from chowk.agent.commands.output import JSON, format_flag, show_json


@make_command("validate", examples="chowk validate /etc/chowk.d\nchowk validate agent.hcl web.hcl")
@click.argument("paths", nargs=-1, required=True, metavar="FILE_OR_DIR...")
@flag("--quiet", is_flag=True, help="Say nothing when all is well.")
@flag("--config-format", default="", expose_value=False, hidden=True, help="Files are recognised by what they hold.")
@format_flag
def command(paths: tuple[str, ...], quiet: bool, output_format: str) -> int:
    """Check configuration files, and all files of folders, together, as an agent would read them; files with a config entry
    too, each alone (what it would do to the mesh: `chowk config diff`)."""
    from chowk.agent.config.build import build
    from chowk.agent.config.problems import ConfigError

    missing = next((path for path in paths if not Path(path).exists()), None)
    if missing is not None:
        raise Failure(f"there is no file or folder {missing}")
    dirs = [path for path in paths if Path(path).is_dir()]
    files = [path for path in paths if path not in dirs]
    try:
        warnings, problems = list(build(files, dirs, {}, fragments=True, now=time.time()).warnings), []
    except ConfigError as error:
        warnings, problems = [], str(error).splitlines()
    if output_format == JSON:
        show_json({"Valid": not problems, "Problems": problems, "Warnings": warnings})
        return 1 if problems else 0
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    if problems:
        raise Failure("Config validation failed:\n" + "\n".join(problems))
    if not quiet:
        click.echo("Configuration is valid!")
    return 0
