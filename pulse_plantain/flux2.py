"""FLUX.2's tokens: pictures in, tokens out and back, their places, and one step of the flow.

Functions of a VAE or a transformer that is passed in; nothing here knows of clips or pulses.
"""

from typing import Any, TypeAlias, cast

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu, retrieve_timesteps

from . import sheet

Vae: TypeAlias = Any
"""An AutoencoderKLFlux2, whose own types say less than its values are."""

APPEARANCE_T = 10
"""Position t of the appearance image (FLUX.2 puts reference k at t = 10 k, the drawing at 0)."""


def find_dtype(model: Any) -> torch.dtype:
    """The dtype that a model computes in.

    Its own ``dtype`` walks through all modules, each time. Only where weights are kept in 8 bits,
    as layerwise casting and quantisation do it, is there more to know than the first one's.
    """
    kind = next(model.parameters()).dtype
    return kind if kind.is_floating_point and kind.itemsize > 1 else model.dtype


def latent_statistics(vae: Vae, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, standard deviation) [4 C, 1, 1] float32 of the VAE's patchified latents."""
    mean = vae.bn.running_mean.to(device, torch.float32).view(-1, 1, 1)
    variance = vae.bn.running_var.to(device, torch.float32).view(-1, 1, 1)
    return mean, torch.sqrt(variance + vae.config.batch_norm_eps)


def token_size(vae: Vae) -> int:
    """Side of one token in pixels: the VAE's down-sampling times the 2 x 2 patch; 16 for FLUX.2."""
    return 2 ** len(vae.config.block_out_channels)


def check_tokens(layout: sheet.Layout, side: int) -> None:
    """ValueError where the two pictures of a layout are not whole tokens of ``side`` pixels."""
    size = layout.geometry.size
    if any(pixels % side for pixels in (*size, *layout.appearance_size)):
        raise ValueError(
            f"sheets of {size} and appearance images of {layout.appearance_size} pixels are not "
            f"whole tokens of {side} pixels"
        )


def token_ids(height: int, width: int, t: int) -> torch.Tensor:
    """Position ids (t, h, w, l) of an image's tokens.

    Args:
        height, width: in tokens.
        t: 0 for the image that is drawn, 10 k for reference k.

    Returns:
        [height * width, 4] int64, row by row.
    """
    return torch.cartesian_prod(
        torch.tensor([t]), torch.arange(height), torch.arange(width), torch.tensor([0])
    )


