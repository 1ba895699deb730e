"""The servers' replicated settings of what the leader does about them by itself."""

from __future__ import annotations

from chowk.core.records.base import Indexed
from chowk.core.server_options import Autopilot


class AutopilotConfiguration(Indexed, frozen=True, kw_only=True):
    """`settings` as they were last written; before anybody wrote them, those of the leader's own configuration hold."""

    settings: Autopilot = Autopilot()
