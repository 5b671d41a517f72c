"""How long measure.py takes from process start to exit, and the model for one window.

Writes results/benchmark.json: every single time in seconds, and the machine.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from clip_encoder import ClipError, encode_windows, read_frames  # noqa: E402
from rppg.training import provenance  # noqa: E402
from scripts.evaluate import load_pipeline, shown  # noqa: E402

CLIP_SEED = 20_000_000
"""The first seed of the test split; its clip is rendered where none is given."""


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, help="default: 10 s of 640x480 rendered into out/")
    parser.add_argument("--repeat", type=int, default=3, help="times that everything is run")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--model", default=str(ROOT / "tiny"), help="pipeline folder or Hub id")
    parser.add_argument("--adapter", default=str(ROOT / "tiny" / "adapter"))
    return parser.parse_args(argv)


def rendered_clip():
    """10 s at 640x480 under out/."""
    from rppg.synthetic import write_clip

    path = ROOT / "out" / "benchmark.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, CLIP_SEED, seconds=10, size=(640, 480))
    return path


def described(clip):
    """dict of a clip's file name, picture size, number of pictures and seconds."""
    frames = [(stamp, picture.shape) for stamp, picture in read_frames(clip)]
    seconds, (height, width, _) = frames[-1]
    return {"file": clip.name, "size": [width, height], "frames": len(frames), "seconds": seconds}


def process_seconds(clip, args):
    """Wall-clock seconds of one run of measure.py, from process start to exit."""
    command = [sys.executable, str(ROOT / "scripts" / "measure.py"), str(clip)]
    command += ["--model", args.model, "--adapter", args.adapter]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def window_seconds(pipe, clip):
    """dict of wall-clock seconds of each stage for the clip's first window.

    ``decode`` reads the whole window from the file; ``model`` is VAE encoding, transformer and
    VAE decoding together, ``read`` from the pulse sheet to the heart rate.
    """
    seconds, last = {}, time.perf_counter()

    def lap(name):
        nonlocal last
        now = time.perf_counter()
        seconds[name], last = now - last, now

    size = tuple(pipe.config.appearance_size)
    windows = [next(encode_windows(clip, pipe.geometry, appearance_size=size))]
    lap("decode")
    prompt_embeds = pipe.encode_task_prompt()
    lap("prompt")
    motion, references = pipe.encode_pictures(windows, 1)
    lap("vae_encode")
    steps = pipe.config.default_num_inference_steps
    latents = pipe.denoise(pipe.prepare_latents(motion, 1), references, prompt_embeds, steps, 1)
    lap("transformer")
    sheets = list(pipe.decode_sheets(latents, 1))
    lap("vae_decode")
    pipe.read_sheets(windows, sheets, False)
    lap("read")
    model = sum(seconds[name] for name in ("vae_encode", "transformer", "vae_decode"))
    return seconds | {"model": model}


def main(argv=None):
    args = arguments(argv)
    try:
        import torch

        clip = args.clip or rendered_clip()
        about = described(clip)
        processes = [process_seconds(clip, args) for _ in range(args.repeat)]
        pipe = load_pipeline(args.model, args.adapter)
        with torch.no_grad():
            windows = [window_seconds(pipe, clip) for _ in range(args.repeat + 1)][1:]
    except (ClipError, OSError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"benchmark: {error.stderr.decode().strip().splitlines()[-1]}", file=sys.stderr)
        return 2
    words = sys.argv[1:] if argv is None else argv
    result = provenance(seed=None) | {"command": shlex.join(["benchmark.py", *map(shown, words)])}
    result |= {"clip": about, "threads": torch.get_num_threads()}
    result |= {"process_seconds": processes, "window_seconds": windows}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "benchmark.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    model = statistics.median(window["model"] for window in windows)
    print(f"measure.py, process start to exit: {statistics.median(processes):.1f} s")
    print(f"model, one window: {model:.2f} s")
    print(f"written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
