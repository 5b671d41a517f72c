"""A Gradio page: a face clip in, the pulse over the face and a heart rate out.

python app.py serves it on this machine; a Space runs it as it is. A clip is kept for another try:
it is deleted when another one takes its place or the page's cross is pressed, and after ten minutes
in any case, as is what was made of it.
"""

from __future__ import annotations

import csv
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np
from gradio.utils import get_upload_folder

if TYPE_CHECKING:  # what takes long to import is imported beside the page, see start_loading
    from pulse_plantain.output import PulseOutput
    from pulse_plantain.pipeline import PulsePipeline

ROOT = Path(__file__).resolve().parent
DEMO = ROOT / "assets" / "demo.mp4"

KEPT_SECONDS = 600
"""How long Gradio keeps clips and what was made of them; it looks once a minute."""

MODULES = (1620, 4960)
"""Modules before and after the model is loaded; only the progress of loading uses them."""

WINDOWS = 44
"""Windows that are drawn of the bundled clip; of another one the progress expects as many."""

INTRODUCTION = """# pulse-plantain
A heart rate from a video of a face, read from a picture that an image generator draws. **Not a
medical device**; measure people who agreed to it. A clip is deleted when another one takes its
place, and after ten minutes in any case.
"""

START = "Upload a clip of a face of 5 to 60 s, record one, or try the bundled one."

ADVICE = """### For a good reading
- Sit still, with the face in even light; daylight from the front is best.
- Hold the camera still, or put it down.
- 10 s are enough. From 15 s on there is also a curve of the heart rate.
- Make-up, a beard and strong compression hide the pulse.
"""

STYLE = """
.gradio-container { max-width: 1360px !important; padding: 8px 16px !important; }
#introduction h1 { margin: 0 0 2px; font-size: 1.5rem; }
#said { min-height: 84px; }
#said h2 { margin: 0; font-size: 1.3rem; }
#said p { margin: 4px 0; }
#said p + p { font-size: .85rem; opacity: .85; }
#said strong { color: #b45309; }
.dark #said strong { color: #fbbf24; }
#counting:has(#countdown:empty) { display: none; }
#plots img, #film video { object-fit: contain; }
#windows table { width: 100%; }
#windows h3 { margin: 4px 0; }
#windows th, #windows td { padding: 4px 8px; word-break: normal; }
#clip .video-container { height: calc(100% - 20px) !important; }
.main.app { padding: 8px clamp(0px, 4vw - 16px, 32px) !important; }
#said:has(.progress-level) .prose { visibility: hidden; }
footer { display: none !important; }
"""

WEBCAM = """
() => {
  const press = (word) => {
    const found = [...document.querySelectorAll('#clip button')].find((button) =>
      `${button.textContent} ${button.getAttribute('aria-label')}`.toLowerCase().includes(word));
    if (found) found.click();
    return Boolean(found);
  };
  press('clear');
  const steps = ['capture from camera', 'access webcam', 'record'];
  let tries = 0;
  const timer = setInterval(() => {
    if (press(steps[0])) steps.shift();
    if (!steps.length || ++tries > 100) clearInterval(timer);
  }, 150);
}
"""
"""Opens the webcam and starts to record."""

AT_START = """
() => {
  new MutationObserver(() => {
    for (const toast of document.querySelectorAll('.toast-body'))
      if (toast.textContent.includes('Video not playable')) toast.style.display = 'none';
  }).observe(document.body, {childList: true, subtree: true});
  let since = null;
  setInterval(() => {
    const note = document.querySelector('#countdown');
    const stop = [...document.querySelectorAll('#clip button')].find((button) =>
      `${button.textContent} ${button.getAttribute('aria-label')}`.toLowerCase().includes('stop'));
    if (!note) return;
    if (!stop) { since = null; note.textContent = ''; return; }
    since = since || Date.now();
    const left = 10 - (Date.now() - since) / 1000;
    note.textContent = left > 0 ? `Keep still: ${Math.ceil(left)} s` : 'Done';
    if (left <= 0) { since = null; stop.click(); }
  }, 200);
}
"""
"""Counts down while the webcam records, and stops the recording after 10 s. Hides what Gradio says
of a clip that the browser cannot play: it may well be measured, and else the page says why not."""

LOOK = "(clip) => [clip, document.body.classList.contains('dark'), window.innerWidth < 700]"
"""Tells how the page looks: the figures are drawn for it."""

PROGRESS = gr.Progress()
"""Marks the argument by which Gradio lets a function report how far it is."""

