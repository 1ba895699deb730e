"""The names in a `services` or `nodes` view, found without regard to case. Called by `agent.lookup` and the API."""

from __future__ import annotations

from chowk.agent.views.views import View


def spelling(view: View, name: str) -> str | None:
    """The key of `view` that is `name`, but for case; an exact one wins. None when there is none."""
    return name if name in view.items else view.memo("spellings", _spellings).get(name.lower())


def _spellings(view: View) -> dict[str, str]:
    return {name.lower(): name for name in sorted(view.items, reverse=True)}
