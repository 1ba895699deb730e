"""Bodies that register services and checks, read by the same reader as files, with Consul's words for what is wrong.

Trust boundary: whoever may reach this API must not gain a shell. A check that runs a command is refused here unless the
agent's own configuration says `enable_script_checks = true`; `enable_local_script_checks` is for files only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chowk.agent.api.errors import bad_request
from chowk.agent.config.definitions import decode_check, decode_service
from chowk.agent.config.model import ChecksConfig
from chowk.agent.config.problems import ConfigError
from chowk.core.definitions import CheckDefinition, ServiceDefinition

_SHAPE = (": found ", ": expected ", "unknown key", "nest deeper")
"""What is said of a body that has the wrong shape, as opposed to one that makes no sense."""


def decode_service_body(plain: Any) -> ServiceDefinition:
    """The service of a body. HttpError 400: `Missing service name`, `Invalid check: …`, `Request decode failed: …`."""
    for key in plain if isinstance(plain, dict) else ():
        # Files may say one string for a list of one, or a number for a string; in JSON of a client that is a mistake.
        if key.lower() == "tags" and not _are_strings(plain[key]):
            raise bad_request(f"Request decode failed: {key}: expected a list of strings")
    try:
        return decode_service(plain)
    except ConfigError as error:
        raise bad_request(_words(error, "service")) from None


def decode_check_body(plain: Any) -> CheckDefinition:
    """The check of a body; as `decode_service_body`."""
    if isinstance(plain, dict) and not any(
        plain.get(key) for key in plain if key.lower() in ("name", "id", "checkid", "check_id")
    ):
        raise bad_request("Missing check name")
    try:
        return decode_check(_with_one_id(plain))
    except ConfigError as error:
        raise bad_request(_words(error, "check")) from None


def _are_strings(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def _with_one_id(plain: Any) -> Any:
    """Consul's clients may send both: `ID` counts, `CheckID` only without it."""
    if not isinstance(plain, dict):
        return plain
    named = any(value for key, value in plain.items() if key.lower() == "id")
    dropped = ("checkid", "check_id") if named else ("id",)
    return {key: value for key, value in plain.items() if key.lower() not in dropped}


def _words(error: ConfigError, what: str) -> str:
    texts = [problem.text for problem in error.problems]
    shape = [text for text in texts if any(mark in text for mark in _SHAPE)]
    if shape:
        return "Request decode failed: " + "; ".join(shape)
    if texts[0] == "Missing service name":
        return texts[0]
    checks = [text for text in texts if what == "check" or text.startswith("check")]
    return "Invalid check: " + "; ".join(checks) if checks else f"Invalid {what}: " + "; ".join(texts)


def refuse_remote_scripts(config: ChecksConfig, definition: ServiceDefinition | CheckDefinition) -> None:
    """HttpError 400 when a definition of the API would run a command and the agent does not allow that."""
    if config.enable_script_checks or not any(check.args or check.docker_container_id for check in _checks(definition)):
        return
    if config.enable_local_script_checks:
        raise bad_request(
            "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true"
        )
    raise bad_request(
        "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or "
        "'enable_local_script_checks' to true"
    )


def _checks(definition: ServiceDefinition | CheckDefinition) -> Iterator[CheckDefinition]:
    if isinstance(definition, CheckDefinition):
        yield definition
        return
    yield from definition.checks
    if definition.connect is not None and definition.connect.sidecar_service is not None:
        yield from _checks(definition.connect.sidecar_service)
