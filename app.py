"""A Gradio page: a face clip in, the pulse over the face and a heart rate out.

python app.py serves it on this machine; a Space runs it as it is. A clip is deleted as soon as it
has been measured, what was made from it ten minutes later.
"""

import csv
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent

import gradio as gr

from handler import refuse_long, served_pipeline

DEMO = ROOT / "assets" / "demo.mp4"

KEPT_SECONDS = 600

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


@cache
def pipeline():
    return served_pipeline(ROOT)


def sentence(pulse):
    """What is said of a measurement, as Markdown."""
    if pulse.bpm != pulse.bpm:
        why = pulse.reason.removeprefix("no pulse found: ")
        return f"## No pulse found\n{why[0].upper()}{why[1:]}. Try even light and a still face."
    spread = f" ± {pulse.bpm_uncertainty:.1f}" if pulse.bpm_uncertainty > 0 else ""
    return f"## {pulse.bpm:.1f}{spread} beats per minute\nConfidence {pulse.confidence:.2f} of 1."


def measured(clip, progress=gr.Progress()):  # noqa: B008
    """All that the page shows of a clip (its path); the clip itself is deleted.

    Gradio copies what is yielded into its own cache, which it clears, before it asks for more;
    then what was made is deleted here.

    Yields:
        once (sentence, overlay video, page of plots, pulse sheets, files to download, None in
        place of the clip).

    Raises:
        gr.Error: with one line, if nothing can be measured.
    """
    from pulse_plantain.lab.plots import beat_moments, result_figure

    from pulse_plantain.overlay import write_overlay_video
    from pulse_plantain.video import pictures_at
    from scripts.measure import clip_json, save_sheet

    if not clip:
        raise gr.Error("Upload or record a clip first.", print_exception=False)
    clip = Path(clip)
    folder = Path(tempfile.mkdtemp())
    try:
        progress(0.05, "Reading the clip")
        refuse_long(clip, {})
        progress(0.2, "Loading the model")
        pipe = pipeline()
        progress(0.4, "Drawing the pulse")
        pulse = pipe(str(clip), output_sheet=True)
        progress(0.8, "Colouring the face")
        names = ("overlay.mp4", "plots.png", "sheet.png", "pulse.csv", "pulse.json")
        film, page, sheet, table, figures = (folder / name for name in names)
        write_overlay_video(film, clip, pulse.windows, pulse.field)
        pictures = pictures_at(clip, beat_moments(pulse))
        result_figure(pulse, pictures).savefig(page, format="png")
        save_sheet(sheet, pulse)
        figures.write_text(json.dumps(clip_json(pulse), allow_nan=False) + "\n")
        with table.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["time_s", "bvp"])
            rows.writerows(zip(pulse.times, pulse.bvp, strict=True))
        downloads = [str(path) for path in (table, page, figures)]
        yield sentence(pulse), str(film), str(page), str(sheet), downloads, None
    except (ValueError, OSError) as error:
        words = str(error).replace(str(clip), "the clip").strip().splitlines()[0]
        raise gr.Error(words[0].upper() + words[1:] + ".", print_exception=False) from None
    finally:
        shutil.rmtree(folder)
        if clip.resolve() != DEMO:
            clip.unlink(missing_ok=True)


def page():
    """The Blocks of the page."""
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
        drawn = gr.Image(show_label=False, type="filepath", format="png")
        with gr.Accordion("The picture the generator drew", open=False):
            sheet = gr.Image(label="Pulse sheets", type="filepath", format="png")
        files = gr.File(label="Download: CSV, PNG, JSON", file_count="multiple", elem_id="files")
        shown = [said, film, drawn, sheet, files, clip]
        go.click(measured, clip, shown, api_name="measure")
        example.click(lambda: str(DEMO), None, clip, api_name=False).then(
            measured, clip, shown, api_name=False
        )
        blocks.load(None, js=COUNTDOWN)
    return blocks


if __name__ == "__main__":
    page().queue(max_size=16).launch(allowed_paths=[str(DEMO)])
