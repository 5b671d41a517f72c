"""A clip that lies there is read in a thread, ahead of its use; nothing else changes by it."""

import io
import threading
import time
from itertools import count, islice

import numpy as np
import pytest
from clips import LAYOUT

from pulse_plantain import ahead, windows
from pulse_plantain.video import ClipError, Clock


def read_threads():
    """Names of the threads that read ahead now."""
    return [t.name for t in threading.enumerate() if t.name.startswith("read-ahead")]


@pytest.mark.parametrize("length", [0, 1, 16, 17, 32, 500])
def test_items_come_in_order_each_once(length):
    assert list(ahead.read_ahead(iter(range(length)))) == list(range(length))
    assert not read_threads()


def test_a_thread_reads_ahead_so_far_and_no_farther():
    read, enough = [], threading.Event()

    def items():
        for number in count():
            read.append((number, threading.current_thread().name))
            if number + 1 == (ahead.AHEAD + 1) * ahead.AT_ONCE:
                enough.set()
            yield number

    found = ahead.read_ahead(items())
    assert next(found) == 0
    assert enough.wait(10)  # one batch is in use, the others wait
    assert list(islice(found, ahead.AT_ONCE - 1)) == list(range(1, ahead.AT_ONCE))
    assert len(read) <= (ahead.AHEAD + 1) * ahead.AT_ONCE
    assert {name for _, name in read} == set(read_threads())
    found.close()
    assert not read_threads()


def test_what_was_not_begun_is_not_read_any_more_once_it_is_closed():
    read = []

    def items():
        for number in count():
            time.sleep(0.002)
            read.append(number)
            yield number

    found = ahead.read_ahead(items())
    assert next(found) == 0
    found.close()
    assert len(read) < ahead.AHEAD // 2 * ahead.AT_ONCE and not read_threads()


@pytest.mark.parametrize("good", [0, 3, 16, 40])
def test_what_is_raised_comes_after_the_items_before_it(good):
    def items():
        yield from range(good)
        raise ClipError("breaks off")

    found, seen = ahead.read_ahead(items()), []
    with pytest.raises(ClipError, match="breaks off"):
        seen.extend(found)
    assert seen == list(range(good))
    assert not read_threads()


def test_only_what_lies_there_can_wait(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    assert ahead.can_wait(path) and ahead.can_wait(str(path)) and ahead.can_wait(b"x")
    for other in (tmp_path, "-", "rtsp://camera", "/dev/null", io.BytesIO(b"x"), iter([]), None):
        assert not ahead.can_wait(other), other


def test_windows_are_the_same_whoever_reads(clip, monkeypatch):
    used = []
    real = ahead.read_ahead
    monkeypatch.setattr(ahead, "read_ahead", lambda items: used.append(1) or real(items))
    read = list(windows.encode_windows(clip, LAYOUT, window=(5.0, 8.0)))
    assert used and not read_threads()
    monkeypatch.setattr(ahead, "can_wait", lambda clip: False)
    used.clear()
    plain = list(windows.encode_windows(clip, LAYOUT, window=(5.0, 8.0)))
    assert not used and len(read) == len(plain) > 1
    for one, other in zip(read, plain, strict=True):
        assert (one.start, one.end, one.frames) == (other.start, other.end, other.frames)
        assert np.array_equal(one.motion, other.motion)
        assert np.array_equal(one.appearance, other.appearance)


def test_pictures_of_the_caller_are_asked_for_in_the_callers_thread():
    own, seen = threading.current_thread(), []

    def frames():
        for number in range(60):
            seen.append(threading.current_thread() is own)
            yield np.full((16, 16, 3), number, np.uint8)

    assert list(windows.encode_windows(frames(), LAYOUT, clock=Clock(10)))
    assert all(seen)
