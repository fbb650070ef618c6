"""Self-contained HTML pages: no other file, no network."""

from __future__ import annotations

import base64

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from codetr.core.text import counted


def page_environment(package: str) -> Environment:
    """Return a Jinja environment for the templates of a package, which extend our `page.html`.

    Values are escaped: class and file names are not trusted. `3 | counted("image")` is "3 images".
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), PackageLoader("codetr.visual", "templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment


def data_uri(kind: str, content: bytes) -> str:
    """Encode the content of an image file ("png", "jpeg") as a `data:` URI."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
