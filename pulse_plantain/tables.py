"""Tables of results: rows that are kept as they come, in CSV, JSON lines or Parquet.

The file under the table's name is whole at any time: it is written under another name and renamed.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .files import write_files

Row = dict[str, Any]
"""A value, or None, for each column."""

FORMS = (".csv", ".jsonl", ".parquet")
"""Suffixes of the tables that are written."""

SHARE = 0.05
"""Largest share of the time that is spent on writing; rows wait where a table is large."""


class Table:
    """Rows of a file, and those that are added to it.

    Args:
        path: of the file, which is read where it exists; its suffix says the form.
        columns: of every row.

    Raises:
        ValueError: for another suffix, for Parquet without pyarrow, and where the file is no table
            of these columns.
        OSError: if the file cannot be read, or nothing can be written where it is to be.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path, self.columns = path, list(columns)
        if path.suffix not in FORMS:
            raise ValueError(f"{path}: a table ends in {', '.join(FORMS)}")
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK)):
            raise OSError(f"{path}: nothing can be written into {folder}")
        if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise ValueError(
                f"{path}: Parquet needs pyarrow (pip install pyarrow); .csv and .jsonl need nothing"
            )
        self.rows: list[Row] = self._read() if path.exists() else []
        if any(list(row) != self.columns for row in self.rows):
            raise ValueError(
                f"{path} has other columns than this command writes: name another file"
            )
        self._waiting, self._next = False, 0.0

    def add(self, rows: Iterable[Row]) -> None:
        """Add rows that belong together: all of them get into the file, or none."""
        self.rows += [{name: row.get(name) for name in self.columns} for row in rows]
        self._waiting = True
        if time.monotonic() >= self._next:
            self.write()

    def write(self) -> None:
        """Write the file, unless all rows are in it."""
        if not self._waiting:
            return
        began = time.monotonic()
        write_files({self.path: self._write})
        ended = time.monotonic()
        self._waiting, self._next = False, ended + (ended - began) / SHARE

    def _read(self) -> list[Row]:
        try:
            if self.path.suffix == ".parquet":
                from pyarrow import parquet  # pyright: ignore[reportMissingImports] - optional

                return parquet.read_table(self.path).to_pylist()
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
            if self.path.suffix == ".jsonl":
                return [dict(json.loads(line)) for line in text.splitlines() if line]
            names, *lines = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
            if not names:
                return []
            return [dict(zip(names, line, strict=True)) for line in lines]
        except (ValueError, TypeError, csv.Error) as error:
            raise ValueError(
                f"{self.path} is no table that can be gone on with ({error})"
            ) from None

    def _write(self, path: Path) -> None:
        if self.path.suffix == ".parquet":
            import pyarrow  # pyright: ignore[reportMissingImports] - optional
            from pyarrow import parquet  # pyright: ignore[reportMissingImports]

            parquet.write_table(pyarrow.Table.from_pylist(self.rows), path)
            return
        with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            if self.path.suffix == ".jsonl":
                file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in self.rows)
                return
            table = csv.DictWriter(file, self.columns, lineterminator="\n")
            table.writeheader()
            table.writerows(self.rows)
