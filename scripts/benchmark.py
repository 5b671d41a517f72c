"""How long measure.py takes from process start to exit, and the model for one window.

Writes results/benchmark.json: every single time in seconds, and the machine. ``benchmark.py klein``
measures the 4B architecture with random weights instead: results/benchmark-klein.json on a GPU,
benchmark-klein-cpu.json elsewhere (16 GiB of memory, 20 minutes on two cores).
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

from pulse_plantain.drawing import Drawing
from pulse_plantain.lab.training import fast_on, peak_gib, provenance
from pulse_plantain.search import read_sheets
from pulse_plantain.video import ClipError, Clock, read_frames
from pulse_plantain.windows import encode_windows
from scripts.evaluate import load_pipeline, shown

CLIP_SEED = 20_000_000
"""The first seed of the test split; its clip is rendered where none is given."""


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "klein"), default="measure")
    parser.add_argument(
        "--narrow",
        action="store_true",
        help="klein: full depth, hardly any width, a small sheet: runs anywhere, measures nothing",
    )
    parser.add_argument(
        "--count",
        action="store_true",
        help="klein: only count parameters, tokens and memory: results/klein-sizes.json",
    )
    parser.add_argument(
        "--base",
        type=Path,
        metavar="FOLDER",
        help="klein: only write a base with random weights, to try the trainer at full size: 8 GB",
    )
    parser.add_argument("--clip", type=Path, help="default: 10 s of 640x480 rendered into out/")
    parser.add_argument("--repeat", type=int, default=3, help="times that everything is run")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--model", default=str(ROOT / "tiny"), help="pipeline folder or Hub id")
    parser.add_argument("--adapter", default=str(ROOT / "tiny" / "adapter"))
    return parser.parse_args(argv)


def rendered_clip():
    """10 s at 640x480 under out/."""
    from pulse_plantain.lab.synthetic import Recipe, write_clip

    path = ROOT / "out" / "benchmark.mp4"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        recipe = replace(Recipe.draw(CLIP_SEED), size=(640, 480))
        write_clip(path, CLIP_SEED, seconds=10, recipe=recipe)
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

    windows = [next(encode_windows(clip, pipe.layout))]
    lap("decode")
    prompt_embeds = pipe.encode_task_prompt()
    lap("prompt")
    motion, references = pipe.encode_pictures(windows, 1)
    lap("vae_encode")
    steps = pipe.config.default_num_inference_steps
    drawing = Drawing(num_inference_steps=steps, batch_size=1, prompt_embeds=prompt_embeds)
    latents = pipe.denoise(pipe.prepare_latents(motion, 1), references, drawing)
    lap("transformer")
    sheets = list(pipe.decode_sheets(latents, 1))
    lap("vae_decode")
    read_sheets(windows, sheets, pipe.geometry)
    lap("read")
    model = sum(seconds[name] for name in ("vae_encode", "transformer", "vae_decode"))
    return seconds | {"model": model}


def seconds_of(run, device, repeat):
    """Median seconds of a function's runs after two that do not count."""
    import torch

    times = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[2:])


def peak_gib_of(run, device):
    """GiB of the most memory during a function's run; without a GPU, of the process so far."""
    import torch

    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run()
    return peak_gib(device)


def klein_vae(narrow, device):
    """The VAE, and what its channels and ``narrow`` change of the transformer."""
    from diffusers import AutoencoderKLFlux2

    from pulse_plantain.lab import klein

    if not narrow:
        return klein.vae(device), {}
    vae = AutoencoderKLFlux2.from_pretrained(ROOT / "tiny" / "vae")
    return vae, klein.NARROW | {"in_channels": 4 * vae.config.latent_channels}


def klein_pipeline(narrow, device, dtype):
    """The pipeline of the 4B architecture with random weights and adapter_config.json's sheet."""
    import torch

    from pulse_plantain.lab import klein
    from pulse_plantain.pipeline import PulsePipeline

    pulse = json.loads((ROOT / "adapter_config.json").read_text())["auto_mapping"]["pulse_config"]
    torch.manual_seed(0)
    vae, changes = klein_vae(narrow, device)
    if narrow:
        pulse["geometry"] = {"bands": 4, "samples": 96, "rows": 4, "size": [768, 32]}
        pulse["appearance_size"] = [64, 64]
    return PulsePipeline(
        scheduler=klein.scheduler(),
        vae=vae.to(device).eval(),
        text_encoder=None,
        tokenizer=None,
        transformer=klein.transformer(device, dtype, **changes),
        **{k: pulse[k] for k in ("geometry", "appearance_size", "noise_scale")},
    )


