"""What a call has used goes back to the system while it goes on."""

import ctypes
import subprocess
import sys

import pytest
from conftest import ROOT
from stand_ins import FPS, noise_clip

from pulse_plantain import memory
from pulse_plantain.search import Search

HOLES = """
import sys
from pathlib import Path
from pulse_plantain import memory

def read_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

blocks = [bytearray(90_000) for _ in range(1000)]
kept = blocks[::10]  # between holes, so that the heap cannot just be made shorter
before = read_mb()
memory.let_go(blocks)
print(before - read_mb())
"""


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "malloc_trim"),
    reason="needs glibc on Linux",
)
def test_holes_between_what_is_kept_go_back_to_the_system():
    command = [sys.executable, "-c", HOLES]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert 70 < float(ran.stdout) < 90  # of 90 MB a tenth is kept, and what shares pages with it


def test_where_memory_cannot_be_given_back_the_list_is_emptied_all_the_same(monkeypatch):
    monkeypatch.setattr(memory, "_find_trim", lambda: None)
    items = [1, 2]
    memory.let_go(items)
    assert items == []


def test_a_call_and_a_watch_give_memory_back_after_every_look(pipe, monkeypatch):
    order = []
    take = Search.take
    monkeypatch.setattr(memory, "_find_trim", lambda: lambda _: order.append("given back"))
    monkeypatch.setattr(
        Search, "take", lambda self, fine: (order.append("look"), take(self, fine))[1]
    )
    pipe(noise_clip(20), fps=FPS)
    assert len(order) >= 6 and order == ["look", "given back"] * (len(order) // 2)
    order.clear()
    readings = list(pipe.watch(noise_clip(12), fps=FPS))
    assert order == ["look", "given back"] * len(readings)
