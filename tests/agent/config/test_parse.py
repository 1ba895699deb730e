# ruff: noqa: E501 - a table of cases reads best with one case a line
from __future__ import annotations

from contextlib import suppress

import hcl2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.agent.config.parse import TEXT_CHARS_MAX, parse
from chowk.agent.config.problems import ConfigError
from chowk.agent.config.tree import DEPTH_MAX, to_plain
from chowk.core.definitions import Position

# Every habit of the language that CONTRACT.md lists, and what it must mean.
HABITS = {
    "attribute": ('a = "x"', {"a": "x"}),
    "no newline between attributes": ('a = 1 b = "two" c = true', {"a": 1, "b": "two", "c": True}),
    "commas between attributes": ("a { b = 1, c = 2, }", {"a": {"b": 1, "c": 2}}),
    "block": ("a { b = 1 }", {"a": {"b": 1}}),
    "block with an equals sign": ("a = { b = 1 }", {"a": {"b": 1}}),
    "nested blocks on one line": ("a { b { c = 1 } d { e = 2 } }", {"a": {"b": {"c": 1}, "d": {"e": 2}}}),
    "blocks inside list objects": (
        'Routes = [ { Match { HTTP { PathPrefix = "/x" } } } ]',
        {"Routes": [{"Match": {"HTTP": {"PathPrefix": "/x"}}}]},
    ),
    "repeated blocks append": ("a { b = 1 } a { b = 2 }", {"a": [{"b": 1}, {"b": 2}]}),
    "quoted keys": ('"x-gateway" = "q" h { "a b" = 1 }', {"x-gateway": "q", "h": {"a b": 1}}),
    "dashes and dots in keys": ("x-y.z = 1", {"x-y.z": 1}),
    "colons in objects": ('a = { "b": 1, c: 2 }', {"a": {"b": 1, "c": 2}}),
    "trailing comma in a list": ("a = [1, 2, ]", {"a": [1, 2]}),
    "list over lines without commas": ("a = [\n{ b = 1 }\n{ b = 2 }\n]", {"a": [{"b": 1}, {"b": 2}]}),
    "nested lists": ('a = [[1], ["x", []]]', {"a": [[1], ["x", []]]}),
    "empty block, list and file": ("a {} b = []", {"a": {}, "b": []}),
    "empty file": ("", {}),
    "only a comment": ("# nothing", {}),
    "comments of all kinds": ("# one\n// two\n/* three\n four */ a = 1 # five", {"a": 1}),
    "a comment inside a list": ("a = [1, # one\n 2]", {"a": [1, 2]}),
    "comment marks inside a string": ('a = "http://x/#y /* z */"', {"a": "http://x/#y /* z */"}),
    "labels nest": ('service_ttl "web" { x = 1 }', {"service_ttl": {"web": {"x": 1}}}),
    "numbers": ("a = -1 b = 1.5 c = 1e3 d = 0x1F e = 0", {"a": -1, "b": 1.5, "c": 1000.0, "d": 31, "e": 0}),
    "booleans and null": ("a = true b = false c = null", {"a": True, "b": False, "c": None}),
    "keys that start like booleans": ("true_x = 1 nullable = 2", {"true_x": 1, "nullable": 2}),
    "escapes": (r'a = "\"q\" \\ \n\t é \x41"', {"a": '"q" \\ \n\t é A'}),
    "escaped surrogate pair": (r'a = "\ud83d\ude00"', {"a": "😀"}),
    "templates stay text": ('a = "x ${y["z"]} $5 $${w}"', {"a": 'x ${y["z"]} $5 $${w}'}),
    "go templates stay text": ('a = "{{ GetInterfaceIP \\"eth0\\" }}"', {"a": '{{ GetInterfaceIP "eth0" }}'}),
    "heredoc": ("a = <<EOF\none\n  two\nEOF\nb = 1", {"a": "one\n  two\n", "b": 1}),
    "indented heredoc": ("a = <<-EOF\n    one\n      two\n    EOF\n", {"a": "one\n  two\n"}),
    "heredoc at the end of the file": ("a = <<EOF\nx\nEOF", {"a": "x\n"}),
    "empty heredoc": ("a = <<EOF\nEOF\n", {"a": ""}),
    "heredoc in a list": ("a = [<<X\n1\nX\n, <<Y\n2\nY\n]", {"a": ["1\n", "2\n"]}),
    "heredoc with its mark inside a line": ("a = <<EOF\nno EOF here\nEOFX\nEOF\n", {"a": "no EOF here\nEOFX\n"}),
    "heredoc of json": ('a = <<J\n{"x": "${y}", "z": [1]}\nJ\n', {"a": '{"x": "${y}", "z": [1]}\n'}),
    "carriage returns": ("a = 1\r\nb = <<E\r\nx\r\nE\r\n", {"a": 1, "b": "x\n"}),
    "byte order mark": ("\ufeffa = 1", {"a": 1}),
    "unicode keys": ("größe = 1", {"größe": 1}),
    "bare JSON object": ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
    "JSON with what would be a template": ('{"a": "${", "b": "\\u00e9\\/"}', {"a": "${", "b": "é/"}),
    "JSON after blank lines": ('\n\n {"a": 1}\n', {"a": 1}),
}


@pytest.mark.parametrize(("text", "meaning"), HABITS.values(), ids=HABITS.keys())
def test_every_habit_of_the_language_loads(text: str, meaning: object) -> None:
    assert to_plain(parse(text, "a.hcl")) == meaning


