"""Contact sheets: what is kept of a clip on one, and the command that makes them."""

import numpy as np
from conftest import ROOT, run_script
from PIL import Image

from pulse_plantain.contact_sheet import frames_from_contact_sheet, make_contact_sheet
from pulse_plantain.video import Clock

DEMO = ROOT / "assets" / "demo.mp4"


def test_a_sheet_keeps_fractions_of_a_grey_level():
    times = np.arange(0, 9, 1 / 30)
    levels = 100 + 0.2 * np.sin(2 * np.pi * 1.1 * times)
    clip = np.broadcast_to((levels / 255)[:, None, None, None], (len(times), 96, 128, 3))
    np.testing.assert_allclose(clip[0, 0, 0], levels[0] / 255)

    image = make_contact_sheet(clip.astype(np.float32), clock=Clock(30))
    means = np.array([np.asarray(frame).mean() for frame in frames_from_contact_sheet(image)])
    middle = (np.arange(96) + 0.5) / 12
    wanted = 100 + 0.2 * np.sin(2 * np.pi * 1.1 * middle)
    assert image.size == (12 * 128, 8 * 96)
    assert np.abs(means - wanted).max() < 0.03


def test_the_script_makes_the_sheet_that_comes_with_the_project(tmp_path, capsys):
    out = tmp_path / "sheet.png"
    assert run_script("contact_sheet", DEMO, out) == 0
    made = np.asarray(Image.open(out), int)
    bundled = np.asarray(Image.open(ROOT / "assets" / "contact-sheet.png").convert("RGB"), int)
    assert made.shape == bundled.shape and np.abs(made - bundled).max() <= 1
    assert run_script("contact_sheet", DEMO, tmp_path / "b.png", "--start", "60") == 2
    assert "no 8 s from 60 s on" in capsys.readouterr().err
    assert not (tmp_path / "b.png").exists()
    assert run_script("contact_sheet") == 2
