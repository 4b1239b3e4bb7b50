"""Tables as HTML: click a column heading to sort, type a word to filter; see tables.js."""

from __future__ import annotations

import html
from collections.abc import Sequence

from landmark_model.web import STATIC
from landmark_model.web.i18n import say

SCRIPT = (STATIC / "tables.js").read_text(encoding="utf-8")
Cell = str | int | float | None


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], title: str, language: str) -> str:
    """A table of `rows`, each as long as `columns`; None is left empty. `title` says what it is.

    A column "sure" is headed by the words of "col_sure".
    """
    titles = [say(f"col_{name}", language) for name in columns]
    body = "".join(f"<tr>{''.join(map(_cell, row, titles))}</tr>" for row in rows)
    return sheet("".join(map(heading, titles)), body, title, language)


def sheet(heads: str, body: str, title: str, language: str) -> str:
    """A table of HTML cells with a field to filter its rows."""
    return (
        f'<div class="sheet"><label>{say("filter", language)} <input type="search"></label>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(title)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def heading(title: str) -> str:
    """The head of a column, which sorts by it."""
    return f'<th scope="col"><button>{html.escape(title)}</button></th>'


def _cell(value: Cell, title: str) -> str:
    kind = "" if isinstance(value, str) else ' class="number"'
    text = "" if value is None else html.escape(str(value))
    return f'<td{kind} data-title="{html.escape(title)}">{text}</td>'
