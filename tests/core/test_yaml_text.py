"""YAML from outside: whatever it holds, the answer is a value or an error that names the line, in bounded memory."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.core.settings import Settings
from codetr.core.yaml_text import MAX_ALIASED_VALUES, parse_yaml, read_yaml
from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


class Run(Settings):
    epochs: int = 12


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1", "expected a mapping"), ("a: [", "not valid YAML"), ("a: 2024-13-45", "not valid YAML")],
)
def test_unreadable_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_yaml(path)


def test_a_folder_instead_of_a_yaml_file(tmp_path: Path) -> None:
    """`--params some-folder` is easily typed; it must not end in a traceback."""
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_yaml(tmp_path)


def test_yaml_is_never_executed(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("a: !!python/object/apply:os.system ['true']")
    with pytest.raises(UserError, match="not valid YAML"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!bool x", r"'x' is not a bool \(line 1, column 4\)"),
        ("a: !!int ''", "'' is not a int"),
        ("a: !!float x", "'x' is not a float"),
        ("a: !!timestamp x", "'x' is not a timestamp"),
        ("a: !!binary x", "the tag .*binary is not one of JSON's types"),
        ("a: !!set {x}", "the tag"),
        ("a: !custom x", "the tag"),
        ("a: !!int [1]", "not valid YAML"),
        ("a: !!map 1", "not valid YAML"),
        ("a: " + "9" * 5_000, "is not a int"),
        ("a: &x [*x]", "an alias refers to the part that it is in"),
        ("a: &x {<<: *x}", "an alias refers to the part that it is in"),
        ("a: *x", "undefined alias"),
        (BOMB, f"aliases repeat more than {MAX_ALIASED_VALUES:,} values"),
        ("a: " + "[" * 100_000, "nested more than 50 levels"),
        ("a:\n" + "".join(f"{' ' * level}-\n" for level in range(100)), "nested more than 50 levels"),
        ("a: \x1b", "not valid YAML"),
        ("a: 1\n---\nb: 1", "not valid YAML"),
        ("x" * (2 << 20), "larger than 1 MiB"),
    ],
)
def test_what_settings_do_not_need_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_yaml(text, where="params.yaml")
    if "\x1b" not in text and "---" not in text:
        with pytest.raises(UserError):
            Run().override([f"epochs={text.partition(': ')[2] or text}"])


def test_a_few_aliases_are_read() -> None:
    """People share a list of classes between two sections."""
    assert parse_yaml("a: &x {k: [1]}\nb: *x\nc: {<<: *x, d: 2}", where="") == {
        "a": {"k": [1]},
        "b": {"k": [1]},
        "c": {"k": [1], "d": 2},
    }


@given(text=st.text(st.sampled_from("ab01:-.,!&*[]{}<>|'\"# \n\t?%@~=x"), max_size=60))
def test_any_text_is_a_value_or_an_error(text: str) -> None:
    with suppress(UserError):
        parse_yaml(text, where="params.yaml")


@given(
    tag=st.sampled_from(["!!bool", "!!int", "!!float", "!!null", "!!timestamp", "!!str", "!!map", "!!seq", "!", "!x"]),
    value=st.sampled_from(["x", "''", "[]", "{}", "1", "0x", "0b2", "1:99:", "-", "+", ".", "2024-99-01", "~", "null"]),
)
def test_any_tag_on_any_value_is_a_value_or_an_error(tag: str, value: str) -> None:
    for read in (lambda: parse_yaml(f"a: {tag} {value}", where="x"), lambda: Run().override([f"epochs={tag} {value}"])):
        with suppress(UserError):
            read()


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")
    assert read_yaml(path) == {"a": 1}


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"a: caf\xe9")
    with pytest.raises(UserError, match=r"not UTF-8 text \(byte 6\)"):
        read_yaml(path)


@pytest.mark.parametrize("folder", ["codetr", "pipelines", "components"])
def test_this_is_the_only_reader_of_yaml(folder: str) -> None:
    """A second one would not have the limits."""
    for path in (ROOT / folder).rglob("*.py"):
        if path.name != "yaml_text.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"yaml\.(safe_load|load|full_load|parse|compose|scan)", text), path