# ---------------------------------------------------------------------------------------- the model


@cache
def start_loading() -> Future[PulsePipeline]:
    """Import the libraries and load the model, once, in a thread beside the page."""
    return ThreadPoolExecutor(1, "loading").submit(load_model)


def load_model() -> PulsePipeline:
    """The pipeline that is served, with all that a measurement needs imported."""
    from handler import load_served  # imports torch, diffusers, PyAV and Matplotlib

    return load_served(ROOT)


def wait_for_model(progress: gr.Progress, share: float = 1.0) -> PulsePipeline:
    """The pipeline, as soon as it is loaded.

    Args:
        progress: told how far the loading is.
        share: what of the progress it is.
    """
    loading = start_loading()
    while not loading.done():
        done = min(1.0, max(0, len(sys.modules) - MODULES[0]) / (MODULES[1] - MODULES[0]))
        progress(0.98 * share * done, "Loading the model")
        wait([loading], 0.3)
    return loading.result()


def watch_loading(progress: gr.Progress = PROGRESS) -> Any:
    """Show how the model is loaded; nothing then, or a sentence if it cannot be."""
    try:
        wait_for_model(progress)
    except Exception:
        logging.exception("the model could not be loaded")
        return "**The model could not be loaded; the server's log says why.**"
    return gr.skip()


# ------------------------------------------------------------------------------------ what is shown


@dataclass(frozen=True)
class Shown:
    """What the page shows of a measurement, in the order of its outputs; what is left out stays."""

    said: Any = None
    advice: Any = None
    film: Any = None
    plots: Any = None
    table: Any = None
    sheet: Any = None
    files: Any = None

    @classmethod
    def clear(cls, said: str = "") -> Shown:
        """A page without a measurement."""
        hidden = gr.update(value=None, visible=False)
        return cls(said, gr.update(visible=False), *[hidden] * 5)

    @classmethod
    def refuse(cls, sentence: str) -> Shown:
        """A page that says why there is no measurement, until the next try."""
        return replace(cls.clear(f"**{sentence}**"), advice=gr.update(visible=True))

    def to_row(self) -> tuple:
        """The values in the order of the outputs."""
        values = (getattr(self, name) for name in self.__dataclass_fields__)
        return tuple(gr.skip() if value is None else value for value in values)


def show(value: Any) -> Any:
    """An output with a value, on the page from now on."""
    return gr.update(value=value, visible=True)


def describe(pulse: PulseOutput, threshold: float) -> str:
    """What is said of a measurement, as Markdown.

    Args:
        pulse: the measurement.
        threshold: confidence from which a heart rate is given.
    """
    meaning = (
        "Confidence is the chance that there is a pulse and that the rate is within 3 bpm; a rate "
        f"is given from {threshold:g} upwards."
    )
    if not pulse.found:
        why = pulse.short_reason
        return (
            f"## No pulse found\n{why[0].upper()}{why[1:]}. Try even light and a still face.\n\n"
            + meaning
        )
    spread = f" ± {pulse.bpm_uncertainty:.1f}" if pulse.bpm_uncertainty > 0 else ""
    return (
        f"## {pulse.bpm:.1f}{spread} beats per minute\nConfidence {pulse.confidence:.2f} of 1.\n\n"
        f"± is half of the central 68 % of the posterior. {meaning}"
    )


def tabulate(pulse: PulseOutput) -> str:
    """The windows as a table in Markdown; without a pulse none of them has a rate."""
    rows = ["### Windows of the clip", ""]
    rows += ["| from (s) | to (s) | bpm | confidence |", "| ---: | ---: | ---: | ---: |"]
    for window in pulse.windows:
        rate = f"{window.bpm:.1f}" if pulse.found and window.bpm > 0 else "–"
        rows.append(f"| {window.start:.1f} | {window.end:.1f} | {rate} | {window.confidence:.2f} |")
    rows += ["", "### The picture that the generator drew, a sheet for each window"]
    return "\n".join(rows)


def explain(error: Exception, clip: Path) -> str:
    """One sentence on why a clip was not measured; it names no file of the server.

    Args:
        error: what was raised; only a ValueError's words are for the person at the page.
        clip: the file.
    """
    if not clip.is_file():
        return "The clip is no longer here: choose it again."
    lines = str(error).strip().splitlines()
    if isinstance(error, ValueError) and lines:
        words = lines[0].replace(str(clip), "the clip").rstrip(".")
        if str(clip.parent) not in words and tempfile.gettempdir() not in words:
            return f"{words[0].upper()}{words[1:]}."
    logging.exception("a clip was not measured", exc_info=error)
    return "The clip could not be measured: try another one."


