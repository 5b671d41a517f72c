"""FLUX.2-klein-base-4B's architecture without its weights: for counting, testing and timing.

Here live its sizes and a base of random weights; the adapter's own settings are elsewhere.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from pulse_plantain.adapter import PROMPT
from pulse_plantain.lab import miniature
from pulse_plantain.pipeline import PulsePipeline

BASE = "black-forest-labs/FLUX.2-klein-base-4B"

TRANSFORMER: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "mlp_ratio": 3.0,
    "axes_dims_rope": (32, 32, 32, 32),
    "rope_theta": 2000,
    "guidance_embeds": False,
}
"""5 double and 20 single blocks, 24 heads of 128: 3,875,544,576 parameters."""

NARROW: dict[str, Any] = {
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "timestep_guidance_channels": 16,
    "axes_dims_rope": (2, 2, 2, 2),
}
"""Changes that keep the depth and every module's name but make it run in a moment on a CPU."""


def make_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """The scheduler of the klein bases."""
    return FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)


def make_transformer(
    device: str | torch.device = "meta", dtype: torch.dtype = torch.float32, **changes: Any
) -> Flux2Transformer2DModel:
    """The transformer with random weights, none at all on the device "meta".

    It is made in its type and not cast to it, so that 4 billion parameters are in memory only once.

    Args:
        device: where to make it.
        dtype: of the weights.
        changes: to :data:`TRANSFORMER`.
    """
    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            return Flux2Transformer2DModel(**TRANSFORMER | changes).eval()
    finally:
        torch.set_default_dtype(kept)


def make_vae(device: str | torch.device = "meta") -> AutoencoderKLFlux2:
    """The VAE of 84,046,115 parameters with random weights, none at all on the device "meta"."""
    with torch.device(device):
        return AutoencoderKLFlux2().eval()


def write_base(folder: Path, vae: AutoencoderKLFlux2, **changes: Any) -> None:
    """Write a base with random weights that the trainer loads like FLUX.2-klein-base-4B.

    The transformer, in bfloat16, has the architecture's full size; the text encoder has its width
    and the layers that are stacked, and hardly anything in them.

    Args:
        folder: where to write; 8 GB at full width.
        vae: its VAE; the transformer is drawn on the device where this is.
        changes: to :data:`TRANSFORMER`.
    """
    words = miniature.make_tokenizer([PROMPT])
    stacked = miniature.HIDDEN_LAYERS
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=(TRANSFORMER | changes)["joint_attention_dim"] // len(stacked),
        intermediate_size=16,
        num_hidden_layers=max(stacked) + 1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=True,
    )
    PulsePipeline(
        scheduler=make_scheduler(),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(config).eval(),
        tokenizer=words,
        transformer=make_transformer(vae.device, torch.bfloat16, **changes),
    ).save_pretrained(folder)
