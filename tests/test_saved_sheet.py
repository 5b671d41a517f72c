"""Pulse sheets that were saved: whose they are, and when."""

import numpy as np
import pytest
from PIL import Image
from stand_ins import GEOMETRY

from pulse_plantain import bijection
from pulse_plantain.sheet import field_to_sheet
from pulse_plantain.video import ClipError


def test_saved_sheets_are_read_on_their_own_clock(pipe, caplog):
    times = (np.arange(96) + 0.5) * 10 / 96
    field = 0.003 * np.exp(2j * np.pi * 80 / 60 * times)[:, None, None] * np.ones((1, 8, 4))
    sheet = np.uint8(field_to_sheet(bijection.encode_phasor(field), GEOMETRY) * 255 + 0.5)
    one, two = Image.fromarray(sheet), Image.fromarray(np.concatenate([sheet, sheet]))
    one.info["pulse_windows"] = "[[0.0, 10.0]]"
    two.info["pulse_windows"] = "[[0.0, 10.0], [3.0, 13.0]]"
    for image, spans in ((one, [(0, 10)]), (two, [(0, 10), (3, 13)])):
        for read in (pipe(image=image), pipe.decode_sheet(image), pipe(image=[image])):
            assert [(window.start, window.end) for window in read.windows] == spans
            assert read.windows[0].bpm == pytest.approx(80, abs=0.4)
    assert not caplog.records
    assert pipe(image=one, window=5).windows[0].end == 5
    del one.info["pulse_windows"]
    assert pipe(image=one).windows[0].bpm == pytest.approx(100, abs=0.5)
    assert "nothing says what each sheet covers: 8 s are assumed" in caplog.text
    del two.info["pulse_windows"]
    with pytest.raises(ClipError, match="contact sheet"):  # it may be one
        pipe(image=two)