def matrix_rate(device, dtype, side):
    """FLOP/s of a square matrix product: what the device reaches at its best."""
    import torch

    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / seconds_of(lambda: a @ b, device, 10)


def klein_figures(narrow, repeat):
    """dict of times (s), memory (GiB) and rates of the 4B architecture."""
    import numpy as np
    import torch

    from pulse_plantain.windows import encode_windows

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float32 if device == "cpu" and narrow else torch.bfloat16
    pipe = klein_pipeline(narrow, device, dtype)
    prompt = torch.randn(1, 32, pipe.transformer.config.joint_attention_dim)
    prompt = prompt.to(device, dtype)
    clip = np.random.default_rng(0).integers(0, 255, (240, 128, 128, 3), np.uint8)
    window = next(encode_windows(clip, pipe.layout, clock=Clock(30)))
    pipe.set_progress_bar_config(disable=True)
    rate = matrix_rate(device, dtype, 512 if narrow else 4096 if device == "cpu" else 8192)
    figures = {"device": torch.cuda.get_device_name() if device == "cuda" else "CPU"}
    figures |= {"threads": torch.get_num_threads()}
    figures |= {"matrix_flops_per_s": rate, "windows": {}}
    drawn, trained = (1, 4, 16), (1, 4, 8, 16)
    if narrow or device == "cpu":
        drawn, trained = (1, 2) if narrow else (1,), (1,)
    with torch.no_grad():
        for batch in drawn:
            figures["windows"][str(batch)] = drawing_figures(
                pipe, prompt, [window] * batch, rate, device, repeat
            )
    if device == "cuda":
        figures |= text_encoder_and_offload(pipe, clip, prompt)
        pipe = klein_pipeline(narrow, device, dtype)
    pipe.transformer.enable_gradient_checkpointing()
    model = klein_lora(pipe.transformer)
    figures["training"] = [
        training_figures(pipe, model, prompt, batch, rate, device, repeat) for batch in trained
    ]
    return figures


def klein_lora(transformer):
    """The transformer with adapter_config.json's LoRA, on its device."""
    from peft import LoraConfig, get_peft_model

    config = json.loads((ROOT / "adapter_config.json").read_text())
    names = ("r", "lora_alpha", "target_modules")
    model = get_peft_model(transformer, LoraConfig(**{name: config[name] for name in names}))
    return model.to(transformer.device)


def klein_sizes():
    """What the 4B adapter and its training hold, counted on the architecture without weights."""
    from pulse_plantain.lab import klein

    pulse = json.loads((ROOT / "adapter_config.json").read_text())["auto_mapping"]["pulse_config"]
    base, vae = klein.transformer(), klein.vae()
    frozen = sum(p.numel() for p in base.parameters())
    model = klein_lora(base)
    adapted = sum(name.endswith(".lora_A.default") for name, _ in model.named_modules())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    decoder = sum(p.numel() for p in vae.parameters())
    tokens = [
        width * height // 16**2
        for width, height in (pulse["geometry"]["size"], pulse["appearance_size"])
    ]
    return {
        "transformer_parameters": frozen,
        "vae_parameters": decoder,
        "adapted_linears": adapted,
        "adapter_parameters": trained,
        "sheet_tokens": tokens[0],
        "appearance_tokens": tokens[1],
        "transformer_bf16_gb": 2 * frozen / 1e9,
        "vae_fp32_gb": 4 * decoder / 1e9,
        # weights, two moments of AdamW and the running average
        "adapter_fp32_gb": 4 * 4 * trained / 1e9,
    }


