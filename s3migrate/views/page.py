"""Self-contained HTML pages: one file, no requests, no script, and text from outside is never markup.

Templates are in pages/. Whatever a template prints is put on one line (formats.escape) and HTML-escaped; the page's
content security policy allows nothing but its own style.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from s3migrate.views.plan_text import side_text
from schema.declaration import Side
from schema.formats.escape import one_line, shortened
from schema.formats.quantities import count_text, size_text

KEY_BYTES = 300


def render_page(template: str, **values: Any) -> str:
    """The template of that name in pages/, filled with *values*."""
    # Our own file, and inside <style> nothing may be escaped.
    own = {"style": Markup(_text("page.css")), "style_hash": Markup(style_hash())}  # noqa: S704
    return _environment().get_template(template).render(**own, **values)


@cache
def style_hash() -> str:
    """Names the pages' one style in a content security policy."""
    digest = hashlib.sha256(_text("page.css").encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, finalize=_on_one_line
    )
    environment.filters |= {"count": count_text, "size": size_text, "side": _side, "short": _short}
    return environment


def _text(name: str) -> str:
    return resources.files("s3migrate.views").joinpath("pages", name).read_text(encoding="utf-8")


def _on_one_line(value: Any) -> Any:
    """What a template prints, without control characters; our own markup unchanged."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _side(side: Side) -> Markup:
    """side_text() is on one line already."""
    return escape(side_text(side))


def _short(text: str) -> str:
    return shortened(text, KEY_BYTES)
