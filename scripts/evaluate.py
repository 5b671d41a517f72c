"""Measures every clip of a data set by every method and writes results/<name>.json.

Rows are cached under out/evaluate/ as they are computed: run the same command again to go on.
Under ``accelerate launch`` or ``torchrun`` the recordings are shared out among the processes.
"""

import argparse
import atexit
import json
import shlex
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch
from accelerate import PartialState

ROOT = Path(__file__).resolve().parents[1]

from pulse_plantain.lab import baselines, evaluation, networks
from pulse_plantain.lab import figures as plots
from pulse_plantain.lab.datasets import DATASETS
from pulse_plantain.lab.training import provenance
from pulse_plantain.video import ClipError

CACHE = ROOT / "out" / "evaluate"
NAMED = [name for name in DATASETS if name != "synthetic"]
MODULES = ("bijection.py", "clip_encoder.py", "heart_rate.py")


def arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data",
        default="synthetic:test",
        help="synthetic:SPLIT (validation, test), a data set as NAME:DIR "
        f"({', '.join(NAMED)}), or folder:DIR, videos without truth",
    )
    parser.add_argument(
        "--splits",
        type=Path,
        help="splits.json of prepare.py: only its test subjects (default: all subjects, as for a "
        "model that was trained on another data set)",
    )
    parser.add_argument("--clips", type=Path, help="rendered clips (default: rendered into out/)")
    parser.add_argument("--null", type=Path, help="the same clips without a pulse, for pulse")
    parser.add_argument("--count", type=int, default=200, help="clips to render without --clips")
    parser.add_argument("--methods", default="pulse,green,chrom,pos", help="separated by commas")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of the finished rows")
    parser.add_argument("--model", default=str(ROOT / "tiny"), help="pipeline folder or Hub id")
    parser.add_argument("--adapter", default=str(ROOT / "tiny" / "adapter"))
    parser.add_argument(
        "--networks",
        type=Path,
        default=ROOT / "networks",
        help="folder of train_network.py's weights, NAME.safetensors, for deepphys and mttscan",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap over subjects")
    args = parser.parse_args(argv)
    args.argv = sys.argv[1:] if argv is None else argv
    args.methods = args.methods.split(",")
    known = [evaluation.PULSE, *baselines.METHODS, *networks.NETWORKS]
    unknown = set(args.methods) - set(known)
    if unknown:
        known = ", ".join(known)
        raise ClipError(f"unknown method {min(unknown)!r}; there are {known}")
    args.kind, _, args.where = args.data.partition(":")
    if args.kind not in ("folder", *DATASETS) or not args.where:
        kinds = ", ".join(["synthetic:SPLIT", "folder:DIR", *(f"{n}:DIR" for n in NAMED)])
        raise ClipError(f"--data must be one of {kinds}, got {args.data!r}")
    return args


def shown(word):
    """An argument as results show it: no path outside the repository, only its last name."""
    kind, colon, path = word.rpartition(":")
    path = Path(path)
    if path.is_absolute():
        path = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name
    return f"{kind}{colon}{path}"


@cache
def processes():
    """accelerate's state of this process among those that were launched together."""
    state = PartialState(cpu=not torch.accelerator.is_available())
    atexit.register(state.destroy_process_group)  # its threads must not outlive the interpreter
    return state


def load_pipeline(model, adapter):
    from pulse_plantain.pipeline import GPU_DTYPES, PulsePipeline

    device = processes().device
    dtypes = torch.float32 if device.type == "cpu" else GPU_DTYPES
    pipe = PulsePipeline.from_pretrained(model, dtype=dtypes)
    pipe.load_lora_weights(adapter, weight_name="adapter_model.safetensors")
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(device)


def rendered(split, count, pulse):
    """Folder of ``count`` rendered clips of a split, finished where it is not."""
    from pulse_plantain.lab.synthetic import render_set

    folder = ROOT / "out" / f"synthetic-{split}{'' if pulse else '-null'}"
    with processes().main_process_first():
        render_set(folder, split, count, pulse=pulse)
    return folder


def network_file(args, method):
    return args.networks / f"{method}.safetensors"


def cache_files(args, name, clips):
    """dict method -> JSON-lines file, another one whenever code, weights or clips change."""
    code = [ROOT / module for module in (*MODULES, "pulse_plantain/lab/evaluation.py")]
    stamps = [(p.name, p.stat().st_size) for p in sorted(clips)]
    files = {}
    for method in args.methods:
        depends, words = [*code, ROOT / "pulse_plantain/lab/baselines.py"], ()
        if method == evaluation.PULSE:
            words = (args.model, args.adapter)
            weights = [Path(p) for p in words if Path(p).exists()]
            depends = [*code, ROOT / "pipeline_pulse.py", *weights]
        elif method in networks.NETWORKS:
            depends = [*code, ROOT / "pulse_plantain/lab/networks.py", network_file(args, method)]
        key = evaluation.fingerprint(depends, stamps, *words)
        files[method] = args.cache / f"{name}-{method}-{key}.jsonl"
    return files


def measured(name, recordings, args, pipe):
    paths = [recording.path for recording in recordings]
    names = [method for method in args.methods if method in networks.NETWORKS]
    loaded = {method: networks.load_network(network_file(args, method)) for method in names}
    files = cache_files(args, name, paths)
    state = processes()
    mine = recordings[state.process_index :: state.num_processes]
    bar = state.is_main_process
    evaluation.measure_all(mine, args.methods, pipe, files, progress=bar, loaded=loaded)
    state.wait_for_everyone()
    return evaluation.measure_all(recordings, args.methods, pipe, files, progress=False)


def dealt_to(recordings, splits, part):
    """The recordings of the subjects that a splits.json deals to train, validation or test.

    Raises:
        ClipError: if there are none or it is no such file.
    """
    try:
        dealt = json.loads(splits.read_text())["subjects"]
    except (ValueError, KeyError) as error:
        raise ClipError(f"{splits}: not a splits.json of prepare.py") from error
    chosen = [recording for recording in recordings if dealt.get(recording.subject) == part]
    if not chosen:
        raise ClipError(f"{splits}: none of its {part} subjects is in the data")
    return chosen


def run(args):
    pipe = cache(lambda: load_pipeline(args.model, args.adapter))
    null_rows = []
    if args.kind == "folder":
        name = Path(args.where).name
        rows = measured(name, evaluation.video_recordings(args.where), args, pipe)
        figures = None
    elif args.kind != "synthetic":
        name = args.kind
        recordings = evaluation.dataset_recordings(args.kind, args.where)
        if args.splits:
            recordings = dealt_to(recordings, args.splits, "test")
        rows = measured(name, recordings, args, pipe)
        figures = evaluation.summary(rows, (), args.seed)
    else:
        name = f"synthetic-{args.where}"
        clips = args.clips or rendered(args.where, args.count, pulse=True)
        rows = measured(name, evaluation.synthetic_recordings(clips), args, pipe)
        null = args.null or (None if args.clips else rendered(args.where, args.count, pulse=False))
        if null and evaluation.PULSE in args.methods:  # the others never abstain
            recordings = evaluation.synthetic_recordings(null)
            alone = argparse.Namespace(**vars(args) | {"methods": [evaluation.PULSE]})
            null_rows = measured(f"{name}-null", recordings, alone, pipe)
        figures = evaluation.summary(rows, null_rows, args.seed)
    if not processes().is_main_process:
        return
    command = shlex.join(["evaluate.py", *map(shown, args.argv)])
    result = provenance(args.seed) | {"command": command}
    result["versions"]["scikit-learn"] = version("scikit-learn")
    result["settings"] = {k: shown(getattr(args, k)) for k in ("data", "model", "adapter")}
    if args.splits:
        result["settings"]["splits"] = args.splits.name
    result |= {"figures": figures, "rows": rows, "null_rows": null_rows}
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.json"
    path.write_text(json.dumps(evaluation.strict(result), indent=1) + "\n")
    print(evaluation.table(figures) if figures else evaluation.listing(rows))
    print(f"written to {path}")
    if figures:
        plots.evaluation_figure(figures, rows).savefig(path.with_suffix(".png"), dpi=80)


def main(argv=None):
    try:
        run(arguments(argv))
    except (ClipError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
