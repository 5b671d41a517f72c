"""Inference Endpoints and the image-to-image widget: a picture or a base64 clip in, a pulse out.

Nothing is fetched and no path is opened on a caller's behalf: what is sent is all that is read.
"""

import base64
import binascii
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent

import numpy as np
from PIL import Image

from pulse_plantain.contact_sheet import GRID, SECONDS, frames_from_contact_sheet

OUTPUTS = ("overlay", "sheet", "json")

MOST_BYTES = 32 * 2**20
MOST_PIXELS = 2**23  # of a frame: 4096 x 2048
MOST_SHEET_PIXELS = 2**26  # of a contact sheet
MOST_SECONDS = 60.0
MOST_STEPS, MOST_ENSEMBLE = 50, 16

VIDEOS = ((4, b"ftyp", ".mp4"), (0, b"\x1a\x45\xdf\xa3", ".mkv"), (0, b"RIFF", ".avi"))
"""Offset, magic bytes and suffix of the containers taken; playlists, which name other files, have
none of these."""


class EndpointHandler:
    """Serves the 4B adapter where it lies beside this file and there is a GPU, else ``tiny/``.

    Args:
        path: the repository's folder, as the toolkit gives it.
    """

    def __init__(self, path=""):
        self.pipe = served_pipeline(Path(path) if path else ROOT)

    def __call__(self, data):
        """Measure what was sent.

        Args:
            data: dict of

                - ``inputs``: PIL image, or base64 text of a picture, a GIF, WebP or APNG animation
                  or an MP4, MOV, MKV, WebM or AVI video. A still picture is a pulse sheet if it
                  has a pulse sheet's size, else a contact sheet.
                - ``parameters`` (optional): ``grid`` ([rows, columns], default [8, 12]) and
                  ``seconds`` (8) of a contact sheet; ``fps`` of a clip, in place of its own time
                  stamps; ``window`` (s), ``steps``, ``ensemble``, ``seed``, ``crop`` ([left, top,
                  right, bottom] px); ``output``: "overlay" (default), "sheet" or "json".

        Returns:
            PIL image, or the dict that ``measure.py --json`` writes.

        Raises:
            ValueError: one line that says what was wrong; the toolkit answers it with status 400.
        """
        try:
            return self._answer(data)
        except ValueError as error:
            raise ValueError(str(error).strip().splitlines()[0]) from None
        except Exception:  # what broke inside is no caller's business
            raise ValueError("the input could not be measured") from None

    def _answer(self, data):
        if not isinstance(data, dict) or data.get("inputs") is None:
            raise ValueError('send {"inputs": picture or base64 of a clip, "parameters": {...}}')
        parameters = checked(data.get("parameters") or {})
        output = parameters.pop("output")
        with tempfile.TemporaryDirectory() as folder:
            kind, clip, clock = received(data["inputs"], Path(folder), parameters, self._is_sheet)
            if kind == "pulse sheet":
                pulse = self.pipe.decode_sheet(clip, window=parameters["window"])
                clip = None
            else:
                pulse = self._measure(clip, clock, parameters)
            return answered(pulse, output, kind, clip, clock.get("fps"))

    def _is_sheet(self, image):
        return image.size == tuple(self.pipe.geometry.size)

    def _measure(self, clip, clock, parameters):
        import torch

        ensemble, seed = parameters["ensemble"], parameters["seed"]
        noise = seed is not None or ensemble > 1
        return self.pipe(
            clip,
            **clock,
            window=parameters["window"],
            num_inference_steps=parameters["steps"],
            ensemble_size=ensemble,
            generator=torch.Generator().manual_seed(seed or 0) if noise else None,
            crop=parameters["crop"],
            output_sheet=True,
        )


def served_pipeline(root):
    """The pipeline of this repository's folder: the 4B one where it can run, else the miniature."""
    import torch

    from pulse_plantain.pipeline import GPU_DTYPES, PulsePipeline

    if torch.cuda.is_available() and (root / "adapter_model.safetensors").is_file():
        config = json.loads((root / "adapter_config.json").read_text())
        base, adapter = config["base_model_name_or_path"], root
        pipe = PulsePipeline.from_pretrained(base, dtype=GPU_DTYPES).to("cuda")
    else:
        adapter = root / "tiny" / "adapter"
        pipe = PulsePipeline.from_pretrained(root / "tiny")
    pipe.load_lora_weights(adapter, weight_name="adapter_model.safetensors")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def refuse_long(clip, clock):
    """Reads a clip once, up to the limit.

    Raises:
        ValueError: if it cannot be read or is longer than MOST_SECONDS.
    """
    from pulse_plantain.video import read_frames

    for time, _ in read_frames(clip, **clock):
        if time > MOST_SECONDS:
            raise ValueError(f"clips of up to {MOST_SECONDS:g} s are taken")


