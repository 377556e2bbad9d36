"""HTML in which no text can become markup: whatever is not made here is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Final, NamedTuple

VOID: Final = frozenset({"meta", "br"})


class Markup(NamedTuple):
    """A piece of HTML. Made by `element`, `together` and `drawing` only."""

    html: str


Content = Markup | str


def element(name: str, /, *content: Content, **attributes: str) -> Markup:
    """An element; texts in it and values of attributes are escaped.

    `class_` stands for `class`, `aria_label` for `aria-label`.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for key, value in attributes.items()
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{together(*content).html}</{name}>")


def together(*content: Content) -> Markup:
    """One after the other."""
    return Markup("".join(_html(one) for one in content))


def table(caption: str, header: Iterable[str], rows: Iterable[Iterable[Content]]) -> Markup:
    """A table; the first cell of each row is its heading."""
    head = element("tr", *(element("th", one, scope="col") for one in header))
    body = [
        element("tr", element("th", first, scope="row"), *(element("td", one) for one in rest))
        for first, *rest in rows
    ]
    made = element(
        "table", element("caption", caption), element("thead", head), element("tbody", *body)
    )
    # It scrolls alone where the page is narrow, by keyboard too.
    return element("div", made, class_="wide", tabindex="0", role="region", aria_label=caption)


def drawing(svg: bytes, prefix: str, title: str, alt: str) -> Markup:
    """An SVG of ours within the page. Its ids get a prefix, so that drawings do not share any."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'href="#', f'href="#{prefix}-', text)
    text = re.sub(r"url\(#", f"url(#{prefix}-", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    opening, _, rest = text.partition(">")
    described = together(
        element("title", title, id=f"{prefix}-title"), element("desc", alt, id=f"{prefix}-desc")
    )
    labels = f' role="img" aria-labelledby="{prefix}-title {prefix}-desc"'
    return Markup(f"{opening}{labels}>{described.html}{rest}")


def _html(content: Content) -> str:
    return content.html if isinstance(content, Markup) else escape(content, quote=True)
