"""The pipeline on tiny random components: FLUX.2 plumbing, the call, and the reading of fields."""

import copy
import re
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tiny_components
import torch
from conftest import ROOT
from diffusers import Flux2KleinPipeline
from PIL import Image

import pipeline_pulse as pp
from pulse_plantain import bijection
from pulse_plantain.pipeline import GPU_DTYPES, PulsePipeline
from pulse_plantain.sheet import SheetGeometry, field_to_sheet, motion_sheet
from pulse_plantain.windows import encode_windows

GEOMETRY = SheetGeometry(bands=4, samples=96, rows=8, size=(384, 64))
FPS = 10


def noise_clip(seconds=8, size=(48, 64)):
    """[T, H, W, 3] uint8 noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (int(seconds * FPS), *size, 3), dtype=np.uint8)


@pytest.fixture
def pipe(tiny_pipe):
    """A pipeline of its own over the shared components."""
    own = PulsePipeline(
        **{**tiny_pipe.components, "scheduler": copy.deepcopy(tiny_pipe.scheduler)},
        geometry=GEOMETRY,
        noise_scale=0.25,
    )
    own.set_progress_bar_config(disable=True)
    return own


@pytest.fixture
def parent(tiny_pipe):
    own = Flux2KleinPipeline(**tiny_pipe.components)
    own.set_progress_bar_config(disable=True)
    return own


class Painter:
    """Stands in for the model: draws the pulse that a region of the picture has, as a sheet.

    Args:
        bpm: rate, or a function of the window's times [samples] that gives the phase [samples].
        region: (left, top, right, bottom) in pixels of the only skin; None = everywhere.
        amplitude: AC/DC of full skin.
        noise: standard deviation of complex noise in every cell, drawn anew for each sheet.
    """

    def __init__(self, pipe, bpm, region=None, amplitude=0.004, noise=0.0):
        self.bpm, self.region, self.amplitude, self.noise = bpm, region, amplitude, noise
        self.looks, self.rng = [], np.random.default_rng(0)
        encode_pictures = pipe.encode_pictures
        pipe.encode_pictures = lambda windows, batch_size: (
            self.looks.append(windows) or encode_pictures(windows, batch_size)
        )
        pipe.decode_sheets = self.decode_sheets

    def field(self, window):
        phase = 2 * np.pi * self.bpm / 60 * window.times
        skin = self._skin(window)
        field = self.amplitude * np.exp(1j * phase)[:, None, None] * skin
        noise = self.rng.standard_normal((2, *field.shape))
        return field + self.noise * (noise[0] + 1j * noise[1])

    def _skin(self, window):
        """Share of each cell [rows, bands] that is in the region."""
        if self.region is None:
            return np.ones((GEOMETRY.rows, GEOMETRY.bands))
        shares = []
        for low, high, cells in ((1, 3, GEOMETRY.rows), (0, 2, GEOMETRY.bands)):
            edges = np.linspace(window.crop[low], window.crop[high], cells + 1)
            inside = np.clip(edges, self.region[low], self.region[high])
            shares.append(np.diff(inside) / np.diff(edges))
        return np.outer(*shares)

    def decode_sheets(self, latents, batch_size):
        windows = self.looks[-1]
        for member in range(len(latents)):
            field = self.field(windows[member % len(windows)])
            sheet = field_to_sheet(bijection.encode_phasor(field), GEOMETRY)
            yield torch.from_numpy(sheet).float().movedim(-1, 0)[None] * 2 - 1


# ------------------------------------------------------------------------------------------ tokens


def test_tokens_and_ids_are_the_parents(tiny_pipe, parent):
    torch.manual_seed(1)
    images = [torch.rand(1, 3, 64, 96) * 2 - 1, torch.rand(1, 3, 32, 48) * 2 - 1]
    with torch.no_grad():
        theirs, ids = parent.prepare_image_latents(images, 1, None, "cpu", torch.float32)
        ours = torch.cat([pp.encode_images(tiny_pipe.vae, image) for image in images], 1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert torch.equal(torch.cat([pp.token_ids(4, 6, 10), pp.token_ids(2, 3, 20)]), ids[0])
    assert torch.equal(pp.text_ids(7), parent._prepare_text_ids(torch.zeros(1, 7, 3))[0])


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
    ids = torch.cat([pp.token_ids(4, 6, 0), pp.token_ids(4, 6, 10)])
    with torch.no_grad():
        tokens = pp.predict_clean(
            tiny_pipe.transformer,
            parent._pack_latents(latents),
            pp.encode_images(tiny_pipe.vae, pixels),
            embeds,
            ids,
        )
        ours = pp.decode_tokens(tiny_pipe.vae, tokens, 64, 96)
    torch.testing.assert_close((ours / 2 + 0.5).clamp(0, 1), theirs, rtol=0, atol=1e-5)


def test_decode_tokens_passes_gradients(tiny_pipe):
    tokens = torch.randn(1, 96, 16, requires_grad=True)
    images = pp.decode_tokens(tiny_pipe.vae, tokens, 64, 384)
    field, _ = pp.decode_field(images, GEOMETRY)
    field.abs().square().sum().backward()
    assert torch.isfinite(tokens.grad).all() and tokens.grad.abs().max() > 0


# ------------------------------------------------------------------------------------------ fields


def random_field(rng, windows=2, weakest=2e-4):
    amplitude = rng.uniform(weakest, 0.02, (windows, *GEOMETRY.field_shape))
    return amplitude * np.exp(1j * rng.uniform(0, 2 * np.pi, amplitude.shape))


def sheet_images(field):
    sheet = field_to_sheet(bijection.encode_phasor(field), GEOMETRY)
    return torch.from_numpy(sheet).movedim(-1, 1) * 2 - 1


def test_field_of_a_sheet_is_the_field():
    field = random_field(np.random.default_rng(0))
    read, weights = pp.decode_field(sheet_images(field), GEOMETRY)
    assert np.abs(read.numpy() / field - 1).max() < 1e-4
    assert weights.min() > 0.999


def test_pixels_off_the_palette_hardly_count():
    field = random_field(np.random.default_rng(0), weakest=3e-3)
    images = sheet_images(field)
    images[:, :, ::2] = 0.2  # every other line of pixels a light grey, 0.6 off the palette
    read, weights = pp.decode_field(images, GEOMETRY)
    assert np.abs(np.angle(read.numpy() / field)).max() < 0.05
    assert 0.5 < weights.min() and weights.max() < 0.52


def test_a_saturated_pixel_does_not_outshout_its_cell():
    field = np.full((1, *GEOMETRY.field_shape), 0.004 + 0j)
    images = sheet_images(field)
    images[0, :, 0, 0] = torch.tensor([-1.0, 1.0, -1.0])  # pure green, 2 pi / 3 off
    read = pp.decode_field(images, GEOMETRY)[0].numpy()
    assert np.abs(read[0, 0, 0, 0] / 0.004 - 1) < 0.45
    images[:] = -1
    images[:, 0] = 1
    assert pp.decode_field(images, GEOMETRY)[0].abs().max() <= pp.LARGEST_AMPLITUDE * 1.001


@pytest.mark.parametrize("size", [(320, 240), (1920, 1080), (480, 640)])
def test_boxes_to_try_cover_the_picture_and_hold_a_face_anywhere(size):
    whole, *boxes = pp.list_boxes(size)
    assert whole == (0, 0, 1, 1) and len(boxes) <= 18
    left, top, right, bottom = np.array(boxes).T
    assert min(left.min(), top.min()) >= 0 and max(right.max(), bottom.max()) <= 1 + 1e-12
    x, y = np.random.default_rng(0).uniform(size=(2, 1000, 1))
    inside = (left <= x) & (x <= right) & (top <= y) & (y <= bottom)
    assert inside.any(1).all()


def test_the_rate_that_most_readings_agree_on():
    rates, lengths = [56.0, 123.0, 55.5, np.nan, 57.0, 90.0], [8.0] * 6
    assert pp.vote_on_rate(rates, [0.2, 0.4, 0.2, 0.9, 0.2, 0.1], lengths) == 56.0
    assert pp.vote_on_rate(rates, [0.2, 0.9, 0.2, 0.9, 0.2, 0.1], lengths) == 123.0
    assert np.isnan(pp.vote_on_rate([np.nan, 70.0], [0.5, 0.0], [8.0, 8.0]))


def test_lengths_that_cannot_show_a_rate_do_not_outvote_those_that_can():
    lengths = [5.0, 8.0, 10.0]
    fast = ([172.0, 86.0, 85.0], [0.6, 0.4, 0.4], lengths)  # 14, 23 and 29 beats
    assert pp.vote_on_rate(*fast) == 86.0 and pp.vote_on_rate(*fast, most_beats=20.0) == 172.0
    slow = ([84.0, 42.0, 43.0], [0.7, 0.1, 0.4], lengths)  # 3.5, 5.6 and 7 beats
    assert pp.vote_on_rate(*slow, most_beats=20.0) == 43.0
    shown_by_none = ([70.0, 40.0], [0.1, 0.2], [5.0, 5.0])
    assert pp.vote_on_rate(*shown_by_none, most_beats=20.0) == 40.0
    border = ([148.0, 148.5, 150.5], [0.6, 0.6, 0.4], [5.0, 8.0, 5.0])  # 8 s show up to 150 bpm
    assert pp.vote_on_rate(*border, most_beats=20.0) == 148.5  # a mode, not its slope beyond 150


def test_the_surest_look_is_one_that_agrees_where_any_does():
    looks = [
        SimpleNamespace(reading=SimpleNamespace(bpm=bpm, confidence=confidence))
        for bpm, confidence in [(110.0, 0.5), (57.0, 0.2), (54.0, 0.3), (np.nan, 0.6)]
    ]
    assert pp.surest(looks, 56.0) is looks[2]
    assert pp.surest(looks, np.nan) is looks[3]
    assert pp.surest(looks[:2], 70.0) is looks[0]


def test_boxes_nearby_are_moved_and_scaled_inside_the_picture():
    boxes = np.array(pp.list_nearby_boxes((0.4, 0.3, 0.6, 0.7)))
    np.testing.assert_allclose(boxes[0], (0.36, 0.3, 0.56, 0.7))
    np.testing.assert_allclose(boxes[3], (0.4, 0.38, 0.6, 0.78))
    np.testing.assert_allclose(boxes[4], (0.425, 0.35, 0.575, 0.65))
    np.testing.assert_allclose(boxes[5], (0.375, 0.25, 0.625, 0.75))
    corner = np.array(pp.list_nearby_boxes((0.0, 0.0, 0.2, 0.2)))
    assert corner.min() == 0


# ------------------------------------------------------------------------------------- determinism


def test_default_call_starts_from_the_motion_sheet_and_is_predict_clean(pipe):
    clip = noise_clip()
    with mock.patch.object(pipe, "decode_sheets", wraps=pipe.decode_sheets) as decode:
        output = pipe(clip, fps=FPS, crop=(0, 0, 64, 48))
    (window,) = encode_windows(clip, GEOMETRY, fps=FPS)
    with torch.no_grad():
        pictures = (window.appearance[None], motion_sheet(window.motion[None], GEOMETRY))
        images = [torch.from_numpy(picture).movedim(-1, 1) * 2 - 1 for picture in pictures]
        appearance, motion = (pp.encode_images(pipe.vae, image) for image in images)
        ids = [pp.token_ids(4, 24, 0), pp.token_ids(4, 4, 10)]
        expected = pp.predict_clean(
            pipe.transformer,
            motion,
            appearance,
            pipe.encode_task_prompt(),
            torch.cat(ids),
        )
    torch.testing.assert_close(decode.call_args.args[0], expected, rtol=0, atol=1e-6)
    assert np.array_equal(output.field, pipe(clip, fps=FPS, crop=(0, 0, 64, 48)).field)


def test_seeds_reproduce_and_matter(pipe):
    def field(seed, **arguments):
        generator = torch.Generator().manual_seed(seed)
        return pipe(noise_clip(), fps=FPS, crop=(0, 0, 64, 48), generator=generator, **arguments)

    first = field(0, num_inference_steps=2).field
    assert np.array_equal(first, field(0, num_inference_steps=2).field)
    assert np.abs(first - field(1, num_inference_steps=2).field).max() > 1e-4


def test_start_is_the_motion_sheet_alone_or_with_noise_of_the_configured_scale(pipe):
    motion = torch.randn(3, 96, 16)
    assert torch.equal(pipe.prepare_latents(motion, ensemble_size=1), motion)
    seeded = pipe.prepare_latents(motion, 1, torch.Generator().manual_seed(0))
    ensemble = pipe.prepare_latents(motion, ensemble_size=2)
    assert seeded.shape == (3, 96, 16) and ensemble.shape == (6, 96, 16)
    for latents in (seeded, ensemble[:3], ensemble[3:]):
        assert (latents - motion).std().item() == pytest.approx(0.25, rel=0.05)


def test_a_hole_in_the_clip_gets_no_heart_rate(pipe):
    """Over half a second without a picture: whatever is drawn, a beat may be missing."""
    assert pp.LONGEST_HOLE == 0.5
    Painter(pipe, 72.0)
    clip = noise_clip(12)
    stamps = np.arange(len(clip)) / FPS

    def with_hole(seconds):
        late = np.where(stamps < 9, stamps, stamps + seconds - 1 / FPS)
        return pipe(clip, timestamps=late, crop=(0, 0, 64, 48))

    for seconds in (1 / FPS, 0.48):
        output = with_hole(seconds)
        assert output.bpm == pytest.approx(72, abs=0.2) and output.reason is None
    for seconds, shown in ((0.52, "0.5"), (0.8, "0.8")):
        output = with_hole(seconds)
        assert np.isnan(output.bpm) and np.isnan(output.bpm_uncertainty)
        # The window from 0 to 8 s is whole and is not blamed.
        assert re.match(rf"no new picture for {shown} s between 4\.\d and 12\.\d s", output.reason)
        assert output.windows[0].bpm == pytest.approx(72, abs=0.5)


def test_several_steps_are_eulers(pipe):
    torch.manual_seed(0)
    start, references = torch.randn(1, 96, 16), torch.randn(1, 16, 16)
    embeds = pipe.encode_task_prompt()
    with torch.no_grad():
        ours = pipe.denoise(start, references, embeds, num_inference_steps=4, batch_size=1)
        sigmas = pipe.scheduler.sigmas
        assert len(sigmas) == 5 and sigmas[0] == 1 and sigmas[-1] == 0
        latents = start
        for now, after in zip(sigmas[:-1], sigmas[1:]):
            velocity = pp.predict_velocity(
                pipe.transformer, latents, references, embeds, pipe.image_ids(), now
            )
            latents = latents + (after - now) * velocity
    torch.testing.assert_close(ours, latents, rtol=0, atol=1e-5)


def test_batch_size_does_not_matter(pipe):
    def drawn(batch_size):
        with mock.patch.object(pipe, "decode_sheets", wraps=pipe.decode_sheets) as decode:
            output = pipe(
                noise_clip(13),
                fps=FPS,
                crop=(0, 0, 64, 48),
                ensemble_size=2,
                generator=torch.Generator().manual_seed(3),
                batch_size=batch_size,
            )
        assert output.field.shape == (3, 96, 8, 4)
        return decode.call_args.args[0]

    one, four = drawn(1), drawn(4)
    assert one.shape == (6, 96, 16) and one.std() > 0.1
    torch.testing.assert_close(four, one, rtol=0, atol=1e-5)


def test_bfloat16_is_close_to_float32(tiny_pipe):
    pipe = PulsePipeline(**copy.deepcopy(tiny_pipe.components), geometry=GEOMETRY)
    pipe.set_progress_bar_config(disable=True)
    clip = noise_clip()
    full = pipe(clip, fps=FPS, crop=(0, 0, 64, 48), output_sheet=True)
    half = pipe.to(torch.bfloat16)(clip, fps=FPS, crop=(0, 0, 64, 48), output_sheet=True)
    assert half.sheet.dtype == np.float32 and half.field.dtype == np.complex64
    assert np.abs(half.sheet - full.sheet).mean() < 0.01 < full.sheet.std()


def test_the_types_for_a_gpu_draw_what_float32_draws_and_bfloat16_alone_does_not():
    decoded = []

    def drawn(types):
        pipe = PulsePipeline.from_pretrained(ROOT / "tiny", dtype=types)
        pipe.load_lora_weights(ROOT / "tiny/adapter", weight_name="adapter_model.safetensors")
        pipe.set_progress_bar_config(disable=True)
        pipe.vae.decoder.register_forward_hook(lambda *its: decoded.append(its[-1].dtype))
        pulse = pipe(ROOT / "assets/demo.mp4", window=8, crop=(86, 70, 180, 190))
        return pulse.field, pulse.bpm

    exact, bpm = drawn(torch.float32)
    size = np.linalg.norm(exact)
    decoded.clear()
    mixed, its_bpm = drawn(GPU_DTYPES)
    assert set(decoded) == {torch.bfloat16}
    rounded, _ = drawn(torch.bfloat16)
    error = np.linalg.norm(mixed - exact) / size
    assert error < 0.04 and its_bpm == pytest.approx(bpm, abs=0.1)
    assert np.linalg.norm(rounded - exact) / size > 3 * error


# ------------------------------------------------------------------- callbacks, progress, interrupt


def test_callback_sees_and_changes_every_step(pipe):
    seen = []

    def callback(pipeline, step, timestep, tensors):
        seen.append((step, float(timestep), tuple(tensors["latents"].shape), *tensors))
        return {"latents": torch.zeros_like(tensors["latents"])}

    with mock.patch.object(pipe, "decode_sheets", wraps=pipe.decode_sheets) as decode:
        pipe(
            noise_clip(13),
            fps=FPS,
            crop=(0, 0, 64, 48),
            batch_size=2,
            num_inference_steps=2,
            callback_on_step_end=callback,
            callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        )
    assert [row[0] for row in seen] == [0, 1, 0, 1]  # two steps of batches of 2 and 1 windows
    assert [row[2] for row in seen] == [(2, 96, 16)] * 2 + [(1, 96, 16)] * 2
    assert seen[0][1] == 1000 and seen[0][3:] == ("latents", "prompt_embeds")
    assert not decode.call_args.args[0].any()


def test_interrupt_gives_no_heart_rate(pipe):
    Painter(pipe, bpm=72)

    def callback(pipeline, step, timestep, tensors):
        pipeline._interrupt = True

    output = pipe(noise_clip(13), fps=FPS, callback_on_step_end=callback)
    assert np.isnan(output.bpm) and "interrupted" in output.reason
    assert pipe(noise_clip(13), fps=FPS).bpm == pytest.approx(72, abs=0.3)


def test_progress_bar_counts_evaluations(pipe, capsys):
    pipe.set_progress_bar_config(disable=False)
    pipe(noise_clip(13), fps=FPS, crop=(0, 0, 64, 48), batch_size=2, num_inference_steps=3)
    assert "6/6" in capsys.readouterr().err


def test_vae_is_called_through_its_hooked_methods(pipe):
    encode, decode = pipe.vae.encode, pipe.vae.decode
    with (
        mock.patch.object(pipe.vae, "encode", side_effect=encode) as encoded,
        mock.patch.object(pipe.vae, "decode", side_effect=decode) as decoded,
    ):
        pipe(noise_clip(13), fps=FPS, crop=(0, 0, 64, 48), batch_size=3)
    assert encoded.call_count == 2 and decoded.call_count == 1
    assert pipe.model_cpu_offload_seq == "text_encoder->transformer->vae"


# -------------------------------------------------------------------------------------- the prompt


def test_prompt_is_not_padded(pipe, parent):
    embeds = pipe.encode_task_prompt()
    text = f"<|im_start|>user\n{pp.PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    assert embeds.shape == (1, len(pipe.tokenizer(text)["input_ids"]), 24)
    padded, _ = parent.encode_prompt(pp.PROMPT)
    assert padded.shape[1] == 512
    torch.testing.assert_close(embeds, padded[:, : embeds.shape[1]], rtol=0, atol=1e-4)


def test_saved_prompt_embeds_replace_the_text_encoder(pipe, tmp_path):
    clip, path = noise_clip(), tmp_path / "prompt.safetensors"
    pipe.save_prompt_embeds(path)
    light = PulsePipeline(
        **{**pipe.components, "text_encoder": None, "tokenizer": None}, geometry=GEOMETRY
    )
    light.set_progress_bar_config(disable=True)
    expected = pipe(clip, fps=FPS).field
    assert np.array_equal(light(clip, fps=FPS, prompt_embeds=path).field, expected)
    embeds = pipe.encode_task_prompt()
    assert np.array_equal(light(clip, fps=FPS, prompt_embeds=embeds).field, expected)
    with pytest.raises(ValueError, match="save_prompt_embeds"):
        light(clip, fps=FPS)
    with pytest.raises(ValueError, match=r"\[1, L, 24\], got \(1, 5, 7\)"):
        light(clip, fps=FPS, prompt_embeds=torch.zeros(1, 5, 7))


def test_embeds_of_another_prompt_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    pp.save_file({"prompt_embeds": torch.zeros(1, 3, 24)}, path, metadata={"prompt": "A cat."})
    with pytest.raises(ValueError, match="'A cat.'"):
        pp._load_prompt_embeds(path)


# ----------------------------------------------------------------------------- reading of the pulse


def test_rate_trace_and_windows_of_a_long_clip(pipe):
    Painter(pipe, bpm=72.4, noise=0.002)
    output = pipe(noise_clip(15), fps=FPS)
    assert output.bpm == pytest.approx(72.4, abs=0.2)
    assert output.reason is None and 0.9 < output.confidence <= 1
    assert output.sampling_rate == 12
    np.testing.assert_allclose(output.times, (np.arange(180) + 0.5) / 12)
    truth = np.cos(2 * np.pi * 72.4 / 60 * output.times)  # upright, peaks where the phase is 0
    assert np.corrcoef(output.bvp, truth)[0, 1] > 0.99
    assert np.max(output.bvp) == pytest.approx(0.004, rel=0.2)
    assert [(w.start, w.end) for w in output.windows] == [(0, 8), (4, 12), (7, 15)]
    for window in output.windows:
        assert window["bpm"] == pytest.approx(72.4, abs=1)
        assert 0.9 < window["confidence"] <= 1
    assert 0 < output.bpm_uncertainty < 1
    assert output.sheet is None and output.field_uncertainty is None
    assert output.field.shape == (3, 96, 8, 4)


def test_no_pulse_gets_no_heart_rate_but_the_windows_say_what_was_seen(pipe):
    for painter in ({"amplitude": 0.0, "noise": 0.002}, {"amplitude": 1e-5}):
        Painter(pipe, bpm=72, **painter)
        output = pipe(noise_clip(12), fps=FPS)
        assert np.isnan(output.bpm) and np.isnan(output.bpm_uncertainty)
        assert "no pulse found" in output.reason and "0.50" in output.reason
        assert output.confidence < 0.5 and np.isfinite(output.bvp).all()
        assert all(40 < w.bpm < 204 and w.confidence < 0.5 for w in output.windows)


def test_black_sheets_say_no_periodic_pulse(pipe):
    Painter(pipe, bpm=72, amplitude=0.0)
    output = pipe(noise_clip(), fps=FPS)
    assert np.isnan(output.bpm) and output.confidence == 0
    assert output.reason == "no periodic pulse between 36 and 204 bpm"


def test_looks_closer_where_the_pulse_is(pipe):
    region = (40, 120, 140, 230)
    painter = Painter(pipe, bpm=66, region=region, amplitude=0.002, noise=0.0005)
    output = pipe(noise_clip(8, size=(240, 320)), fps=FPS)
    assert len(painter.looks) == 4  # the whole, all over, nearby, the best once more
    left, top, right, bottom = output.windows[0].crop
    assert 20 < (left + right) / 2 < 160 and 100 < (top + bottom) / 2 < 240
    shared = (min(right, 140) - max(left, 40)) * (min(bottom, 230) - max(top, 120))
    assert shared > 0.4 * 100 * 110
    assert (right - left) * (bottom - top) < 0.5 * 320 * 240
    assert output.bpm == pytest.approx(66, abs=0.5)


def test_a_closer_look_that_is_less_sure_is_dropped(pipe):
    painter = Painter(pipe, bpm=66, region=(40, 120, 140, 230))
    skin = painter._skin
    painter._skin = lambda window: skin(window) if window.crop[2] == 320 else 0 * skin(window)
    painter.noise = 1e-4
    output = pipe(noise_clip(8, size=(240, 320)), fps=FPS)
    assert output.windows[0].crop == (0, 0, 320, 240)
    assert output.bpm == pytest.approx(66, abs=0.5)


def test_of_several_lengths_the_surest_stands(pipe):
    clear = Painter(pipe, bpm=66).field

    def field(window):  # only windows of 10 s show the pulse
        if window.end - window.start > 9:
            return clear(window)
        return 1e-4 * np.exp(1j * 9 * window.times)[:, None, None] * np.ones((8, 4))

    Painter(pipe, bpm=66).field = field
    output = pipe(noise_clip(12), fps=FPS, window=(6, 8, 10))
    assert [(w.start, w.end) for w in output.windows] == [(0, 10), (pytest.approx(2), 12)]
    assert output.bpm == pytest.approx(66, abs=0.5)
    assert output.sampling_rate == pytest.approx(9.6)
    pipe.register_to_config(default_windows=[6.0, 8.0], min_confidence=0.0)
    assert abs(pipe(noise_clip(12), fps=FPS).bpm - 66) > 10


def test_a_fast_pulse_that_long_windows_cannot_show_is_not_outvoted(pipe):
    most = GEOMETRY.size[0] / GEOMETRY.bands / pp.SHORTEST_BEAT
    rate = 60 * most / 6.5  # shown by windows of 5 s, beyond those of 8 and 10 s
    fast = Painter(pipe, bpm=rate, amplitude=0.004).field
    half = Painter(pipe, bpm=rate / 2, amplitude=0.002).field
    Painter(pipe, bpm=rate).field = lambda w: (fast if w.end - w.start < 6 else half)(w)
    output = pipe(noise_clip(10, size=(240, 320)), fps=FPS, window=(8, 5, 10))
    assert max(output.windows, key=lambda w: w.confidence).bpm == pytest.approx(rate, abs=1)


def test_watching_reads_the_last_window_every_second(pipe):
    painter = Painter(pipe, bpm=66, region=(40, 120, 140, 230), amplitude=0.002, noise=0.0005)
    clip, given = noise_clip(12, size=(240, 320)), []

    def camera():
        for number, picture in enumerate(clip):
            given.append(number / FPS)
            yield picture

    def clock():
        for number in range(len(clip)):
            yield number / FPS

    ends = []
    for output in pipe.watch(camera(), timestamps=clock()):
        window = output.windows[0]
        ends.append(window.end)
        assert window.end - window.start == pytest.approx(8)
        assert output.bpm == pytest.approx(66, abs=0.7)
        assert given[-1] <= window.end + 0.3  # read as soon as its pictures were there
    assert ends == pytest.approx([8, 9, 10, 11, 12], abs=0.11)
    assert max(w.crop[2] - w.crop[0] for w in output.windows) < 320  # the closer look was kept
    assert len(painter.looks) == 5 + 2 + 5  # whole pictures, one search, closer looks


def test_one_look_with_a_crop_or_at_an_iterator(pipe):
    painter = Painter(pipe, bpm=66, region=(40, 120, 140, 230))
    clip = noise_clip(8, size=(240, 320))
    output = pipe(clip, fps=FPS, crop=(20, 100, 160, 240))
    assert output.windows[0].crop == (20, 100, 160, 240)
    assert pipe(iter(clip), fps=FPS).windows[0].crop == (0, 0, 320, 240)
    assert len(painter.looks) == 2


def test_ensemble_averages_phasors_and_gives_their_spread(pipe):
    painter = Painter(pipe, bpm=90, noise=0.01)
    drawn = []
    field = painter.field
    painter.field = lambda window: drawn.append(field(window)) or drawn[-1]
    output = pipe(
        noise_clip(),
        fps=FPS,
        crop=(0, 0, 64, 48),
        ensemble_size=5,
        output_uncertainty=True,
        output_sheet=True,
    )
    members = np.stack(drawn)
    assert members.shape == (5, 96, 8, 4)
    np.testing.assert_allclose(output.field[0], members.mean(0), atol=2e-6)
    spread = np.sqrt(np.var(members, axis=0, ddof=1))
    np.testing.assert_allclose(output.field_uncertainty[0], spread, atol=5e-6)
    rates = [pp.mean_rate(pp.pulse_from_field(m, 12, np.ones(m.shape))[0], 12) for m in members]
    assert output.bpm_uncertainty == pytest.approx(np.std(rates, ddof=1), rel=0.02)
    read, _ = pp.decode_field(torch.from_numpy(output.sheet).movedim(-1, 1) * 2 - 1, GEOMETRY)
    np.testing.assert_allclose(read[0].numpy(), output.field[0], atol=1e-5)


def test_jackknife_grows_where_the_bands_disagree():
    times = (np.arange(96) + 0.5) / 12
    alike = np.exp(2j * np.pi * 1.2 * times)[None, :, None, None] * np.ones((1, 1, 8, 4))
    split = alike.copy()
    split[..., 2:] = np.exp(2j * np.pi * 1.3 * times)[None, :, None, None]
    ones = np.ones(alike.shape)
    assert pp.jackknife_uncertainty(alike, ones, [0.0], 12) < 1e-6
    assert 1 < pp.jackknife_uncertainty(split, ones, [0.0], 12) < 12
    assert np.isnan(pp.jackknife_uncertainty(alike[..., :1], ones[..., :1], [0.0], 12))


# ---------------------------------------------------------------------------------- the call's form


def test_output_forms(pipe):
    clip = noise_clip()
    output = pipe(clip, fps=FPS, output_sheet=True)
    tensors = pipe(clip, fps=FPS, output_sheet=True, output_type="pt")
    for name in ("bvp", "times", "field", "sheet"):
        assert np.array_equal(getattr(tensors, name).numpy(), getattr(output, name))
    assert output.sheet.shape == (1, 64, 384, 3)
    assert 0 <= output.sheet.min() and output.sheet.max() <= 1
    plain = pipe(clip, fps=FPS, return_dict=False)
    assert len(plain) == 11 and plain[8] is None
    np.testing.assert_array_equal(plain[7], output.field)


def test_save_pretrained_round_trip(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = PulsePipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert again.geometry == GEOMETRY and again.config.noise_scale == 0.25
    assert again.config.default_windows == [8.0] and tuple(again.config.appearance_size) == (64, 64)
    clip = noise_clip()
    assert np.array_equal(again(clip, fps=FPS).field, pipe(clip, fps=FPS).field)


def test_a_pulse_sheet_is_read_back_from_eight_bits(pipe):
    times = (np.arange(96) + 0.5) * 7 / 96
    field = 0.003 * np.exp(2j * np.pi * 80 / 60 * times)[:, None, None] * np.ones((1, 8, 4))
    sheet = field_to_sheet(bijection.encode_phasor(field), GEOMETRY)
    picture = Image.fromarray(np.uint8(sheet * 255 + 0.5))
    for image in (picture, np.asarray(picture), sheet):
        output = pipe.decode_sheet(image, window=7.0)
        assert output.bpm == pytest.approx(80, abs=0.1) and output.confidence > 0.9
        assert np.abs(output.field[0] - field).max() < 6e-5
        assert output.sampling_rate == pytest.approx(96 / 7)
    with pytest.raises(ValueError, match="384 x 64 pixels"):
        pipe.decode_sheet(picture.resize((96, 64)))


def test_contact_sheet():
    frames = np.random.default_rng(0).integers(0, 255, (6, 5, 7, 3), dtype=np.uint8)
    sheet = frames.reshape(2, 3, 5, 7, 3).swapaxes(1, 2).reshape(10, 21, 3)
    cut = pp.frames_from_contact_sheet(Image.fromarray(sheet), (2, 3))
    assert np.array_equal(np.stack([np.asarray(frame) for frame in cut]), frames)
    with pytest.raises(ValueError, match="grid of 3 x 3 .* 21 x 10"):
        pp.frames_from_contact_sheet(Image.fromarray(sheet), (3, 3))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 4.0}, "window must be 5 to 10 s, got 4.0"),
        ({"stride": 9.0}, "stride .* got 9.0"),
        ({"crop": (0, 0, 10)}, r"crop must be .* got \(0, 0, 10\)"),
        ({"num_inference_steps": 0}, "num_inference_steps .* got 0"),
        ({"ensemble_size": 1.5}, "ensemble_size .* got 1.5"),
        ({"batch_size": 0}, "batch_size .* got 0"),
        ({"generator": [torch.Generator()]}, "one torch.Generator"),
        ({"output_type": "pil"}, "output_type .* got 'pil'"),
        ({"output_uncertainty": True}, "ensemble_size above 1"),
        ({"callback_on_step_end_tensor_inputs": ["noise"]}, r"got \['noise'\]"),
    ],
)
def test_bad_arguments_are_named(pipe, arguments, message):
    with pytest.raises(ValueError, match=message):
        pipe(noise_clip(1), fps=FPS, **arguments)


def test_bad_clips_and_a_missing_geometry_are_named(pipe):
    with pytest.raises(ValueError, match="at least 5 s"):
        pipe(noise_clip(3), fps=FPS)
    with pytest.raises(ValueError, match="frames_from_contact_sheet"):
        pipe(Image.new("RGB", (64, 64)))
    bare = PulsePipeline(**tiny_components.components())
    with pytest.raises(ValueError, match="load an adapter first"):
        bare(noise_clip(), fps=FPS)