def checked(parameters):
    """The parameters, each of the right type and within its limits, the others None.

    Raises:
        ValueError: if one is unknown or out of range.
    """
    if not isinstance(parameters, dict):
        raise ValueError("parameters must be an object of names and values")

    def number(low, high):
        return lambda v: isinstance(v, (int, float)) and low <= v <= high

    def whole(low, high):
        return lambda v: isinstance(v, int) and low <= v <= high

    def numbers(count, test):
        return lambda v: isinstance(v, (list, tuple)) and len(v) == count and all(map(test, v))

    rules = {
        "grid": (GRID, numbers(2, whole(1, 64)), "[rows, columns], each 1 to 64"),
        "seconds": (SECONDS, number(5, MOST_SECONDS), f"5 to {MOST_SECONDS:g}"),
        "fps": (None, number(1, 1000), "1 to 1000"),
        "window": (None, number(5, 10), "5 to 10 seconds"),
        "steps": (None, whole(1, MOST_STEPS), f"1 to {MOST_STEPS}"),
        "ensemble": (1, whole(1, MOST_ENSEMBLE), f"1 to {MOST_ENSEMBLE}"),
        "seed": (None, whole(0, 2**63 - 1), "a whole number from 0"),
        "crop": (None, numbers(4, number(0, 1e5)), "[left, top, right, bottom] in pixels"),
        "output": (OUTPUTS[0], lambda v: v in OUTPUTS, " or ".join(OUTPUTS)),
    }
    known = {name: default for name, (default, _, _) in rules.items()}
    for name, value in parameters.items():
        if value is None or name == "prompt":  # clients send one; the task has its own
            continue
        if name not in rules:
            raise ValueError(f"unknown parameter {name!r}; there are {', '.join(rules)}")
        _, test, words = rules[name]
        if isinstance(value, bool) or not test(value):
            raise ValueError(f"{name} must be {words}, got {value!r}")
        known[name] = value
    return known


def received(inputs, folder, parameters, is_sheet):
    """(what it is, a clip or picture the pipeline takes, its clock as keywords) of what was sent.

    Args:
        inputs: PIL image or base64 text.
        folder: where a clip may be put for the length of the request.
        parameters: of :func:`checked`.
        is_sheet: function that tells whether a picture has a pulse sheet's size.

    Raises:
        ValueError: if it is too large or nothing that can be read.
    """
    if isinstance(inputs, str):
        inputs = _from_base64(inputs)
    if isinstance(inputs, bytes):
        suffix = next((end for at, magic, end in VIDEOS if inputs[at:].startswith(magic)), None)
        inputs = _video(inputs, folder / f"clip{suffix}") if suffix else _picture(inputs, folder)
    if isinstance(inputs, Path):
        clock = {"fps": parameters["fps"]} if parameters["fps"] else {}
        refuse_long(inputs, clock)
        return "clip", inputs, clock
    if not isinstance(inputs, Image.Image):
        raise ValueError("inputs must be a picture or base64 text of a picture or clip")
    image = inputs.convert("RGB")
    if is_sheet(image):
        return "pulse sheet", image, {}
    if image.width * image.height > MOST_SHEET_PIXELS:
        raise ValueError(f"pictures of up to {MOST_SHEET_PIXELS} pixels are taken")
    frames = frames_from_contact_sheet(image, tuple(parameters["grid"]))
    return "contact sheet", frames, {"fps": len(frames) / parameters["seconds"]}


def _from_base64(text):
    if text.startswith("data:"):
        text = text.partition(",")[2]
    if len(text) > MOST_BYTES * 4 / 3 + 4:
        raise ValueError(f"up to {MOST_BYTES // 2**20} MiB are taken")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(
            "inputs is neither a picture nor base64 text; no URL or path is opened"
        ) from None


def _video(content, path):
    """The video as a file of its own, its size checked before a picture is decoded."""
    import av

    path.write_bytes(content)
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            for stream in container.streams.video:
                _refuse_large(stream.width, stream.height)
    except av.error.FFmpegError:
        raise ValueError("not a video that can be read") from None
    return path


def _picture(content, folder):
    """A still picture, or the path of an animation."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF"))
            if getattr(image, "n_frames", 1) > 1:
                _refuse_large(*image.size)
                path = folder / f"clip.{image.format.lower()}"
                path.write_bytes(content)
                return path
            image.load()
            return image
    except (OSError, SyntaxError, Image.DecompressionBombWarning):
        raise ValueError(
            "inputs is no picture, GIF, WebP, APNG, MP4, MKV, WebM or AVI that can be read"
        ) from None


def _refuse_large(width, height):
    if width * height > MOST_PIXELS:
        raise ValueError(f"frames of up to {MOST_PIXELS} pixels are taken, got {width} x {height}")


def answered(pulse, output, kind, clip, fps):
    """What is sent back: a PIL image or a JSON-able dict."""
    if output == "json":
        return pulse.to_dict()
    if output == "sheet":
        stacked = np.concatenate([np.asarray(sheet) for sheet in pulse.sheet])
        return Image.fromarray(np.uint8(stacked.clip(0, 1) * 255 + 0.5))
    from pulse_plantain.lab.plots import beat_moments, result_figure

    from pulse_plantain.video import pictures_at

    pictures = pictures_at(clip, beat_moments(pulse), fps) if clip is not None else []
    page = io.BytesIO()
    result_figure(pulse, pictures, kind).savefig(page, format="png")
    return Image.open(page).convert("RGB")


if __name__ == "__main__":  # python handler.py PICTURE ANSWER.png: what the widget would show
    EndpointHandler()({"inputs": Image.open(sys.argv[1])}).save(sys.argv[2])
