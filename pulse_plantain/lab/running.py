"""What the command lines of the lab share: launched processes, and results with their command.

A result says how it was made, without naming a folder of the machine that made it.
"""

import atexit
import json
import math
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from pulse_plantain.files import write_text


@cache
def join_processes() -> PartialState:
    """accelerate's state of this process among those that were launched together."""
    state = PartialState(cpu=not torch.accelerator.is_available())
    atexit.register(state.destroy_process_group)  # its threads must not outlive the interpreter
    return state


def shorten_word(word: str, root: Path) -> str:
    """A word of a command line as results show it.

    Args:
        word: an option, a value, a path or ``KIND:PATH``.
        root: the project's folder; an absolute path inside it is shown from there, any other
            absolute path by its last name.
    """
    kind, colon, text = word.rpartition(":")
    path = Path(text)
    if path.is_absolute():
        path = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    return f"{kind}{colon}{path}"


def describe_command(script: str, words: Iterable[str], root: Path) -> str:
    """The command line of a script, each word as :func:`shorten_word` shows it."""
    return shlex.join([script, *(shorten_word(word, root) for word in words)])


def write_result(path: Path, result: Any) -> None:
    """Write a result as JSON, whole or not at all; what is not finite is written as null."""
    write_text(path, json.dumps(drop_infinities(result), indent=1) + "\n")


def drop_infinities(value: Any) -> Any:
    """A value as JSON can hold it: NaN and infinities become None, in depth."""
    if isinstance(value, dict):
        return {key: drop_infinities(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [drop_infinities(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
