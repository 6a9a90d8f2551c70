"""A user's own .csv."""

import csv
import io

from sdg.errors import UserError

__all__ = ["parse_table"]


def parse_table(text: str, place: str) -> list[dict[str, str]]:
    """The rows of a .csv of the user's; a cell that a row lacks is empty.

    Arguments:
        place: whose text it is, for a message.

    Raises:
        UserError: it is no .csv, two of its columns have one name, or a row has more cells than
            there are columns.
    """
    try:
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise UserError(f"{place} cannot be read as .csv: {error}.") from error
    head, *rows = list(filter(None, lines)) or [[]]
    for name in head:
        if head.count(name) > 1:
            raise UserError(f"{place} has two columns of the name '{name}'; rename one.")
    for number, row in enumerate(rows, 1):
        if len(row) > len(head):
            raise UserError(
                f"{place}, row {number} has {len(row)} cells for {len(head)} columns; put quotes "
                "around a text with commas."
            )
    return [dict(zip(head, [*row, *[""] * len(head)], strict=False)) for row in rows]
