"""A container may run with a user id that no account has."""

from __future__ import annotations

import pwd
import tempfile
from pathlib import Path

import pytest

from codetr.core.files import sha256_file
from codetr.core.system.user_folders import user_folder
from codetr.data.storage.cache import ImageCache
from codetr.data.storage.links import LinkTargets
from codetr.weights.digest_cache import cached_digest

pytestmark = pytest.mark.fast


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_account(_user: int) -> pwd.struct_passwd:
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "DVC_GLOBAL_CONFIG_DIR", "CODETR_IMAGE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_account)


def test_a_folder_is_named_by_its_variable_or_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert user_folder("XDG_CACHE_HOME", ".cache") == Path("/home/ada/.cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast")
    assert user_folder("XDG_CACHE_HOME", ".cache") == Path("/fast")


@pytest.mark.usefixtures("no_home")
def test_nothing_needs_a_home_folder(tmp_path: Path) -> None:
    """Models could not be loaded, and datasets of DVC repositories not be prepared, where user ids are assigned."""
    assert user_folder("XDG_CACHE_HOME", ".cache") is None
    (tmp_path / "weights").write_bytes(b"content")
    assert cached_digest(tmp_path / "weights", smallest=1) == sha256_file(tmp_path / "weights")
    assert ImageCache.from_environment().folder == Path(tempfile.gettempdir()) / "codetr" / "images"
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[cache]\n    dir = ~nobody-of-this-name/cache\n", encoding="utf-8")
    assert LinkTargets.of([tmp_path]).dvc_caches == (tmp_path.resolve() / ".dvc" / "cache",)
