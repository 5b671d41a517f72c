"""FLUX.2-klein-base-4B's architecture without its weights: for counting, testing and timing."""

from contextlib import contextmanager

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2Transformer2DModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from pipeline_pulse import PROMPT, PulsePipeline
from rppg import miniature

BASE = "black-forest-labs/FLUX.2-klein-base-4B"

TRANSFORMER = {
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

NARROW = {
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "timestep_guidance_channels": 16,
    "axes_dims_rope": (2, 2, 2, 2),
}
"""Changes that keep the depth and every module's name but make it run in a moment on a CPU."""


TEXT_LAYERS = 28  # hidden states 9, 18 and 27 are stacked


@contextmanager
def _made(device, dtype):
    """What is built inside lies on the device, in the type: never twice in memory."""
    kept = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(kept)


def transformer(device="meta", dtype=torch.float32, **changes):
    """The transformer with random weights (none at all on the device "meta")."""
    with _made(device, dtype):
        return Flux2Transformer2DModel(**TRANSFORMER | changes).eval()


def vae(device="meta", dtype=torch.float32):
    """The VAE with random weights (none at all on the device "meta"): 84,046,115 parameters."""
    with _made(device, dtype):
        return AutoencoderKLFlux2().eval()


def write_base(folder, vae, dtype=torch.bfloat16, **changes):
    """A base that the trainer loads like FLUX.2-klein-base-4B, with random weights.

    Transformer and VAE have the architecture's full size; the text encoder has its width and the
    layers that are stacked, and hardly anything in them.

    Args:
        folder: where to write; 8 GB at full width.
        vae: its VAE.
        dtype: of the transformer's and the text encoder's weights.
        changes: to :data:`TRANSFORMER`.
    """
    torch.manual_seed(0)
    words = miniature.tokenizer([PROMPT])
    width = (TRANSFORMER | changes)["joint_attention_dim"] // 3
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        tie_word_embeddings=True,
    )
    PulsePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=vae,
        text_encoder=Qwen3ForCausalLM(config).eval().to(dtype),
        tokenizer=words,
        transformer=transformer("cpu", dtype, **changes),
    ).save_pretrained(folder)
