"""FLUX.2-klein-base-4B's architecture without its weights: for counting, testing and timing."""

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

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


def transformer(device="meta", dtype=torch.float32, **changes):
    """The transformer with random weights (none at all on the device "meta")."""
    with torch.device(device):
        model = Flux2Transformer2DModel(**TRANSFORMER | changes).eval()
    return model if dtype == torch.float32 else model.to(dtype)


def vae(device="meta", dtype=torch.float32):
    """The VAE with random weights (none at all on the device "meta"): 84,046,115 parameters."""
    with torch.device(device):
        model = AutoencoderKLFlux2().eval()
    return model if dtype == torch.float32 else model.to(dtype)
