"""A page that holds all it shows: no script, nothing to load, nothing unescaped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from bench.pages.markup import Markup, drawing, element, table

if TYPE_CHECKING:
    from bench.pages.canvas import Picture

# No policy lets this page load or run anything, so that none of its text ever could.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"

STYLE: Final = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #595959; --line: #d5d5d5;
  --good: #007a5a; --bad: #b33c00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e6; --paper: #161616; --soft: #a8a8a8; --line: #444; --good: #4fc3a1;
    --bad: #ff9a66; }
  figure svg { filter: invert(0.91) hue-rotate(180deg); }
}
body { font: 1rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.3; border-left: 0.4rem solid var(--soft);
  padding-left: 0.8rem; }
h1.good { border-color: var(--good); } h1.bad { border-color: var(--bad); }
h2 { font-size: 1.2rem; margin-top: 2.2rem; }
.quick { font-size: clamp(2rem, 8vw, 4rem); font-weight: 800; line-height: 1.1; text-align: center;
  border: 0.4rem solid var(--bad); color: var(--bad); padding: 1rem; margin: 0 0 1rem; }
.wide, figure { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem; }
th, td { padding: 0.25rem 0.8rem; border-bottom: 1px solid var(--line); text-align: right;
  vertical-align: top; font-variant-numeric: tabular-nums; }
th[scope=row], .texts td, .texts th { text-align: left; } th { font-weight: 500; }
td.bad { color: var(--bad); font-weight: 700; }
figure svg { width: 100%; min-width: 40rem; height: auto; display: block; }
figcaption, .note { color: var(--soft); }
pre { overflow-x: auto; padding: 0.8rem; border: 1px solid var(--line); }
@media print { figure, table { break-inside: avoid; } figure svg { min-width: 0; } }
"""


def page(title: str, /, *content: Markup) -> str:
    """The whole page."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Markup(STYLE)),
    )
    made = element("html", head, element("body", element("main", *content)), lang="en")
    return f"<!doctype html>\n{made.html}\n"


def figure(picture: Picture) -> Markup:
    """A picture within the page, with what it shows in words."""
    return element(
        "figure",
        drawing(picture.svg, picture.name, picture.title, picture.alt),
        element("figcaption", f"{picture.title}. {picture.alt}"),
        tabindex="0",
    )


def texts(caption: str, rows: Iterable[tuple[str, str]]) -> Markup:
    """A table of names and what they are."""
    return element("div", table(caption, ("", ""), rows), class_="texts")
