"""FLUX.2's tokens are the parent pipeline's, without its eight-bit detour."""

import copy
import pickle

import numpy as np
import torch
from accelerate import cpu_offload
from diffusers import AutoencoderKLFlux2
from PIL import Image
from stand_ins import GEOMETRY
from torch.utils.flop_counter import FlopCounterMode

from pulse_plantain import flux2, loading, reading


def test_tokens_and_ids_are_the_parents(tiny_pipe, parent):
    torch.manual_seed(1)
    images = [torch.rand(1, 3, 64, 96) * 2 - 1, torch.rand(1, 3, 32, 48) * 2 - 1]
    with torch.no_grad():
        theirs, ids = parent.prepare_image_latents(images, 1, None, "cpu", torch.float32)
        ours = torch.cat([flux2.encode_images(tiny_pipe.vae, image) for image in images], 1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
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


def test_the_dtype_is_what_the_models_say(tiny_pipe):
    for model in (tiny_pipe.vae, tiny_pipe.transformer):
        assert flux2.find_dtype(model) == model.dtype == torch.float32
        own = copy.deepcopy(model).to(torch.bfloat16)
        assert flux2.find_dtype(own) == own.dtype == torch.bfloat16
        own.enable_layerwise_casting(torch.float8_e4m3fn, torch.float16)
        assert next(own.parameters()).dtype == torch.float8_e4m3fn
        assert flux2.find_dtype(own) == own.dtype == torch.float16


def test_branches_of_the_encoder_that_end_in_zeros_cost_nothing_and_change_nothing(miniature):
    plain = AutoencoderKLFlux2.from_pretrained(loading.TINY, subfolder="vae")
    images = torch.rand(2, 3, 32, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    skipping = copy.deepcopy(plain)
    flux2.skip_silent_branches(skipping)
    with torch.no_grad():
        wanted = flux2.encode_images(plain, images)
        torch.testing.assert_close(flux2.encode_images(skipping, images), wanted, rtol=0, atol=1e-4)
        with FlopCounterMode(display=False) as all_of_it:
            flux2.encode_images(plain, images)
        with FlopCounterMode(display=False) as less:
            flux2.encode_images(skipping, images)
    assert less.get_total_flops() < 0.3 * all_of_it.get_total_flops()
    kinds = {type(module).__name__ for module in miniature.vae.encoder.modules()}
    assert {"_SkippingResnet", "_SkippingAttention"} <= kinds  # as it is loaded
    assert list(skipping.state_dict()) == list(plain.state_dict())
    assert type(pickle.loads(pickle.dumps(skipping))) is AutoencoderKLFlux2


def test_a_vae_whose_weights_are_kept_elsewhere_encodes_as_ever():
    """Sequential offload keeps weights on "meta" between the calls of each module."""
    vae = AutoencoderKLFlux2.from_pretrained(loading.TINY, subfolder="vae")
    images = torch.rand(1, 3, 32, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        wanted = vae.encode(images).latent_dist.mode()
        flux2.skip_silent_branches(vae)
        cpu_offload(vae, "cpu")
        assert vae.encoder.conv_in.weight.is_meta
        flux2.skip_silent_branches(vae)  # a pipeline made of its parts
        found = vae.encode(images).latent_dist.mode()
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


def test_a_branch_that_says_something_is_not_skipped(tiny_pipe):
    vae = copy.deepcopy(tiny_pipe.vae)
    resnet = vae.encoder.down_blocks[0].resnets[0]
    attention = vae.encoder.mid_block.attentions[0]
    for last in (resnet.conv2, attention.to_out[0]):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    images = torch.rand(1, 3, 32, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    flux2.skip_silent_branches(vae)
    assert sum(type(m).__name__.startswith("_Skipping") for m in vae.encoder.modules()) == 2
    with torch.no_grad():
        silent = flux2.encode_images(vae, images)
        for last in (resnet.conv2, attention.to_out[0]):  # learnt since
            before = flux2.encode_images(vae, images)
            torch.nn.init.normal_(last.weight, generator=torch.Generator().manual_seed(1))
            assert not torch.allclose(flux2.encode_images(vae, images), before)
    assert not torch.allclose(silent, flux2.encode_images(tiny_pipe.vae, images))
