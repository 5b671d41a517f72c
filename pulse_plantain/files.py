"""Files that are whole or absent: nothing half-written is ever left under a file's own name."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path


def write_files(writers: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write every file under another name first, and rename them once all are there.

    Args:
        writers: path of each file -> function that writes it to the path that it is given. Folders
            are made where they are missing.

    Raises:
        Whatever a writer raises; then none of the files is there, or the old ones still are.
    """
    own = secrets.token_hex(8)  # others may write the same file, from other machines too
    parts = {path: path.with_name(f".{path.name}.{own}.part") for path in writers}
    try:
        for path, write in writers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(parts[path])
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write one text file, whole or not at all."""
    write_files({path: lambda part: part.write_text(text, encoding="utf-8")})
