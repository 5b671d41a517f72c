"""The call on tiny random components: its steps, its forms and its refusals."""

import copy
import gc
import pickle
import re
import weakref
from dataclasses import fields
from itertools import count, pairwise, repeat
from unittest import mock

import numpy as np
import pytest
import tiny_components
import torch
from conftest import ROOT
from PIL import Image
from safetensors.torch import save_file
from stand_ins import BPM, FPS, GEOMETRY, READING, Painter, noise_clip

from pulse_plantain import adapter, bijection, contact_sheet, flux2, reading, video
from pulse_plantain.drawing import Drawing
from pulse_plantain.pipeline import GPU_DTYPES, PulsePipeline
from pulse_plantain.posterior import MIN_CONFIDENCE
from pulse_plantain.search import Search
from pulse_plantain.sheet import Layout, field_to_sheet, motion_sheet
from pulse_plantain.video import ClipError
from pulse_plantain.windows import encode_windows

# ------------------------------------------------------------------------------------------ tokens


# ------------------------------------------------------------------------------------------ fields


# ------------------------------------------------------------------------------------- determinism


def test_default_call_starts_from_the_motion_sheet_and_is_predict_clean(pipe):
    clip = noise_clip()
    with mock.patch.object(pipe, "decode_sheets", wraps=pipe.decode_sheets) as decode:
        output = pipe(clip, fps=FPS, crop=(0, 0, 64, 48))
    (window,) = encode_windows(clip, Layout(GEOMETRY), clock=video.Clock(FPS))
    with torch.no_grad():
        pictures = (window.appearance[None], motion_sheet(window.motion[None], GEOMETRY))
        images = [torch.from_numpy(picture).movedim(-1, 1) * 2 - 1 for picture in pictures]
        appearance, motion = (flux2.encode_images(pipe.vae, image) for image in images)
        ids = [flux2.token_ids(4, 24, 0), flux2.token_ids(4, 4, 10)]
        expected = flux2.predict_clean(
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


def test_a_hole_in_the_clip_costs_only_the_seconds_around_it(pipe):
    """Over half a second without a picture: whatever is drawn, a beat may be missing."""
    assert reading.LONGEST_HOLE == 0.5
    Painter(pipe, 72.0)
    clip = noise_clip(12)
    stamps = np.arange(len(clip)) / FPS

    def with_hole(seconds):
        late = np.where(stamps < 9, stamps, stamps + seconds - 1 / FPS)
        return pipe(clip, timestamps=late, crop=(0, 0, 64, 48))

    for seconds in (1 / FPS, 0.48):
        output = with_hole(seconds)
        assert output.bpm == pytest.approx(72, abs=0.4) and output.reason is None
    whole = with_hole(1 / FPS).curve
    for seconds in (0.52, 0.8):
        output = with_hole(seconds)
        assert output.bpm == pytest.approx(72, abs=0.6) and output.reason is None
        # The window from 0 to 8 s is whole; later seconds are known from it alone.
        assert output.curve.confidence[2] > 0.9
        assert output.curve.confidence[10] < whole.confidence[10]
    late = np.where(stamps < 4, stamps, stamps + 1.0)
    output = pipe(clip[:80], timestamps=late[:80], crop=(0, 0, 64, 48))
    assert np.isnan(output.bpm) and np.isnan(output.bpm_uncertainty)
    assert re.match(r"no new picture for 1\.1 s between [01]\.\d and [89]\.\d s", output.reason)


def test_windows_of_the_whole_picture_are_let_go_once_they_were_looked_at(pipe, monkeypatch):
    looked_at, alive = [], []
    real = Search.take

    def take(self, fine):
        gc.collect()
        alive.append(sum(window() is not None for window in looked_at))
        looked_at.extend(weakref.ref(window) for window in fine)
        real(self, fine)

    monkeypatch.setattr(Search, "take", take)
    pipe(noise_clip(24), fps=FPS)
    assert len(looked_at) > 4 and len(alive) > 2
    assert alive == [0] * len(alive)


def test_several_steps_are_eulers(pipe):
    torch.manual_seed(0)
    start, references = torch.randn(1, 96, 16), torch.randn(1, 16, 16)
    embeds = pipe.encode_task_prompt()
    with torch.no_grad():
        ours = pipe.denoise(start, references, Drawing(4, batch_size=1, prompt_embeds=embeds))
        flux2.set_timesteps(pipe.scheduler, 4, start.shape[1], "cpu")
        sigmas = pipe.scheduler.sigmas
        assert len(sigmas) == 5 and sigmas[0] == 1 and sigmas[-1] == 0
        latents = start
        for now, after in pairwise(sigmas):
            velocity = flux2.predict_velocity(
                pipe.transformer, latents, references, embeds, flux2.image_ids(pipe.layout, 16), now
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
        return torch.cat([call.args[0] for call in decode.call_args_list])

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


@pytest.mark.slow
def test_the_types_for_a_gpu_draw_what_float32_draws_and_bfloat16_alone_does_not():
    decoded = []

    def drawn(types):
        pipe = PulsePipeline.from_pretrained(ROOT / "tiny", dtype=types)
        pipe.load_lora_weights(ROOT / "tiny/adapter", weight_name="adapter_model.safetensors")
        pipe.set_progress_bar_config(disable=True)
        pipe.vae.decoder.register_forward_hook(lambda *its: decoded.append(its[-1].dtype))
        pulse = pipe(ROOT / "assets/demo.mp4", window=8, crop=(80, 60, 186, 200))
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
    assert [row[0] for row in seen] == [0, 1, 0, 1]  # two steps of batches of 1 and 2 windows
    assert [row[2] for row in seen] == [(1, 96, 16)] * 2 + [(2, 96, 16)] * 2
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
    pipe(noise_clip(8), fps=FPS, crop=(0, 0, 64, 48), ensemble_size=3, num_inference_steps=2)
    assert "2/2" in capsys.readouterr().err
    arguments = {"ensemble_size": 3, "batch_size": 2, "num_inference_steps": 3}
    pipe(noise_clip(8), fps=FPS, crop=(0, 0, 64, 48), **arguments)
    assert "6/6" in capsys.readouterr().err


def test_vae_is_called_through_its_hooked_methods(pipe):
    encode, decode = pipe.vae.encode, pipe.vae.decode
    with (
        mock.patch.object(pipe.vae, "encode", side_effect=encode) as encoded,
        mock.patch.object(pipe.vae, "decode", side_effect=decode) as decoded,
    ):
        pipe(noise_clip(13), fps=FPS, crop=(0, 0, 64, 48), batch_size=3)
    assert encoded.call_count == 4 and decoded.call_count == 2  # 8 s, then all that ended later
    assert pipe.model_cpu_offload_seq == "text_encoder->transformer->vae"


# -------------------------------------------------------------------------------------- the prompt


def test_prompt_is_not_padded(pipe, parent):
    embeds = pipe.encode_task_prompt()
    text = f"<|im_start|>user\n{adapter.PROMPT}<|im_end|>\n<|im_start|>assistant\n"
    assert embeds.shape == (1, len(pipe.tokenizer(text)["input_ids"]), 24)
    padded, _ = parent.encode_prompt(adapter.PROMPT)
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
    save_file({"prompt_embeds": torch.zeros(1, 3, 24)}, path, metadata={"prompt": "A cat."})
    with pytest.raises(ValueError, match=r"'A cat\.'"):
        adapter.read_prompt_embeds(path)


# ----------------------------------------------------------------------------- reading of the pulse


def test_rate_trace_and_windows_of_a_long_clip(pipe):
    Painter(pipe, bpm=72.4, noise=0.002)
    output = pipe(noise_clip(15), fps=FPS)
    assert output.bpm == pytest.approx(72.4, abs=0.4)
    assert output.reason is None and 0.9 < output.confidence <= 1
    np.testing.assert_allclose(output.curve.times, np.arange(15) + 0.5)
    assert np.abs(output.curve.bpm - 72.4).max() < 0.6
    assert (output.curve.low < 72.6).all() and (output.curve.high > 72.2).all()
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
        assert 36 < output.guess < 204 and "guess" not in output.to_dict()
        assert "no pulse found" in output.reason and f"{MIN_CONFIDENCE:.2f}" in output.reason
        assert output.confidence < 0.5 and np.isfinite(output.bvp).all()
        assert all(36 < w.bpm < 204 and w.confidence < 0.5 for w in output.windows)


def test_black_sheets_say_no_periodic_pulse(pipe):
    Painter(pipe, bpm=72, amplitude=0.0)
    output = pipe(noise_clip(), fps=FPS)
    assert np.isnan(output.bpm) and output.confidence < 0.1
    assert output.reason == "no periodic pulse between 36 and 204 bpm"


def test_looks_closer_where_the_pulse_is(pipe):
    region = (40, 120, 140, 230)
    painter = Painter(pipe, bpm=66, region=region, amplitude=0.002, noise=0.0005)
    output = pipe(noise_clip(8, size=(240, 320)), fps=FPS)
    assert len(painter.looks) == 2  # all over and nearby
    left, top, right, bottom = output.windows[0].crop
    assert 20 < (left + right) / 2 < 160 and 100 < (top + bottom) / 2 < 240
    shared = (min(right, 140) - max(left, 40)) * (min(bottom, 230) - max(top, 120))
    assert shared > 0.4 * 100 * 110
    assert (right - left) * (bottom - top) < 0.5 * 320 * 240
    assert output.bpm == pytest.approx(66, abs=0.5)


def test_a_box_that_shows_less_than_the_whole_picture_is_dropped(pipe):
    painter = Painter(pipe, bpm=66, region=(40, 120, 140, 230))
    skin = painter._skin
    painter._skin = lambda window: skin(window) if window.crop[2] == 320 else 0 * skin(window)
    painter.noise = 2e-5
    output = pipe(noise_clip(8, size=(240, 320)), fps=FPS)
    assert output.windows[0].crop[2] == 320
    assert output.windows[0].bpm == pytest.approx(66, abs=0.5)


def test_the_length_that_shows_the_pulse_stands(pipe):
    clear = Painter(pipe, bpm=66).field

    def field(window):  # only windows of 10 s show the pulse
        if window.end - window.start > 9:
            return clear(window)
        noise = np.random.default_rng(len(window.times)).standard_normal((2, 96, 8, 4))
        return 1e-3 * (noise[0] + 1j * noise[1])

    Painter(pipe, bpm=66).field = field
    output = pipe(noise_clip(12), fps=FPS, window=(6, 8, 10))
    assert [(w.start, w.end) for w in output.windows] == [(0, 10), (pytest.approx(2), 12)]
    assert output.bpm == pytest.approx(66, abs=0.5)
    assert output.sampling_rate == pytest.approx(9.6)
    pipe.register_to_config(default_windows=[6.0, 8.0])
    assert pipe(noise_clip(12), fps=FPS).confidence < 0.5


def test_a_fast_pulse_that_long_windows_cannot_show_is_not_outvoted(pipe):
    few_beats = {**READING.to_dict(), "beats": (0.0, -8.0)}  # half of the trust at 15 beats
    pipe.register_to_config(reading=few_beats)
    rate = 170.0  # 14 beats in 5 s, 23 and 28 in 8 and 10 s
    fast = Painter(pipe, bpm=rate, amplitude=0.004).field
    half = Painter(pipe, bpm=rate / 2, amplitude=0.0002, noise=0.001).field
    Painter(pipe, bpm=rate).field = lambda w: (fast if w.end - w.start < 6 else half)(w)
    output = pipe(noise_clip(10, size=(240, 320)), fps=FPS, window=(8, 5, 10))
    assert output.bpm == pytest.approx(rate, abs=1)


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
    assert len(painter.looks) == 2 + 4 + 2  # one search, the best box each time, others at 9 and 12


def test_a_crop_is_looked_at_alone_and_an_iterator_like_any_clip(pipe):
    painter = Painter(pipe, bpm=66, region=(40, 120, 140, 230))
    clip = noise_clip(8, size=(240, 320))
    output = pipe(clip, fps=FPS, crop=(20, 100, 160, 240))
    assert output.windows[0].crop == (20, 100, 160, 240)
    assert len(painter.looks) == 1
    assert pipe(iter(clip), fps=FPS).windows[0].crop == pipe(clip, fps=FPS).windows[0].crop


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
    read, _ = reading.decode_field(torch.from_numpy(output.sheet).movedim(-1, 1) * 2 - 1, GEOMETRY)
    np.testing.assert_allclose(read[0].numpy(), output.field[0], atol=1e-5)


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
    assert len(plain) == len(fields(output)) and plain[8] is None and not plain[12]
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
        assert output.bpm == pytest.approx(80, abs=0.4) and output.confidence > 0.9
        assert np.abs(output.field[0] - field).max() < 6e-5
        assert output.sampling_rate == pytest.approx(96 / 7)
    for image in (torch.from_numpy(sheet), torch.from_numpy(sheet).bfloat16(), sheet.astype("f2")):
        assert pipe.decode_sheet(image, window=7.0).bpm == pytest.approx(80, abs=0.4)
    with pytest.raises(ValueError, match="384 x 64 pixels"):
        pipe.decode_sheet(picture.resize((96, 64)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"window": 1e-9}, "window must be 5 to 10 seconds, got 1e-09"),
        ({"window": 0}, "window must be 5 to 10 seconds, got 0"),
        ({"stride": 1e9}, "stride must be at least 0.1 and at most"),
        ({"spans": [(0.0, 1e-9)]}, "must cover 5 to 10 s, .* got 0 to 1e-09 s"),
        ({"spans": [(0.0, 8.0), (1e12, 1e12 + 8)]}, "begin near the one before"),
        ({"spans": [(np.nan, 8.0)]}, "must cover 5 to 10 s"),
        ({"spans": []}, "holds no sheets"),
        ({"image": torch.zeros(64, 384, 3, device="meta")}, "no numbers can be read from a tensor"),
        ({"image": np.full((64, 384, 3), np.nan)}, r"uint8, uint16 or float in \[0, 1\]"),
        ({"image": np.full((64, 384, 3), 7.0)}, r"uint8, uint16 or float in \[0, 1\]"),
        ({"image": np.full((64, 384, 3), "a")}, r"uint8, uint16 or float in \[0, 1\]"),
        ({"image": np.float32(3)}, r"\[H, W, 3\] of 384 x 64 pixels, got np.float32\(3"),
        ({"image": [[1], [1, 2]]}, r"\[H, W, 3\] of 384 x 64 pixels, got \[\[1\], \[1, 2\]\]"),
        ({"image": "a sheet"}, r"\[H, W, 3\] of 384 x 64 pixels, got 'a sheet'"),
        ({"image": count()}, r"\[H, W, 3\] of 384 x 64 pixels, got count\(0\)"),
        ({"image": np.zeros((64, 384, 4))}, r"got an array of shape \(64, 384, 4\)"),
        ({"spans": repeat((0, 8))}, "spans must be .* got more than the picture's 1 sheet$"),
        ({"spans": [(0, 8), (4, 12), (8, 16)]}, "got more than the picture's 1 sheet$"),
        ({"spans": [count()]}, r"\(start, end\) in seconds of each sheet, got count"),
        ({"spans": 5}, r"\(start, end\) in seconds of each sheet, got 5"),
        ({"spans": [0, 8]}, r"\(start, end\) in seconds of each sheet, got 0 for one"),
        ({"spans": [(0, 8, 9)]}, r"\(start, end\) .*, got \(0, 8, 9\) for one"),
        ({"spans": [(0, "end")]}, r"\(start, end\) .*, got \(0, 'end'\) for one"),
        ({"spans": "08"}, r"\(start, end\) .*, got '0' for one"),
        ({"spans": np.zeros((1, 2, 2))}, r"\(start, end\) .*, got an array of shape \(1, 2, 2\)"),
        ({"spans": np.array(8.0)}, r"\(start, end\) .*, got array\(8"),
    ],
)
def test_sheets_that_no_clip_has_are_refused(pipe, change, message):
    values = {"image": np.zeros((64, 384, 3), np.uint8)} | change
    if values.get("spans") is not None and "begin near" in message:
        values["image"] = np.zeros((128, 384, 3), np.uint8)
    with pytest.raises(ClipError, match=message) as caught:
        pipe.decode_sheet(**values)
    assert "\n" not in str(caught.value)


