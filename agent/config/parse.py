"""`parse(text, file)`: HCL or JSON to a tree whose every key and value knows its file, line and column.

Called by `agent.config.build` for files and by the CLI for what it is given to write. Lark does the parsing (LALR, so deep
nesting cannot overflow a stack); it is imported on first use, since few commands need it. See docs/decisions/004.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from chowk.agent.config import grammar
from chowk.agent.config.builder import TreeBuilder
from chowk.agent.config.problems import ConfigError, Problem
from chowk.agent.config.tree import ObjectNode
from chowk.core.definitions import Position

if TYPE_CHECKING:
    from lark import Lark, UnexpectedInput

TEXT_CHARS_MAX = 4 * 1024 * 1024
"""A longer file is refused before anything reads it."""

_VALUES = frozenset({"STRING", "HEREDOC", "NUMBER", "BOOL", "NULL", "LSQB", "LBRACE"})
_WORD = re.compile(r"-?[\w.]{1,40}|.", re.DOTALL)
_UNCLOSED = (
    ('"', "a string that is not closed on its line", 'the closing `"` (write longer text as a heredoc: <<EOF … EOF)'),
    ("<<", "a heredoc that never ends", "its end mark alone on a line"),
    ("/*", "a comment that never ends", "`*/`"),
)


def parse(text: str, file: str) -> ObjectNode:
    """The tree of a file: JSON when `file` ends in .json or the text starts with `{`, HCL otherwise.

    ConfigError says file:line:column, what was found there and what was expected. A key twice in a JSON object is an error.
    """
    if len(text) > TEXT_CHARS_MAX:
        where = Position(file=file, line=1, column=1)
        raise ConfigError([Problem(where, f"the file is longer than {TEXT_CHARS_MAX} characters")])
    from lark.exceptions import UnexpectedInput

    text = text.removeprefix("\ufeff")
    json = file.endswith(".json") or text.lstrip().startswith("{")
    try:
        syntax = _parser(json).parse(text)
    except UnexpectedInput as error:
        raise ConfigError([_syntax_problem(error, text, file)]) from None
    return TreeBuilder(file, json=json).document(syntax)


@lru_cache(maxsize=2)
def _parser(json: bool) -> Lark:
    from lark import Lark

    rules = grammar.JSON if json else grammar.HCL
    return Lark(rules, start="document", parser="lalr", lexer="contextual", maybe_placeholders=False)


def _syntax_problem(error: UnexpectedInput, text: str, file: str) -> Problem:
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        lines = text.rstrip().split("\n")
        where = Position(file=file, line=len(lines), column=len(lines[-1]) + 1)
        return Problem(where, f"found the end of the file, expected {_expected(set(error.accepts or error.expected))}")
    where = Position(file=file, line=error.line, column=error.column)
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
        return Problem(
            where, f"found {_found(error.token)}, expected {_expected(expected)}{_hint(error.token, expected)}"
        )
    rest = text[error.pos_in_stream or 0 :]
    for start, found, wanted in _UNCLOSED:
        if rest.startswith(start):
            return Problem(where, f"found {found}, expected {wanted}")
    allowed = set(error.allowed or ()) if isinstance(error, UnexpectedCharacters) else set()
    match = _WORD.match(rest)
    word = match[0] if match is not None else ""
    return Problem(where, f"found `{word}`, expected {_expected(allowed)}{_octal_hint(word)}")


def _found(token: str) -> str:
    text = token.split("\n", maxsplit=1)[0]
    return f"`{text if len(text) <= 40 else text[:37] + '...'}`"


def _expected(terminals: set[str]) -> str:
    """Words for what the grammar would take here."""
    value = "a value (a string, number, true, false, list or block)"
    if "EQUAL" in terminals:
        return "`=` and a value, or `{` and a block"
    if terminals | {"HEREDOC"} >= _VALUES:
        return f"{value} or `]`" if "RSQB" in terminals else value
    if {"IDENT", "STRING"} <= terminals:
        return "a key or `}`" if "RBRACE" in terminals else "a key"
    words = [grammar.WORDS[name] for name in sorted(terminals) if name in grammar.WORDS]
    return " or ".join(words) or "something else"


def _hint(token: str, expected: set[str]) -> str:
    if expected >= {"STRING", "NUMBER"} and token[:1].isalpha():
        return f' (put text in quotes: "{token[:40]}")'
    return ""


def _octal_hint(word: str) -> str:
    return " (put a number that starts with 0 in quotes)" if word[:1] == "0" and word[1:2].isdigit() else ""
