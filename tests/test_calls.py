"""Calls at once in one pipeline: each keeps its scheduler and its interruption to itself."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from diffusers.callbacks import PipelineCallback
from stand_ins import FPS, noise_clip

from pulse_plantain.calls import RunningCalls, choose_clip, warn_of_steps

CROP = (0, 0, 64, 48)


def test_four_calls_at_once_are_what_each_is_alone(pipe):
    clips = [np.roll(noise_clip(), shift, axis=0) for shift in range(4)]

    def measure(number):
        steps = number % 2 + 2  # a shared scheduler would count wrongly, or run out of steps
        return pipe(clips[number], fps=FPS, crop=CROP, num_inference_steps=steps).field

    alone = [measure(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for one, other in zip(pool.map(measure, range(4)), alone, strict=True):
                np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_a_callback_interrupts_its_own_call_only(pipe):
    both_run, seen = threading.Barrier(2, timeout=60), []

    def stop(pipeline, step, timestep, tensors):
        both_run.wait()
        pipeline._interrupt = True
        both_run.wait()

    def watch(pipeline, step, timestep, tensors):
        if step == 0:
            both_run.wait()
            both_run.wait()
        seen.append((step, pipeline.num_timesteps, float(pipeline.current_timestep)))

    def measure(callback):
        output = pipe(
            noise_clip(), fps=FPS, crop=CROP, num_inference_steps=3, callback_on_step_end=callback
        )
        return output.reason or ""

    with ThreadPoolExecutor(2) as pool:
        stopped, finished = pool.map(measure, (stop, watch))
    assert stopped.startswith("interrupted") and not finished.startswith("interrupted")
    assert [row[:2] for row in seen] == [(0, 3), (1, 3), (2, 3)] and seen[0][2] == 1000
    assert pipe.num_timesteps == 0 and pipe.current_timestep is None and not pipe.interrupt


def test_a_thread_without_a_call_interrupts_all_that_run():
    running, ready, go = RunningCalls(), threading.Barrier(3, timeout=60), threading.Event()

    def call():
        with running.start() as state:
            ready.wait()
            go.wait(60)
            return state.interrupted

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(call) for _ in range(2)]
        ready.wait()
        running.interrupt(True)
        go.set()
        assert [one.result() for one in waiting] == [True, True]
    assert not running.get_own().interrupted


def test_the_innermost_call_of_a_thread_is_its_own():
    running = RunningCalls()
    with running.start() as outer:
        with running.start() as inner:
            running.interrupt(True)
            assert inner.interrupted and not outer.interrupted
        assert running.get_own() is outer
    with pytest.raises(RuntimeError), running.start():
        raise RuntimeError("broken off")
    assert running.get_own() is not outer


def test_a_clip_has_two_names_and_what_means_nothing_is_warned_of(caplog):
    logging.getLogger("diffusers").propagate = True
    assert choose_clip("a.mp4", None, {}) == choose_clip(None, "a.mp4", {}) == "a.mp4"
    assert choose_clip(None, "a.mp4", {"prompt": None}) == "a.mp4" and not caplog.text
    choose_clip(None, "a.mp4", {"prompt": "a pulse", "guidance_scale": 4.0, "height": None})
    assert "ignored: prompt, guidance_scale; the adapter has one prompt" in caplog.text
    with pytest.raises(TypeError, match="has no argument 'frames'"):
        choose_clip("a.mp4", None, {"frames": 3})
    for clip, image in ((None, None), ("a.mp4", "b.mp4")):
        with pytest.raises(TypeError, match="give one clip, as clip= or as image="):
            choose_clip(clip, image, {})


def test_more_steps_than_were_trained_are_warned_of(caplog):
    logging.getLogger("diffusers").propagate = True
    warn_of_steps(1, 1)
    assert not caplog.text
    warn_of_steps(4, 1)
    assert "was trained for 1 step of the flow: with 4 it draws worse" in caplog.text


def test_a_changed_prompt_holds_for_its_own_batch(pipe):
    sizes = []

    def callback(pipeline, step, timestep, tensors):
        sizes.append(float(tensors["prompt_embeds"].norm()))
        return {"prompt_embeds": tensors["prompt_embeds"] / 2}

    class Wanting(PipelineCallback):
        """Says itself what it wants, as diffusers' own kind does."""

        tensor_inputs = ("prompt_embeds",)

        def callback_fn(self, pipeline, step, timestep, tensors):
            sizes.append(sorted(tensors))
            return tensors

    given = {"fps": FPS, "crop": (0, 0, 64, 48), "num_inference_steps": 2, "batch_size": 1}
    names = {"callback_on_step_end_tensor_inputs": ["prompt_embeds"]}
    pipe(noise_clip(13), callback_on_step_end=callback, **given, **names)
    assert sizes == pytest.approx([sizes[0], sizes[0] / 2] * 3) and sizes[0] > 0
    sizes.clear()
    pipe(noise_clip(), callback_on_step_end=Wanting(1.0), **given)
    assert sizes == [["prompt_embeds"]] * 2
