"""Pipelines by name: the miniature that comes with the package, or a base and an adapter.

The one loader of the command line, the page, the endpoint and the scripts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch

from .adapter import CONFIG_FILE, PROMPT_FILE, WEIGHTS_FILE
from .lora import find_layers
from .pipeline import GPU_DTYPES, PulsePipeline


def find_bundled(name: str) -> Path:
    """A file or folder that comes with the project, from a clone or from an installed package."""
    package = Path(__file__).resolve().parent
    inside = package / "bundled" / name
    return inside if inside.exists() else package.parent / name


def name_types(types: Any, version: str = diffusers.__version__) -> dict[str, Any]:
    """The argument of ``from_pretrained`` for types of numbers, which diffusers 0.40 renamed."""
    release = tuple(int(part) for part in version.split(".")[:2])
    return {"dtype" if release >= (0, 40) else "torch_dtype": types}


TINY = find_bundled("tiny")
"""The miniature: a pipeline folder, with its adapter in ``adapter/``."""

DEMO = find_bundled("assets/demo.mp4")
"""A rendered face with a known pulse."""


def load_pipeline(
    model: str | Path | None = None,
    adapter: str | Path | None = None,
    device: str | torch.device | None = None,
) -> PulsePipeline:
    """A pipeline with its adapter, ready to be called.

    The text encoder is left out where the adapter's folder holds the prompt's embeddings. The
    adapter is fused into the weights, and on a CPU the VAE's convolutions run with their channels
    last: the same drawings in less time.

    Args:
        model: pipeline folder or Hub id; the miniature where None.
        adapter: adapter folder or Hub id; the miniature's where both are None, else none.
        device: CUDA where there is one, else the CPU.

    Raises:
        OSError, ValueError: as ``from_pretrained`` and ``load_lora_weights``; for a device that
            this machine or this PyTorch has not, and for a model that brings code of its own.
    """
    if model is None:
        model, adapter = TINY, adapter or TINY / "adapter"
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    device = find_device(device)
    dtype = torch.float32 if device.type == "cpu" else GPU_DTYPES
    prompt = Path(adapter or model) / PROMPT_FILE
    without = {"text_encoder": None, "tokenizer": None} if prompt.is_file() else {}
    try:
        pipe = PulsePipeline.from_pretrained(model, **name_types(dtype), **without)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{model} brings code of its own, which only DiffusionPipeline.from_pretrained loads, "
            "with trust_remote_code=True; name a base and an adapter here, or none: the miniature"
        ) from error
    if without:
        pipe.load_prompt_embeds(prompt)
    if adapter:
        pipe.load_lora_weights(str(adapter), weight_name=WEIGHTS_FILE)
        if find_layers(pipe.transformer):  # none where the weights held it already
            pipe.fuse_lora()
    if device.type == "cpu":
        pipe.vae.to(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def find_device(name: str | torch.device) -> torch.device:
    """A device of PyTorch that is there.

    Raises:
        ValueError: if it is none, or not there.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"no device {str(name)!r} here: it must be one of PyTorch's") from error
    return device


def load_served(root: Path) -> PulsePipeline:
    """The pipeline of a repository's folder: the 4B one where it can run, else the miniature.

    Args:
        root: the folder; its 4B adapter is served where it lies there and there is a GPU.
    """
    if torch.cuda.is_available() and (root / WEIGHTS_FILE).is_file():
        config = json.loads((root / CONFIG_FILE).read_text())
        return load_pipeline(config["base_model_name_or_path"], root, "cuda")
    return load_pipeline(root / "tiny", root / "tiny" / "adapter", "cpu")
