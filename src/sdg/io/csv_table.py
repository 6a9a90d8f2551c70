"""Tables as .csv that a spreadsheet opens without running what a cell says.

A text that begins like a formula is written with a ' before it, which reading takes off again
(OWASP, CSV injection).
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["cell", "read_table", "table_text", "text_of_cell"]

FORMULA = re.compile(r"'*[=+\-@\t\r]")


def cell(value: Any) -> Any:
    """A value as it is written; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def text_of_cell(text: Any) -> Any:
    """The value of a cell that `cell` gave."""
    quoted = isinstance(text, str) and text.startswith("'") and FORMULA.match(text)
    return text[1:] if quoted else text


def table_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """The text of a .csv with a line for each row, under the first one's columns."""
    lines = [line(rows[0])]
    for row in rows:
        if unknown := row.keys() - rows[0].keys():
            raise ValueError(f"columns that the first row does not have: {sorted(unknown)}")
        lines.append(line(row.get(name, "") for name in rows[0]))
    return "".join(lines)


def line(values: Iterable[Any]) -> str:
    """A line of a .csv, which quotes a cell for a carriage return too."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(map(cell, values))
    return text.getvalue().removesuffix("\r\n") + "\n"


def read_table(file: Path) -> list[dict[str, str]]:
    """The rows of a .csv that `table_text` wrote."""
    with open(file, encoding="utf-8", newline="") as text:
        return [unquoted(row) for row in csv.DictReader(text)]


def unquoted(row: Mapping[str, str]) -> dict[str, str]:
    return {text_of_cell(name): text_of_cell(value) for name, value in row.items()}