def test_the_times_of_sheets_may_come_in_any_form(pipe):
    image = np.full((128, 384, 3), 0.5)
    pairs = [(0.0, 8.0), (4.0, 12.0)]
    expected = pipe.decode_sheet(image, spans=pairs)
    for spans in (
        *(np.array(pairs), torch.tensor(pairs), (pair for pair in pairs), map(list, pairs)),
        [("0", "8"), ("4", "12")],
    ):
        read = pipe.decode_sheet(image, spans=spans)
        assert [(w.start, w.end) for w in read.windows] == pairs
        assert np.array_equal(read.bvp, expected.bvp)
    for wrong in ("x", None, ["np"], np.array(["np", "pt"])):
        with pytest.raises(ValueError, match=r'^output_type must be "np" or "pt", got'):
            pipe.decode_sheet(image, spans=pairs, output_type=wrong)
    assert isinstance(pipe.decode_sheet(image, spans=pairs, output_type="pt").bvp, torch.Tensor)


def test_a_pipeline_can_be_pickled_and_draws_the_same():
    pipe = PulsePipeline(**tiny_components.components(), geometry=GEOMETRY)
    twin = pickle.loads(pickle.dumps(pipe))
    clip, crop = noise_clip(), (0, 0, 64, 48)
    fields = [one(clip, fps=FPS, crop=crop).field for one in (pipe, twin)]
    assert np.array_equal(*fields) and np.abs(fields[0]).max() > 0


