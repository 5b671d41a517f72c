"""What both trainers share: the learning-rate curve, resumable checkpoints, the log, provenance."""

import json
import math
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import torch

WINDOWS = (8.0, 5.0, 10.0)
"""Lengths in s that an adapter is trained on; each shows other rates best (docs/tried.md)."""


def provenance(seed):
    """dict of command, seed, versions and git commit, for the head of every file under results/."""
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
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


def fast_on(device):
    """Autocast to bfloat16 where the device multiplies matrices in it, else nothing.

    A CPU without AVX-512 or AMX instructions for it is many times slower in bfloat16.
    """
    good = (
        device != "cpu"
        or torch.cpu._is_avx512_bf16_supported()
        or torch.cpu._is_amx_tile_supported()
    )
    return torch.autocast(device, torch.bfloat16, enabled=good)


def peak_gib(device):
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


def learning_rate(step, steps, peak, warmup=50):
    """Linear warm-up, then half a cosine down to a hundredth of ``peak``."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))))


def set_learning_rate(optimizers, factor):
    """Scales every group's own peak rate (``initial_lr``) by ``factor``."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor


class Log:
    """JSON lines: a provenance line for each start, then one line for each report."""

    def __init__(self, path, seed, settings):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.write(provenance(seed) | {"settings": settings})

    def write(self, row):
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def save_checkpoint(path, step, **parts):
    """Writes {name: state_dict} and the step, whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    torch.save({"step": step, "parts": {k: v.state_dict() for k, v in parts.items()}}, new)
    new.replace(path)


def load_checkpoint(path, **parts):
    """Loads what :func:`save_checkpoint` wrote into ``parts``; the step to go on from."""
    if not Path(path).exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return state["step"]
