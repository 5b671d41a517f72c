"""A Gradio page: a face clip in, the pulse over the face and a heart rate out.

python app.py serves it on this machine; a Space runs it as it is. A clip is deleted as soon as it
has been measured, what was made from it ten minutes later.
"""

import csv
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gradio as gr
import numpy as np

from handler import refuse_long
from pulse_plantain.loading import DEMO, load_served
from pulse_plantain.output import PulseOutput
from pulse_plantain.overlay import write_overlay_video
from pulse_plantain.pipeline import PulsePipeline
from pulse_plantain.plots import list_beat_moments, plot_result
from pulse_plantain.video import pictures_at

ROOT = Path(__file__).resolve().parent

KEPT_SECONDS = 600
"""How long Gradio keeps its copies of what was made."""

INTRODUCTION = """# pulse-plantain
A heart rate from 5 to 10 s of video of a face, read from a picture that an image generator draws.
Sit still in even light. **Not a medical device**; measure people who agreed to it.
"""

COUNTDOWN = """
() => {
  const places = () => document.querySelectorAll('#clip button');
  const named = (word) => [...places()].find((b) => b.textContent.toLowerCase().includes(word)
    || (b.getAttribute('aria-label') || '').toLowerCase().includes(word));
  let since = null;
  setInterval(() => {
    const note = document.querySelector('#countdown');
    const stop = named('stop');
    if (!note) return;
    if (!stop) { since = null; note.textContent = ''; return; }
    since = since || Date.now();
    const left = 10 - (Date.now() - since) / 1000;
    note.textContent = left > 0 ? `Keep still: ${Math.ceil(left)} s` : 'Done';
    if (left <= 0) { since = null; stop.click(); }
  }, 200);
}
"""
"""Counts down while the webcam records, and stops the recording after 10 s."""

PROGRESS = gr.Progress()
"""Marks the argument by which Gradio lets a function report how far it is."""


@dataclass(frozen=True)
class Results:
    """Files that are made of a measurement.

    Args:
        film: the clip with the pulse's colours over it.
        plots: the page of figures.
        sheet: the pulse sheets.
        trace: the blood volume pulse as a table.
        figures: all numbers.
    """

    film: Path
    plots: Path
    sheet: Path
    trace: Path
    figures: Path

    @classmethod
    def name_in(cls, folder: Path) -> "Results":
        """The files' names in a folder."""
        names = ("overlay.mp4", "plots.png", "sheet.png", "pulse.csv", "pulse.json")
        return cls(*(folder / name for name in names))


@cache
def get_pipeline() -> PulsePipeline:
    """The pipeline that is served, loaded when it is first needed."""
    return load_served(ROOT)


def describe(pulse: PulseOutput) -> str:
    """What is said of a measurement, as Markdown."""
    if not pulse.found:
        why = pulse.short_reason
        return f"## No pulse found\n{why[0].upper()}{why[1:]}. Try even light and a still face."
    spread = f" ± {pulse.bpm_uncertainty:.1f}" if pulse.bpm_uncertainty > 0 else ""
    return f"## {pulse.bpm:.1f}{spread} beats per minute\nConfidence {pulse.confidence:.2f} of 1."


def write_results(pulse: PulseOutput, clip: Path, results: Results) -> None:
    """Write the film, the page, the sheets, the table and the numbers of a measurement."""
    write_overlay_video(results.film, clip, pulse.windows, np.asarray(pulse.field))
    pictures = pictures_at(clip, list_beat_moments(pulse))
    plot_result(pulse, pictures).savefig(results.plots, format="png")
    pulse.save_sheet(results.sheet)
    results.figures.write_text(json.dumps(pulse.to_dict(), allow_nan=False) + "\n")
    with results.trace.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["time_s", "bvp"])
        rows.writerows(zip(pulse.times, pulse.bvp, strict=True))


def measure(clip: str | None, progress: gr.Progress = PROGRESS) -> Iterator[tuple]:
    """Measure a clip, and delete it.

    Gradio copies what is yielded into its own cache, which it clears, before it asks for more;
    then what was made is deleted here.

    Args:
        clip: path of a video.
        progress: told how far it is.

    Yields:
        once, all that the page shows: (words, overlay video, page of plots, pulse sheets, list of
        files to download, None in place of the clip).

    Raises:
        gr.Error: with one line, if nothing can be measured.
    """
    if not clip:
        raise gr.Error("Upload or record a clip first.", print_exception=False)
    source, folder = Path(clip), Path(tempfile.mkdtemp())
    try:
        progress(0.05, "Reading the clip")
        refuse_long(source)
        progress(0.2, "Loading the model")
        pipe = get_pipeline()
        progress(0.4, "Drawing the pulse")
        pulse = pipe(clip, output_sheet=True)
        assert isinstance(pulse, PulseOutput)
        progress(0.8, "Colouring the face")
        made = Results.name_in(folder)
        write_results(pulse, source, made)
        downloads = [str(path) for path in (made.trace, made.plots, made.figures)]
        yield describe(pulse), str(made.film), str(made.plots), str(made.sheet), downloads, None
    except (ValueError, OSError) as error:
        words = str(error).replace(clip, "the clip").strip().splitlines()[0]
        raise gr.Error(words[0].upper() + words[1:] + ".", print_exception=False) from None
    finally:
        shutil.rmtree(folder)
        if source.resolve() != DEMO:
            source.unlink(missing_ok=True)


def build_page() -> gr.Blocks:
    """The page with its inputs, its outputs and what its buttons do."""
    with gr.Blocks(title="pulse-plantain", delete_cache=(60, KEPT_SECONDS)) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                clip = gr.Video(
                    label="A face, 5 to 10 s",
                    sources=["upload", "webcam"],
                    format=None,
                    include_audio=True,  # else Gradio wants an ffmpeg of its own; it is not read
                    elem_id="clip",
                )
                gr.HTML("<div id='countdown' aria-live='polite'></div>")
                go = gr.Button("Measure", variant="primary", elem_id="measure")
                example = gr.Button("Try the bundled clip", elem_id="example")
            with gr.Column(scale=2, min_width=300):
                said = gr.Markdown(elem_id="said")
                film = gr.Video(label="The pulse's colours over the face", autoplay=True, loop=True)
        plots = gr.Image(show_label=False, type="filepath", format="png")
        with gr.Accordion("The picture the generator drew", open=False):
            sheet = gr.Image(show_label=False, type="filepath", format="png")
        files = gr.File(label="Download: CSV, PNG, JSON", file_count="multiple", elem_id="files")
        outputs = [said, film, plots, sheet, files, clip]
        go.click(measure, clip, outputs, api_name="measure")
        example.click(lambda: str(DEMO), None, clip, api_visibility="private").then(
            measure, clip, outputs, api_visibility="private"
        )
        blocks.load(None, js=COUNTDOWN)
    return blocks


if __name__ == "__main__":
    build_page().queue(max_size=16).launch(allowed_paths=[str(DEMO)])
