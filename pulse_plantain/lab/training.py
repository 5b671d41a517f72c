"""What the trainers share: the learning-rate curve, resumable checkpoints, the log, provenance.

Nothing of a model or of data is known here.
"""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pulse_plantain.files import write_files

WINDOWS = (8.0, 5.0, 10.0)
"""Lengths in s that an adapter is trained on; each shows other rates best (docs/tried.md)."""


def choose_window(number: int) -> float:
    """Length in s of all clips of a batch: the lengths take turns."""
    return WINDOWS[number % len(WINDOWS)]


def describe_run(seed: int | None) -> dict[str, Any]:
    """Command, seed, git commit, versions and machine, for the head of every file under results/.

    Args:
        seed: of the run; None where nothing is drawn.
    """
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        check=False,  # outside a clone there is no commit to tell
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    packages = ("torch", "diffusers", "transformers", "peft", "numpy", "scipy")
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "seed": seed,
        "commit": git.stdout.strip() or None,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def autocast_where_fast(device: str, weights: torch.dtype = torch.float32) -> torch.autocast:
    """Autocast to bfloat16 where the device multiplies matrices in it; elsewhere do nothing.

    A CPU without AVX-512 or AMX instructions for it is many times slower in bfloat16, but weights
    that are kept in it cannot be multiplied otherwise.

    Args:
        device: type of the device, "cpu", "cuda" or another.
        weights: type of the weights.
    """
    good = (
        device != "cpu"
        or weights == torch.bfloat16
        or torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return torch.autocast(device, torch.bfloat16, enabled=good)


def measure_peak_gib(device: str) -> float:
    """GiB of the most memory held so far: of the GPU by tensors, else by the whole process.

    Args:
        device: type of the device, "cuda" or another.
    """
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    if sys.platform == "win32":
        import psutil  # comes with accelerate

        return psutil.Process().memory_info().peak_wset / 2**30
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**30 if sys.platform == "darwin" else 2**20)


WARM_UP = 50
"""Steps of the learning rate's rise."""


def learning_rate(step: int, steps: int, peak: float) -> float:
    """The rate at a step: a linear warm-up, then half a cosine down to a hundredth of ``peak``."""
    if step < WARM_UP:
        return peak * (step + 1) / WARM_UP
    angle = math.pi * (step - WARM_UP) / (steps - WARM_UP)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(angle)))


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Scale every group's own peak rate (``initial_lr``) by a factor."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor


class Log:
    """JSON lines in a file: one that tells of each start, then one for each report.

    Args:
        path: of the file; a new start is written behind what is there.
        seed: of the run.
        settings: of the run, as JSON can hold them.
    """

    def __init__(self, path: str | Path, seed: int, settings: dict[str, Any]):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.write(describe_run(seed) | {"settings": settings})

    def write(self, row: dict[str, Any]) -> None:
        """Append one line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def save_checkpoint(path: str | Path, step: int, **parts: Any) -> None:
    """Write a step and the state of parts, whole or not at all.

    Args:
        path: of the file.
        step: from which to go on.
        parts: by name; each has ``state_dict`` and ``load_state_dict``.
    """
    state = {"step": step, "parts": {name: part.state_dict() for name, part in parts.items()}}
    write_files({Path(path): lambda new: torch.save(state, new)})


def load_checkpoint(path: str | Path, **parts: Any) -> int:
    """Load what :func:`save_checkpoint` wrote into parts.

    Returns:
        The step from which to go on, 0 where there is no file.
    """
    if not Path(path).exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return state["step"]
