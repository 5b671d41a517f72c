"""Calls at once in one pipeline: each keeps its scheduler and its interruption to itself."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from stand_ins import FPS, noise_clip

from pulse_plantain.calls import RunningCalls

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