# ------------------------------------------------------------------------------------- what is done


def read_pulse(clip: Path, progress: gr.Progress) -> tuple[PulseOutput, float]:
    """Measure a clip.

    Args:
        clip: path of a video.
        progress: told how far it is.

    Returns:
        (the measurement with its sheets, confidence from which a heart rate is given).

    Raises:
        ValueError: in one line, if nothing can be measured.
    """
    pipe = wait_for_model(progress, 0.5)
    from handler import refuse_long

    progress(0.5, "Reading the clip")
    refuse_long(clip)
    drawn = 0

    def count(_pipe: Any, _step: int, _time: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        nonlocal drawn
        drawn += len(tensors["latents"])
        progress(0.55 + 0.4 * min(1.0, drawn / WINDOWS), f"Drawing the pulse: {drawn} windows")
        return tensors

    progress(0.55, "Drawing the pulse")
    pulse: Any = pipe(str(clip), output_sheet=True, callback_on_step_end=count)
    return pulse, pipe.config.min_confidence


def write_numbers(pulse: PulseOutput, trace: Path, figures: Path) -> None:
    """Write the blood volume pulse as a table, and all numbers."""
    figures.write_text(json.dumps(pulse.to_dict(), allow_nan=False) + "\n")
    with trace.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", "bvp"])
        rows.writerows(zip(pulse.times, pulse.bvp, strict=True))


def answer(
    clip: str | None, dark: bool, narrow: bool, progress: gr.Progress = PROGRESS
) -> Iterator[tuple]:
    """Measure a clip and show it: first the words, then figures, film and downloads.

    Gradio copies what is yielded into its own cache, which it clears, before it asks for more;
    then what was made is deleted here.

    Args:
        clip: path of a video.
        dark: whether the page is dark.
        narrow: whether it is a phone's.
        progress: told how far it is.

    Yields:
        :class:`Shown` as a tuple, several times; an error is a sentence in place of the words.
    """
    if not clip:
        yield Shown.refuse("Upload or record a clip first.").to_row()
        return
    source, folder = Path(clip), Path(tempfile.mkdtemp())
    try:
        for shown in make_results(source, folder, dark, narrow, progress):
            yield shown.to_row()
    except Exception as error:
        yield Shown.refuse(explain(error, source)).to_row()
    finally:
        shutil.rmtree(folder)


def make_results(
    source: Path, folder: Path, dark: bool, narrow: bool, progress: gr.Progress
) -> Iterator[Shown]:
    """Measure a clip and make what the page shows of it, the quickest first.

    Args:
        source: the clip.
        folder: for what is made.
        dark, narrow, progress: see :func:`answer`.

    Raises:
        ValueError: as :func:`read_pulse`.
    """
    pulse, threshold = read_pulse(source, progress)
    from pulse_plantain import overlay, plots
    from pulse_plantain.video import pictures_at

    yield Shown(describe(pulse, threshold), table=show(tabulate(pulse)))
    pictures = pictures_at(source, plots.list_beat_moments(pulse))
    shown, sheet = folder / "plots.png", folder / "sheet.png"
    plots.plot_result(pulse, pictures, style=plots.choose_style(dark, narrow)).savefig(shown)
    pulse.save_sheet(sheet)
    yield Shown(plots=show(str(shown)), sheet=show(str(sheet)))
    film = folder / "overlay.mp4"
    small = overlay.Film(side=480, rate=15, crf=23)
    overlay.write_overlay_video(film, source, pulse.windows, np.asarray(pulse.field), film=small)
    yield Shown(film=show(str(film)))
    trace, page, figures = (folder / f"pulse.{suffix}" for suffix in ("csv", "png", "json"))
    write_numbers(pulse, trace, figures)
    plots.plot_result(pulse, pictures).savefig(page)
    yield Shown(files=show([str(path) for path in (trace, page, sheet, figures)]))


def measure(clip: str | None, progress: gr.Progress = PROGRESS) -> tuple:
    """Heart rate of a face clip of 5 to 60 s.

    Args:
        clip: path of a video.
        progress: told how far it is.

    Returns:
        (bpm, bpm_uncertainty, confidence, reason, figures): bpm is None where no pulse was found,
        and reason says why; figures holds all numbers.

    Raises:
        gr.Error: with one sentence, if nothing can be measured.
    """
    if not clip:
        raise gr.Error("Send a clip.", print_exception=False)
    try:
        figures = read_pulse(Path(clip), progress)[0].to_dict()
    except Exception as error:
        raise gr.Error(explain(error, Path(clip)), print_exception=False) from None
    return (*(figures[name] for name in NAMED[:-1]), figures)


NAMED = ("bpm", "bpm_uncertainty", "confidence", "reason", "figures")
"""What a client of :func:`measure` is given."""


def forget(clip: str | None, earlier: str | None) -> str | None:
    """Delete the clip whose place another one takes, and keep the new one's name.

    Only what was uploaded is deleted.
    """
    if earlier and earlier != clip and Path(earlier).is_relative_to(get_upload_folder()):
        Path(earlier).unlink(missing_ok=True)
    return clip


# ----------------------------------------------------------------------------------------- the page


def build_page() -> gr.Blocks:
    """The page with its inputs, its outputs and what its buttons do."""
    with gr.Blocks(
        title="pulse-plantain", delete_cache=(60, KEPT_SECONDS), fill_width=True
    ) as blocks:
        gr.Markdown(INTRODUCTION, elem_id="introduction")
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                clip = gr.Video(
                    label="A face, 5 to 60 s",
                    sources=["upload", "webcam"],
                    format=None,
                    include_audio=True,  # else Gradio wants an ffmpeg of its own; it is not read
                    height=232,
                    elem_id="clip",
                )
                gr.HTML("<div id='countdown' aria-live='polite'></div>", elem_id="counting")
                go = gr.Button("Measure", variant="primary", elem_id="measure")
                with gr.Row():
                    webcam = gr.Button(
                        "Record with webcam", size="sm", min_width=120, elem_id="webcam"
                    )
                    example = gr.Button(
                        "Try the bundled clip", size="sm", min_width=120, elem_id="example"
                    )
                said = gr.Markdown(START, elem_id="said")
                film = gr.Video(
                    label="The drawn colours over the face", autoplay=True, loop=True,
                    height=236, visible=False, buttons=[], elem_id="film",
                )  # fmt: skip
            with gr.Column(scale=3, min_width=340):
                advice = gr.Markdown(ADVICE)
                plots = gr.Image(
                    show_label=False, type="filepath", format="png", visible=False, buttons=[],
                    elem_id="plots",
                )  # fmt: skip
                table = gr.Markdown(visible=False, elem_id="windows")
                sheet = gr.Image(
                    show_label=False, type="filepath", format="png", visible=False, buttons=[],
                    elem_id="sheet",
                )  # fmt: skip
        files = gr.File(
            label="Download: CSV, PNG, JSON",
            file_count="multiple",
            visible=False,
            interactive=False,
            elem_id="files",
        )
        shown = [said, advice, film, plots, table, sheet, files]
        dark, narrow = gr.Checkbox(visible=False), gr.Checkbox(visible=False)
        earlier = gr.State()

        def measure_shown(trigger: Any) -> None:
            """Clear what an earlier measurement left, then measure the clip that is there."""
            trigger(
                lambda: Shown.clear().to_row(), None, shown,
                queue=False, show_progress="hidden", api_visibility="private",
            ).then(
                answer, [clip, dark, narrow], shown,
                js=LOOK, show_progress_on=said, api_visibility="private",
            )  # fmt: skip

        measure_shown(go.click)
        measure_shown(
            example.click(
                lambda: str(DEMO), None, clip, show_progress="hidden", api_visibility="private"
            ).then
        )
        webcam.click(None, js=WEBCAM, api_visibility="private")
        clip.change(
            forget, [clip, earlier], earlier, show_progress="hidden", api_visibility="private"
        )
        client = gr.Button(visible=False)
        named = [
            *(gr.Number(label=name, visible=False) for name in NAMED[:3]),
            gr.Textbox(label=NAMED[3], visible=False),
            gr.JSON(label=NAMED[4], visible=False),
        ]
        client.click(measure, clip, named, api_name="measure")
        blocks.load(watch_loading, None, said, concurrency_limit=None, api_visibility="private")
        blocks.load(None, js=AT_START)
    return blocks


def serve() -> None:
    """Open the page at once, and load the model beside it."""
    blocks = build_page().queue(max_size=16)
    blocks.launch(allowed_paths=[str(DEMO)], css=STYLE, prevent_thread_lock=True)
    start_loading()
    blocks.block_thread()


if __name__ == "__main__":
    serve()