def drawing_figures(pipe, prompt, windows, rate, device, repeat):
    """Times of drawing windows at once, windows a second and peak memory."""
    from torch.utils.flop_counter import FlopCounterMode

    batch = len(windows)
    motion, references = pipe.encode_pictures(windows, batch)

    def draw(steps):
        start = pipe.prepare_latents(motion, 1)
        drawing = Drawing(num_inference_steps=steps, batch_size=batch, prompt_embeds=prompt)
        return pipe.denoise(start, references, drawing)

    def decode(latents):
        return list(pipe.decode_sheets(latents, batch))

    with FlopCounterMode(display=False) as counter:
        latents = draw(1)
    flops = counter.get_total_flops()
    parts = {
        "encode": seconds_of(lambda: pipe.encode_pictures(windows, batch), device, repeat),
        "transformer_1_step": seconds_of(lambda: draw(1), device, repeat),
        "transformer_4_steps": seconds_of(lambda: draw(4), device, repeat),
        "decode": seconds_of(lambda: decode(latents), device, repeat),
    }
    whole = sum(parts[name] for name in ("encode", "transformer_1_step", "decode"))
    return parts | {
        "transformer_flops_a_step": flops,
        "share_of_matrix_rate_4_steps": 4 * flops / parts["transformer_4_steps"] / rate,
        "windows_per_s_1_step": batch / whole,
        "peak_gib": peak_gib_of(lambda: decode(draw(1)), device),
    }


def text_encoder_and_offload(pipe, clip, prompt):
    """Peak GiB with the 8 GB text encoder on the GPU, and with everything offloaded in turn."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        hidden_size=2560, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8,
        intermediate_size=9728, head_dim=128, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("cuda"):
        pipe.text_encoder = Qwen3ForCausalLM(config).to(torch.bfloat16)

    def call():
        pipe(clip, fps=30, crop=(0, 0, 128, 128), prompt_embeds=prompt)

    together = peak_gib_of(call, "cuda")
    pipe.enable_model_cpu_offload()
    return {
        "peak_gib_with_text_encoder": together,
        "peak_gib_cpu_offload": peak_gib_of(call, "cuda"),
    }


def training_figures(pipe, model, prompt, batch, rate, device, repeat):
    """Samples a second, peak GiB and share of the matrix rate of a step of the LoRA's training."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pulse_plantain.flux2 import (
        APPEARANCE_T,
        decode_tokens,
        encode_images,
        predict_clean,
        token_ids,
        token_size,
    )
    from scripts.train_adapter import PHASOR_SHARE

    vae = pipe.vae.requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    token = token_size(vae)
    (width, height), (across, down) = pipe.geometry.size, pipe.config.appearance_size
    places = (height, width, 0), (down, across, APPEARANCE_T)
    ids = torch.cat([token_ids(h // token, w // token, t) for h, w, t in places]).to(device)
    sheets = torch.rand(2 * batch, 3, height, width, device=device) * 2 - 1
    faces = torch.rand(batch, 3, down, across, device=device) * 2 - 1
    drawn = max(1, round(PHASOR_SHARE * batch))

    def step():
        with torch.no_grad():  # in every step, for recorded clips are cut anew
            motion, target = encode_images(vae, sheets).chunk(2)
            look = encode_images(vae, faces)
        with fast_on(device):
            clean = predict_clean(model, motion, look, prompt.float(), ids)
            images = decode_tokens(vae, clean[:drawn], height, width)
        loss = (clean.float() - target).square().mean() + images.float().square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    with FlopCounterMode(display=False) as counter:
        step()
    seconds = seconds_of(step, device, repeat)
    return {
        "batch": batch,
        "flops_a_step": counter.get_total_flops(),
        "samples_per_s": batch / seconds,
        "share_of_matrix_rate": counter.get_total_flops() / seconds / rate,
        "peak_gib": peak_gib_of(step, device),
    }


def klein_main(args, words):
    if args.base:
        import torch

        from pulse_plantain.lab import klein

        torch.manual_seed(0)
        vae, changes = klein_vae(args.narrow, "cpu")
        klein.write_base(args.base, vae, **changes)
        print(f"written to {args.base}")
        return
    figures = klein_sizes() if args.count else klein_figures(args.narrow, args.repeat)
    result = provenance(seed=0) | {"command": shlex.join(["benchmark.py", *map(shown, words)])}
    args.out.mkdir(parents=True, exist_ok=True)
    if args.count:
        name = "klein-sizes"
    elif args.narrow:
        name = "benchmark-klein-narrow"
    else:
        name = "benchmark-klein" + "-cpu" * (figures["device"] == "CPU")
    path = args.out / f"{name}.json"
    path.write_text(json.dumps(result | figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
    print(f"written to {path}")


def main(argv=None):
    args = arguments(argv)
    if args.what == "klein":
        try:
            klein_main(args, sys.argv[1:] if argv is None else argv)
        except ClipError as error:
            print(f"benchmark: {error}", file=sys.stderr)
            return 2
        return 0
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
