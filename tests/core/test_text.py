"""What is shown holds no secret and no control character, whoever wrote it."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codetr.core.errors import UserError
from codetr.core.settings import Settings, describe
from codetr.core.text import (
    MASK,
    SafeFormatter,
    counted,
    mask_secrets,
    one_line,
    printable,
    register_secret,
    several_lines,
    shorten,
)

pytestmark = pytest.mark.fast

SECRET = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=8, max_size=30)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:hunter22@host/x", f"https://{MASK}@host/x"),
        ("https://hunter22@host/x", f"https://{MASK}@host/x"),
        ("https://user:hunt/er22@host/x", f"https://{MASK}@host/x"),
        ("at https://user:hunter22@[::1]:80/x and", f"at https://{MASK}@[::1]:80/x and"),
        ("rtsp://admin:hunter22@camera/1", f"rtsp://{MASK}@camera/1"),
        ("Authorization: Bearer abc.def-123", f"Authorization: Bearer {MASK}"),
        ("https://s3/x?X-Amz-Signature=abc&y=1", f"https://s3/x?X-Amz-Signature={MASK}&y=1"),
        ("https://host/x?access_token=abc", f"https://host/x?access_token={MASK}"),
    ],
)
def test_secrets_in_addresses_and_headers_are_masked(text: str, shown: str) -> None:
    assert mask_secrets(text, {}) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/key@2x.png",
        "http://host:8080/a@b",
        "ssh://git@example.org/data.git",
        "Bearer tokens are masked",
        "https://host/x?size=10",
        "name@host",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """A message that names another address than the one that was used cannot be acted upon."""
    assert mask_secrets(text, {}) == text


@given(
    secret=SECRET, name=st.sampled_from(["KFP_TOKEN", "AWS_SESSION_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY"])
)
def test_values_of_secret_variables_are_masked_in_every_spelling(secret: str, name: str) -> None:
    """With a line break at its end a token is refused by the HTTP client, which prints it as Python writes it."""
    for value in (secret, f"{secret}\n", f"\n{secret}\r\n"):
        message = f"Invalid header value {value!r} {value.encode()!r} {value}"
        assert secret not in mask_secrets(message, {name: value}).replace(MASK, "")


@given(secret=st.text(st.characters(codec="ascii", exclude_characters="@"), min_size=8))
def test_the_password_of_an_address_in_the_environment_is_masked(secret: str) -> None:
    address = f"https://user:{secret}@host"
    assert f"user:{secret}@" not in mask_secrets(f"Invalid endpoint: {address}", {"AWS_ENDPOINT_URL": address})


def test_a_secret_that_an_option_gave_is_masked_when_a_server_repeats_it() -> None:
    register_secret("given-by-option")
    assert "given-by-option" not in str(UserError("the server answered: unknown token given-by-option"))


@pytest.mark.parametrize("before", range(40, 90, 7))
def test_a_secret_that_would_be_cut_is_masked(before: int) -> None:
    """The first half of a token, at the end of a long answer of a server, is no text that is recognised as secret."""
    register_secret("hunter2-hunter2-hunter2")
    text = "x" * before + " hunter2-hunter2-hunter2 " + "y" * 100
    for shown in (shorten(text), str(UserError(_problem(text)))):
        assert "hunt" not in shown
        assert len(shown) < 200


def _problem(value: object) -> str:
    with pytest.raises(ValidationError) as caught:
        _Numbers.model_validate({"number": value})
    return describe(caught.value)


class _Numbers(Settings):
    number: int


def test_paths_of_secrets_are_no_secrets() -> None:
    environment = {"WANDB_IDENTITY_TOKEN_FILE": "/run/identity/jwt", "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}
    assert mask_secrets("/run/identity/jwt AKIAEXAMPLE", environment) == "/run/identity/jwt AKIAEXAMPLE"


def test_addresses_in_long_words_are_masked_in_linear_time() -> None:
    """A value of two megabytes on the command line would take a minute to be reported."""
    word = "x" * (2 << 20)
    assert mask_secrets(f"{word} 1https://user:pass@host {word}", {}) == f"{word} 1https://***@host {word}"


@given(text=st.text())
def test_a_line_has_no_control_characters(text: str) -> None:
    """A terminal would execute them; a line break would imitate a message of its own."""
    assert len(one_line(text).splitlines()) <= 1
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in one_line(text))
    assert all(line.startswith("  ") for line in several_lines(text).split("\n")[1:])


def test_escapes_are_readable() -> None:
    assert printable("a\x1b[31m\nb\u202e\udce9é") == "a\\x1b[31m\\nb\\u202e\\udce9é"


def test_log_records_and_errors_pass_through() -> None:
    record = logging.LogRecord("codetr", logging.WARNING, "", 0, "cannot read %s", ("a\nERROR x\x1b[2J",), None)
    assert SafeFormatter("%(levelname)s %(message)s").format(record) == "WARNING cannot read a\n  ERROR x\\x1b[2J"
    assert str(UserError("is\x1b odd", where="a\nb", hint="Rename\x07 it.")) == "a\\nb: is\\x1b odd. Rename\\x07 it."


def test_a_number_agrees_with_its_noun() -> None:
    assert [counted(count, "image") for count in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