def image_ids(layout: sheet.Layout, side: int) -> torch.Tensor:
    """Position ids [N + M, 4] of a layout's sheet and of its appearance image.

    Args:
        layout: of the two pictures.
        side: of a token in pixels.
    """
    places = ((layout.geometry.size, 0), (layout.appearance_size, APPEARANCE_T))
    return torch.cat([token_ids(h // side, w // side, t) for (w, h), t in places])


def text_ids(length: int) -> torch.Tensor:
    """Position ids (0, 0, 0, i) of the prompt's tokens, [length, 4] int64."""
    ids = torch.zeros(length, 4, dtype=torch.int64)
    ids[:, 3] = torch.arange(length)
    return ids


def _is_silent(layer: Any) -> bool:
    """Whether a layer is known to give zeros; not where an offload keeps its numbers elsewhere."""
    numbers = [values for values in (layer.weight, layer.bias) if values is not None]
    return not any(values.is_meta or values.any() for values in numbers)


class _SkippingResnet(ResnetBlock2D):
    """A residual block that leaves its branch out while the branch ends in zeros."""

    def forward(self, input_tensor: torch.Tensor, temb: Any = None, *args: Any, **kwargs: Any):
        if not _is_silent(self.conv2):
            return super().forward(input_tensor, temb, *args, **kwargs)
        path: Any = self.conv_shortcut
        kept = input_tensor if path is None else path(input_tensor)
        return kept if self.output_scale_factor == 1 else kept / self.output_scale_factor


class _SkippingAttention(Attention):
    """Attention beside a residual path, left out while it ends in zeros."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any):
        last: Any = cast(torch.nn.ModuleList, self.to_out)[0]
        if not (self.residual_connection and _is_silent(last)):
            return super().forward(hidden_states, *args, **kwargs)
        return hidden_states / self.rescale_output_factor


def skip_silent_branches(vae: Vae) -> None:
    """Let the residual branches of a VAE's encoder that end in zeros cost nothing.

    Its latents stay the same, up to rounding. All branches of the miniature's linear encoder are
    such; a trained encoder has none, and is left as it is.

    Args:
        vae: Vae; None is allowed.
    """
    module: Any
    for module in () if vae is None else vae.encoder.modules():
        kind = type(module)
        if kind is ResnetBlock2D and _is_silent(module.conv2):
            module.__class__ = _SkippingResnet
        elif kind is Attention and _is_silent(module.to_out[0]):
            module.__class__ = _SkippingAttention


def encode_images(vae: Vae, images: torch.Tensor) -> torch.Tensor:
    """Tokens of images, as Flux2KleinPipeline makes its references' but without its 8-bit detour.

    Args:
        vae: Vae.
        images: [B, 3, H, W] floats in [-1, 1], H and W multiples of the token size.

    Returns:
        [B, N, 4 C] mode of the posterior, patchified, normalised by the VAE's batch-norm
        statistics, row by row; dtype of the VAE's output.
    """
    images = images.to(find_dtype(vae))
    if images.device.type == "cpu":  # convolutions of few channels are twice as fast on these
        images = images.contiguous(memory_format=torch.channels_last)
    latents = vae.encode(images).latent_dist.mode()
    patches = torch.nn.functional.pixel_unshuffle(latents, 2)
    mean, deviation = latent_statistics(vae, patches.device)
    tokens = (patches.float() - mean) / deviation
    return tokens.flatten(2).transpose(1, 2).to(latents.dtype)


def decode_tokens(vae: Vae, tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Images of tokens: inverse of :func:`encode_images` up to the VAE's loss; differentiable.

    Args:
        vae: Vae.
        tokens: [B, N, 4 C].
        height, width: of the image in pixels; N = height * width / token size squared.

    Returns:
        [B, 3, height, width], nominally in [-1, 1], not clipped.
    """
    size = token_size(vae)
    patches = tokens.transpose(1, 2).unflatten(2, (height // size, width // size))
    mean, deviation = latent_statistics(vae, tokens.device)
    latents = torch.nn.functional.pixel_shuffle(patches.float() * deviation + mean, 2)
    return vae.decode(latents.to(find_dtype(vae)), return_dict=False)[0]


def predict_velocity(
    transformer: torch.nn.Module,
    latents: torch.Tensor,
    references: torch.Tensor,
    prompt_embeds: torch.Tensor,
    image_ids: torch.Tensor,
    sigma: float | torch.Tensor,
) -> torch.Tensor:
    """Velocity (start - image) of the flow, sigma of the way back to its start.

    Args:
        transformer: Flux2Transformer2DModel, bare or wrapped by PEFT.
        latents: [B, N, 4 C] tokens on their way from the start to the image to draw.
        references: [B, M, 4 C] tokens of the reference images, one after the other.
        prompt_embeds: [1 or B, L, D].
        image_ids: [N + M, 4] position ids of latents and references.
        sigma: float or tensor [] or [B] in [0, 1], 1 = the start.

    Returns:
        [B, N, 4 C].
    """
    batch, count = latents.shape[:2]
    sigma = torch.as_tensor(sigma, dtype=latents.dtype, device=latents.device).expand(batch)
    velocity = transformer(
        hidden_states=torch.cat([latents, references.to(latents.dtype)], 1),
        timestep=sigma,
        guidance=None,
        encoder_hidden_states=prompt_embeds.to(latents.dtype).expand(batch, -1, -1),
        txt_ids=text_ids(prompt_embeds.shape[1]).to(latents.device),
        img_ids=image_ids.to(latents.device),
        return_dict=False,
    )[0]
    return velocity[:, :count]


def predict_clean(
    transformer: torch.nn.Module,
    latents: torch.Tensor,
    references: torch.Tensor,
    prompt_embeds: torch.Tensor,
    image_ids: torch.Tensor,
    sigma: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    """Clean tokens [B, N, 4 C] in a single evaluation: x0 = latents - sigma * velocity.

    At sigma = 1 with the motion sheet's tokens as latents this is the default call of the pipeline.
    Arguments as :func:`predict_velocity`.
    """
    velocity = predict_velocity(transformer, latents, references, prompt_embeds, image_ids, sigma)
    sigma = torch.as_tensor(sigma, dtype=latents.dtype, device=latents.device)
    return latents - sigma.reshape(-1, 1, 1) * velocity


def set_timesteps(scheduler, steps: int, drawn_tokens: int, device) -> torch.Tensor:
    """Set a scheduler as Flux2KleinPipeline sets it for an image of this size.

    Args:
        scheduler: changed in place.
        steps: of the flow.
        drawn_tokens: tokens of the image that is drawn, without its references.
        device: of the timesteps.

    Returns:
        [steps] timesteps, 1000 sigma.
    """
    sigmas: Any = np.linspace(1.0, 1 / steps, steps)
    if getattr(scheduler.config, "use_flow_sigmas", False):
        sigmas = None
    mu = compute_empirical_mu(image_seq_len=drawn_tokens, num_steps=steps)
    timesteps, _ = retrieve_timesteps(scheduler, steps, device, sigmas=sigmas, mu=mu)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return torch.as_tensor(timesteps)
