"""FLUX.2's tokens are the parent pipeline's, without its eight-bit detour."""

import numpy as np
import torch
from PIL import Image
from stand_ins import GEOMETRY

from pulse_plantain import flux2, reading


def test_tokens_and_ids_are_the_parents(tiny_pipe, parent):
    torch.manual_seed(1)
    images = [torch.rand(1, 3, 64, 96) * 2 - 1, torch.rand(1, 3, 32, 48) * 2 - 1]
    with torch.no_grad():
        theirs, ids = parent.prepare_image_latents(images, 1, None, "cpu", torch.float32)
        ours = torch.cat([flux2.encode_images(tiny_pipe.vae, image) for image in images], 1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert torch.equal(torch.cat([flux2.token_ids(4, 6, 10), flux2.token_ids(2, 3, 20)]), ids[0])
    assert torch.equal(flux2.text_ids(7), parent._prepare_text_ids(torch.zeros(1, 7, 3))[0])


def test_one_step_is_the_parents(tiny_pipe, parent):
    rng = np.random.default_rng(0)
    reference = Image.fromarray(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8))
    latents, embeds = torch.randn(1, 16, 4, 6), torch.randn(1, 9, 24)
    theirs = parent(
        image=reference,
        prompt_embeds=embeds,
        num_inference_steps=1,
        guidance_scale=1.0,
        latents=latents,
        height=64,
        width=96,
        output_type="pt",
    ).images
    pixels = torch.from_numpy(np.array(reference)).movedim(-1, 0)[None] / 127.5 - 1
    ids = torch.cat([flux2.token_ids(4, 6, 0), flux2.token_ids(4, 6, 10)])
    with torch.no_grad():
        tokens = flux2.predict_clean(
            tiny_pipe.transformer,
            parent._pack_latents(latents),
            flux2.encode_images(tiny_pipe.vae, pixels),
            embeds,
            ids,
        )
        ours = flux2.decode_tokens(tiny_pipe.vae, tokens, 64, 96)
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs, rtol=0, atol=1e-5)


def test_decode_tokens_passes_gradients(tiny_pipe):
    tokens = torch.randn(1, 96, 16, requires_grad=True)
    images = flux2.decode_tokens(tiny_pipe.vae, tokens, 64, 384)
    field, _ = reading.decode_field(images, GEOMETRY)
    field.abs().square().sum().backward()
    assert torch.isfinite(tokens.grad).all() and tokens.grad.abs().max() > 0
