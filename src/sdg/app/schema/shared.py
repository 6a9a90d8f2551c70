"""Kinds that settings of several sections have."""

from sdg.app.kinds import Integer, ListOf, Number, Text

__all__ = ["COUNT", "FILE", "FOLDER", "INTERVAL", "PATH", "SHARE", "WEIGHT"]

PATH = Text("a file, a folder, or owner/name on the hub")
FILE = Text("a file")
FOLDER = Text("a folder")
COUNT = Integer(1)
WEIGHT = Number(0)
SHARE = Number(0, 1)
INTERVAL = ListOf(Number(0, 1), length=2, rising=True)
