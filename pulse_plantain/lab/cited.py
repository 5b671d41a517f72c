"""The files under results/ as the pages read them: what is refused, cited and put into tables."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA_SETS = {
    "ubfc1": "UBFC-rPPG (1)",
    "ubfc2": "UBFC-rPPG (2)",
    "pure": "PURE",
    "cohface": "COHFACE",
    "mmpd": "MMPD",
}
"""Public data sets: name of their file under results/ -> name in the tables."""


@dataclass(frozen=True)
class Results:
    """The files that figures are read from.

    Args:
        root: folder of the repository.
    """

    root: Path

    def load(self, name: str) -> dict[str, Any]:
        """One JSON file of results/."""
        return json.loads((self.root / "results" / name).read_text())

    def load_log(self, name: str) -> list[dict[str, Any]]:
        """The rows of one JSON-lines file of results/."""
        lines = (self.root / "results" / name).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def find_evaluated(self) -> list[Path]:
        """The files of evaluate.py about public data sets that there are.

        Raises:
            ValueError: if one under a data set's name has rendered recordings.
        """
        paths = [self.root / "results" / f"{name}.json" for name in DATA_SETS]
        there = [path for path in paths if path.exists()]
        for path in there:
            refuse_rendered(path.name, json.loads(path.read_text()))
        return there


def refuse_rendered(name: str, result: Mapping[str, Any]) -> None:
    """Refuse a result that bears a data set's name and is about rendered recordings.

    Args:
        name: of the file.
        result: of evaluate.py.

    Raises:
        ValueError: if a recording of it is rendered, or nothing says that none is.
    """
    if result.get("rendered", 1) or any(row.get("rendered", True) for row in result["rows"]):
        raise ValueError(
            f"results/{name} has rendered recordings under a data set's name; "
            "scripts/evaluate.py writes those into another file"
        )


def cite(name: str, result: Mapping[str, Any]) -> str:
    """Where a figure comes from: the file, the commit that made it, and its command."""
    return f"`results/{name}`, commit {result['commit']}: `python scripts/{result['command']}`"


def format_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def format_number(value: float | None) -> str:
    """Two decimals, or a dash where there is no figure."""
    return "–" if value is None else f"{value:.2f}"
