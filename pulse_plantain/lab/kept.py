"""What is kept between runs: names and dates that tell whether it is still what would be made."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file


def fingerprint(paths: Iterable[str | Path], *words: Any) -> str:
    """Ten hexadecimal digits of the contents of files (folders: all files in them) and of words."""
    digest = hashlib.sha256(repr(words).encode())
    for path in map(Path, paths):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            digest.update(file.name.encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:10]


def hash_weights(path: Path, reading: Mapping[str, Any] | None = None) -> str:
    """Ten hexadecimal digits of the weights in a file, whatever its header says.

    Args:
        path: of the adapter's file.
        reading: numbers of the reading, where what is kept depends on them, too.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(load_file(path).items()):
        digest.update(name.encode())
        digest.update(weight.numpy().tobytes())
    if reading is not None:
        digest.update(json.dumps(dict(reading), sort_keys=True).encode())
    return digest.hexdigest()[:10]


def is_fresh(kept: Path, *sources: Path) -> bool:
    """Whether a file is there and not older than any of the files that it was made from."""
    if not kept.exists():
        return False
    made = kept.stat().st_mtime_ns
    return all(made >= source.stat().st_mtime_ns for source in sources)