def test_what_the_clip_lost_is_said(pipe):
    Painter(pipe, BPM)
    times = np.delete(np.arange(81) / FPS, [20, 40, 41])
    output = pipe(noise_clip(7.8), timestamps=times)
    assert output.lost.gaps == 2 and output.found
    assert output.lost.gap_seconds == pytest.approx(0.3, abs=1e-6)
    assert output.to_dict()["lost"] == {
        "pictures": 0, "disordered": 0, "gaps": 2, "end_seconds": 0.0,
        "gap_seconds": pytest.approx(0.3, abs=1e-6),
    }  # fmt: skip
    assert "the clip lost 0.30 s in 2 gaps" in output.to_text().splitlines()
    whole = pipe(noise_clip(), fps=FPS)
    assert not whole.lost and "lost" not in whole.to_text()
    read = pipe.watch(noise_clip(7.8), timestamps=times, window=5.0, stride=None)
    told = [(one.windows[0].end, one.lost.gaps) for one in read]
    np.testing.assert_allclose(told, [(5, 2), (6, 2), (7, 2), (8, 2), (8.1, 2)])


def test_contact_sheet():
    frames = np.random.default_rng(0).integers(0, 255, (6, 5, 7, 3), dtype=np.uint8)
    sheet = frames.reshape(2, 3, 5, 7, 3).swapaxes(1, 2).reshape(10, 21, 3)
    cut = contact_sheet.frames_from_contact_sheet(Image.fromarray(sheet), (2, 3))
    assert np.array_equal(np.stack([np.asarray(frame) for frame in cut]), frames)
    for wrong in (("2", "3"), (2.0, 3.0), (2,), 6, None):
        with pytest.raises(ValueError, match=r"a grid must be \(rows, columns\), two whole"):
            contact_sheet.frames_from_contact_sheet(Image.fromarray(sheet), wrong)
    with pytest.raises(ValueError, match=r"grid of 3 x 3 .* 21 x 10"):
        contact_sheet.frames_from_contact_sheet(Image.fromarray(sheet), (3, 3))


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"window": 4.0}, "window must be 5 to 10 seconds, got 4"),
        ({"stride": 9.0}, "stride .* got 9.0"),
        ({"crop": (0, 0, 10)}, r"crop must be .* got \(0, 0, 10\)"),
        ({"num_inference_steps": 0}, "num_inference_steps .* got 0"),
        ({"ensemble_size": 1.5}, "ensemble_size .* got 1.5"),
        ({"batch_size": 0}, "batch_size .* got 0"),
        (
            {"num_inference_steps": 10**9},
            "num_inference_steps must be at most 1000, got 1000000000",
        ),
        ({"ensemble_size": 10**9}, "ensemble_size must be at most 1000"),
        ({"batch_size": 10**9}, "batch_size must be at most 4096"),
        ({"stride": 1e-4}, "stride must be at least 0.1 .* got 0.0001"),
        ({"window": count(5)}, "window must be at most 16 numbers, got more"),
        ({"window": 0}, "window must be 5 to 10 seconds, got 0"),
        ({"window": "long"}, "window must be a number, got 'long'"),
        ({"crop": 7}, r"crop must be .* got 7"),
        ({"crop": ("a", 0, 10, 10)}, "crop must be .* got"),
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
    with pytest.raises(ValueError, match="no contact sheet of 8 x 12 frames: make one of a clip"):
        pipe(Image.new("RGB", (64, 64)))
    bare = PulsePipeline(**tiny_components.components())
    with pytest.raises(ValueError, match="no adapter: load one first"):
        bare(noise_clip(), fps=FPS)
