"""What is wrong with what a person wrote: every problem of every file, collected, then raised as one `ConfigError`.

Called by every module of this room. A problem has a position (`file:line:column`, or `request` for an HTTP body).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from chowk.core.definitions import Position
from chowk.core.errors import InvalidRequest

PROBLEMS_MAX = 100
"""So many problems are kept; more are only counted."""
WARNINGS_MAX = 1000


class Problem(msgspec.Struct, frozen=True):
    """One thing to mend, and where."""

    position: Position
    text: str

    def __str__(self) -> str:
        return f"{self.position}: {self.text}" if self.position.file else self.text


class ConfigError(InvalidRequest):
    """Something written cannot be used. `str(error)` is one line a problem; `problems` has them apart."""

    def __init__(self, problems: Iterable[Problem], *, left_out: int = 0) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems]
        if left_out:
            lines.append(f"and {left_out} more problems")
        super().__init__("\n".join(lines))


class Problems:
    """Collects problems and warnings while files are decoded; `raise_if_any` ends the collecting."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []
        self._left_out = 0
        self.warnings: list[str] = []

    def add(self, position: Position, text: str) -> None:
        """Note a problem; over PROBLEMS_MAX they are only counted."""
        problem = Problem(position, text)
        if problem in self._problems:
            return
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(problem)
        else:
            self._left_out += 1

    def extend(self, error: ConfigError) -> None:
        """Take over the problems of a file that could not be parsed."""
        for problem in error.problems:
            self.add(problem.position, problem.text)

    def warn(self, position: Position, text: str) -> None:
        """Note something a person should know that does not stop the load."""
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings.append(str(Problem(position, text)))

    def __len__(self) -> int:
        return len(self._problems)

    def raise_if_any(self) -> None:
        """ConfigError with all that was noted, in the order of files as they were read, lines within a file."""
        if self._problems:
            order = {problem.position.file: number for number, problem in reversed(list(enumerate(self._problems)))}
            found = sorted(
                self._problems,
                key=lambda problem: (order[problem.position.file], problem.position.line, problem.position.column),
            )
            raise ConfigError(found, left_out=self._left_out)