def test_keys_and_values_know_their_line_and_column() -> None:
    tree = parse('a = 1\n  b {\n    c = ["x",\n "y"]\n}', "f.hcl")
    b = tree.entries[1]
    c = b.value.entries[0]  # type: ignore[union-attr]
    assert b.position == Position(file="f.hcl", line=2, column=3)
    assert c.position == Position(file="f.hcl", line=3, column=5)
    assert str(c.value.items[1].position) == "f.hcl:4:2"  # type: ignore[union-attr]


SYNTAX_ERRORS = {
    "a = ": "f.hcl:1:4: found the end of the file, expected a value",
    "a = http": '1:5: found `http`, expected a value (a string, number, true, false, list or block) (put text in quotes: "http")',
    'a = "x\nb = 1': "1:5: found a string that is not closed on its line",
    "a {\n  b = 1\n": "2:8: found the end of the file, expected a key or `}`",
    "service {\n name = 1\n port 80\n}": "3:7: found `80`, expected `=` and a value, or `{` and a block",
    "a = [1": "1:7: found the end of the file, expected a value (a string, number, true, false, list or block) or `]`",
    "a = <<E\nx": "1:5: found a heredoc that never ends",
    "a = 1\n/* x": "2:1: found a comment that never ends",
    "a = 1 }": "1:7: found `}`, expected a key",
    "a = 0600": '1:5: found 0600: put a number that starts with 0 in quotes ("0600")',
    r'a = "\d"': r"1:5: a string that cannot be read: \d is no escape; write \\ for a backslash",
    r'a = "\ud800"': "1:5: a string with half of a surrogate pair is not text",
    r'a = "\U00110000"': "no character",
    'a "b" = 1': '1:3: found two keys "a" "b" before a plain value, expected one',
    "a = 1e999": "1:5: the number 1e999 is too large",
    "a = " + "9" * 5000: "1:5: a number of more than 40 digits",
    '{"a": 1, "a": 2}': '1:10: the key "a" is given twice, first at f.hcl:1:2',
    '{"a": 1,}': "1:9: found `}`",
    '{"a" 1}': "1:6: found `1`, expected `:`",
    '{"a": 01}': "1:7: found `01`",
    '{"a": "\\q"}': "1:7: a string that cannot be read",
}


@pytest.mark.parametrize(("text", "message"), SYNTAX_ERRORS.items())
def test_a_syntax_error_says_where_what_was_found_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.hcl")
    assert message in str(caught.value)
    assert caught.value.problems[0].position.file == "f.hcl"


def test_a_json_file_must_be_one_object() -> None:
    with pytest.raises(ConfigError, match="must be one object"):
        parse("[1]", "x.json")


def test_nesting_beyond_the_limit_is_refused_and_within_it_is_read() -> None:
    parse("a=" + "[" * (DEPTH_MAX - 1) + "]" * (DEPTH_MAX - 1), "f.hcl")
    for text in ("a=" + "[" * 50_000 + "]" * 50_000, "a{" * 50_000 + "}" * 50_000, '{"a":' * 5000 + "1" + "}" * 5000):
        with pytest.raises(ConfigError, match=f"nest deeper than {DEPTH_MAX}"):
            parse(text, "f.hcl")
    with pytest.raises(ConfigError, match="labels"):
        parse("a " * 1000 + "{}", "f.hcl")


def test_a_file_beyond_the_size_limit_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        parse("#" * (TEXT_CHARS_MAX + 1), "f.hcl")


FRAGMENTS = st.lists(
    st.sampled_from(
        ["a", "b-c", "=", ":", "{", "}", "[", "]", ",", '"x"', '"', "\\", "${", "1", "-2.5e3", "0x", "007", "true", "null",
         "<<E\n", "<<-E\n", "\nE\n", "#", "//", "/*", "*/", "\n", " ", "é", "\x00", "{{", r"\u", r'"\ud800"', "9" * 50]
    ),
    max_size=40,
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), FRAGMENTS.map("".join)), st.sampled_from(["f.hcl", "f.json"]))
@settings(max_examples=600, deadline=None)
def test_no_text_raises_anything_but_a_config_error(text: str, file: str) -> None:
    with suppress(ConfigError):
        to_plain(parse(text, file))


VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(10**15), 10**15), st.text(st.characters(codec="utf-8"), max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
@settings(max_examples=200, deadline=None)
def test_json_means_what_the_standard_library_says_it_means(value: dict[str, object]) -> None:
    import json

    assert to_plain(parse(json.dumps(value), "f.json")) == value
    assert to_plain(parse(json.dumps(value, ensure_ascii=False, indent=1), "f.json")) == value


HCL2 = [
    'a = "x"\nb = [1, 2]\nc {\n  d = true\n  e = "f"\n}\n',
    'service {\n  name = "web"\n  meta = {\n    a = "b"\n  }\n}\n',
    "a = {\n  b = {\n    c = [{ d = 1 }, { d = 2 }]\n  }\n}\n",
]


@pytest.mark.parametrize("text", HCL2)
def test_plain_hcl_2_means_what_python_hcl2_says_it_means(text: str) -> None:
    def flat(value: object) -> object:
        if isinstance(value, dict):
            return {key: flat(item) for key, item in value.items() if not str(key).startswith("__")}
        if isinstance(value, list):
            items = [flat(item) for item in value]
            # python-hcl2 makes a list of every block; ours is an object when the block stands once
            return items[0] if len(items) == 1 and isinstance(items[0], dict) else items
        return value.strip('"') if isinstance(value, str) else value

    assert flat(hcl2.loads(text)) == flat(to_plain(parse(text, "f.hcl")))
