"""The diffusers pipeline: a clip goes in, a pulse sheet is drawn, a heart rate comes out.

Here live the FLUX.2 plumbing, the call and its output; no signal processing and no video reading.
"""

import torch

if __package__:
    pass
else:
    pass

PROMPT = (
    "Generate a pulse visualization of the skin: hue is phase, red at systole, "
    "brightness is amplitude."
)
"""The one frozen prompt of the task; the adapter is trained with it and with nothing else."""

APPEARANCE_T, MOTION_T = 10, 20
"""Position t of the two reference images (FLUX.2 puts reference k at t = 10 k, the target at 0)."""


def latent_statistics(vae):
    """(mean, standard deviation) [4 C, 1, 1] float32 of the VAE's patchified latents."""
    mean = vae.bn.running_mean.float().view(-1, 1, 1)
    variance = vae.bn.running_var.float().view(-1, 1, 1)
    return mean, torch.sqrt(variance + vae.config.batch_norm_eps)


def token_size(vae):
    """Side of one token in pixels: the VAE's down-sampling times the 2 x 2 patch (16 for FLUX.2)."""
    return 2 ** len(vae.config.block_out_channels)


def token_ids(height, width, t):
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


def text_ids(length):
    """Position ids (0, 0, 0, i) of the prompt's tokens, [length, 4] int64."""
    ids = torch.zeros(length, 4, dtype=torch.int64)
    ids[:, 3] = torch.arange(length)
    return ids


def encode_images(vae, images):
    """Reference tokens of images, as Flux2KleinPipeline makes them but without its 8-bit detour.

    Args:
        vae: AutoencoderKLFlux2.
        images: [B, 3, H, W] floats in [-1, 1], H and W multiples of the token size.

    Returns:
        [B, N, 4 C] mode of the posterior, patchified, normalised by the VAE's batch-norm
        statistics, row by row; dtype of the VAE's output.
    """
    latents = vae.encode(images.to(vae.dtype)).latent_dist.mode()
    patches = torch.nn.functional.pixel_unshuffle(latents, 2)
    mean, deviation = latent_statistics(vae)
    tokens = (patches.float() - mean) / deviation
    return tokens.flatten(2).transpose(1, 2).to(latents.dtype)


def decode_tokens(vae, tokens, height, width):
    """Images of tokens: inverse of :func:`encode_images` up to the VAE's loss; differentiable.

    Args:
        vae: AutoencoderKLFlux2.
        tokens: [B, N, 4 C].
        height, width: of the image in pixels; N = height * width / token size squared.

    Returns:
        [B, 3, height, width], nominally in [-1, 1], not clipped.
    """
    size = token_size(vae)
    patches = tokens.transpose(1, 2).unflatten(2, (height // size, width // size))
    mean, deviation = latent_statistics(vae)
    latents = torch.nn.functional.pixel_shuffle(patches.float() * deviation + mean, 2)
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0]


def predict_velocity(transformer, latents, references, prompt_embeds, image_ids, sigma):
    """Velocity (noise - image) of the flow at noise level sigma.

    Args:
        transformer: Flux2Transformer2DModel, bare or wrapped by PEFT.
        latents: [B, N, 4 C] noisy tokens of the image to draw.
        references: [B, M, 4 C] tokens of the reference images, one after the other.
        prompt_embeds: [1 or B, L, D].
        image_ids: [N + M, 4] position ids of latents and references.
        sigma: float or tensor [B] in [0, 1], 1 = pure noise.

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


def predict_clean(transformer, latents, references, prompt_embeds, image_ids, sigma=1.0):
    """Clean tokens [B, N, 4 C] in a single evaluation: x0 = latents - sigma * velocity.

    At sigma = 1 with zero latents this is the default call of the pipeline (the mean of the noise
    distribution as the start, arXiv 2409.11355). Arguments as :func:`predict_velocity`.
    """
    velocity = predict_velocity(
        transformer, latents, references, prompt_embeds, image_ids, sigma
    )
    sigma = torch.as_tensor(sigma, dtype=latents.dtype, device=latents.device)
    return latents - sigma.reshape(-1, 1, 1) * velocity
