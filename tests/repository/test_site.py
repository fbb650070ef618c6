"""The documentation site builds without a warning, has no broken link, needs no network, and agrees with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer

from codetr import zoo
from codetr.cli.app import app
from codetr.core.settings import Settings
from codetr.launch.spec import LaunchSpec, SecretKey, Toleration, Volume
from tests.support.browser import Browser, installed
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
PROGRAM = installed()
SEARCH = """(() => {
    const query = document.querySelector(".md-search__input");
    query.dispatchEvent(new FocusEvent("focus"));
    document.querySelector("[data-md-toggle=search]").click();
    query.value = "federated loss";
    query.dispatchEvent(new KeyboardEvent("keyup"));
})()"""
"""What a reader does who opens the search and types."""


class Page(HTMLParser):
    """The ids of a page, what it links to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {values[name] or "" for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")
        source = values.get("src") or (values.get("href") if tag == "link" else None)
        if source and values.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.append(source)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_guide_is_a_page_of_the_site(site: Path) -> None:
    """A guide that the navigation forgets cannot be found."""
    guides = [path for path in DOCS.rglob("*.md") if "hooks" not in path.parts]
    assert len(guides) > 40
    for guide in guides:
        assert (site / guide.relative_to(DOCS)).with_suffix(".html").is_file(), guide


def test_every_link_of_the_site_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """A reader would meet a page that is not there, or land at the top of one instead of at the answer."""
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, for a server
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            missing = parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].ids
            if not target.is_file() or missing:
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_the_site_loads_nothing_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """It has to be readable on a cluster without a network, and no third party learns who reads it."""
    loaded = [source for page in pages.values() for source in page.loaded]
    assert loaded
    assert [source for source in loaded if urlsplit(source).netloc] == []
    scripts = [source for page in pages.values() for source in page.loaded if "iframe-worker" in source]
    assert len(scripts) == len(pages), (
        "the theme's offline mode loads a script from elsewhere unless the site includes it"
    )
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"url\(['\"]?https?:[^)]*\)", styles) == []


@pytest.mark.skipif(PROGRAM is None, reason="no browser is installed")
def test_search_works_on_pages_opened_as_files(site: Path, tmp_path: Path) -> None:
    """Browsers fetch no JSON and start no workers there; without both, the search says "Initializing" for ever."""
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path / "profile") as browser:
        browser.open(site / "index.html")
        browser.evaluate(SEARCH)
        deadline = time.monotonic() + 20
        while not (found := browser.evaluate("document.querySelector('.md-search-result__link')?.href")):
            assert time.monotonic() < deadline, "no result"
            time.sleep(0.1)
        assert browser.problems == []
    assert "how-to/train/rare_classes.html" in found


@pytest.mark.skipif(PROGRAM is None, reason="no browser is installed")
def test_no_page_is_wider_than_a_telephone(site: Path, tmp_path: Path) -> None:
    """A reader would have to scroll sideways for every line; wide tables and code scroll by themselves."""
    assert PROGRAM is not None
    wide = []
    with Browser(PROGRAM, tmp_path / "profile") as browser:
        for page in (
            "index.html",
            "faq.html",
            "reference/settings.html",
            "reference/api/codetr.html",
            "architecture.html",
        ):
            browser.open(site / page, width=400)
            if browser.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(page)
    assert wide == []


def options_of(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    """Yield every command below one with the names of its options."""
    yield name, {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    for below in getattr(command, "commands", {}).values():
        yield from options_of(below, f"{name} {below.name}")


def test_the_command_reference_has_every_command_and_option(site: Path, pages: dict[Path, Page]) -> None:
    """It is generated, from a marker that a page might lose."""
    text = pages[site / "reference" / "cli.html"].text
    for name, options in options_of(typer.main.get_command(app), "codetr"):
        assert name in text
        for option in options:
            assert option in text, f"{name} {option}"
    assert "python -m pipelines submit" in text


def paths_of(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every field of a nested configuration."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict) and name not in ("lr_multipliers",):
            yield from paths_of(value, f"{prefix}{name}.")


@pytest.mark.parametrize("recipe", ["tiny", "co_dino_5scale_lsj_r50_1x_lvis", "co_deformable_detr_mask_r50_1x_coco"])
def test_the_settings_reference_has_every_field_of_a_recipe(recipe: str, site: Path, pages: dict[Path, Page]) -> None:
    """A setting that is not on the page does not exist for a reader."""
    text = set(re.split(r"\s+", pages[site / "reference" / "settings.html"].text))
    missing = [path for path in paths_of(zoo.recipe(recipe).model_dump()) if path not in text]
    assert missing == []


def test_the_settings_reference_has_every_field_of_a_cluster(site: Path, pages: dict[Path, Page]) -> None:
    """Those of lists and mappings too: a cluster's file is written from the page."""
    text = set(re.split(r"\s+", pages[site / "reference" / "settings.html"].text))
    nested: dict[str, type[Settings]] = {"volumes": Volume, "secrets": SecretKey, "tolerations": Toleration}
    spec = LaunchSpec(launcher="local").model_dump()
    listed = [f"{name}.{field}" for name, kind in nested.items() for field in kind.model_fields]
    assert [path for path in (*paths_of(spec), *listed) if path not in text] == []


def block_after(page: str, heading: str) -> list[str]:
    """Return the lines of the first code block below a heading."""
    found = re.search(rf"^## {heading}$.*?^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found is not None, heading
    return found[1].splitlines()


def test_the_tree_on_the_architecture_page_is_that_of_the_repository() -> None:
    """A newcomer looks for a file where the page says it is."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    listed = {line.split("/ ")[0] for line in block_after(page, "The tree")}
    packages = {
        path.parent.relative_to(ROOT).as_posix()
        for path in (ROOT / "codetr").rglob("*.py")
        if path.parent != ROOT / "codetr" and path.name != "__init__.py"
    }
    assert listed & packages == packages
    assert [folder for folder in listed if not (ROOT / folder).is_dir()] == []


def test_the_layers_on_the_architecture_page_are_those_that_are_checked() -> None:
    """A reader would break a rule that the page does not name."""
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    assert block_after(page, "The layers") == layers
