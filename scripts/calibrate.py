"""Sets an adapter's min_confidence from clips without a pulse, measured by the whole pipeline.

The threshold is the confidence that a given share of the clips stays below. Use clips of the
validation split (scripts/synthesize.py --split validation --pulse 0), never the test clips. What is
measured is kept under out/evaluate/: the same command goes on where it stopped.
"""

import argparse
import json
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

import numpy as np
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pulse_plantain.lab.evaluation import PULSE, synthetic_recordings
from pulse_plantain.lab.training import provenance
from scripts.evaluate import CACHE, load_pipeline, measured, processes


def set_min_confidence(path, threshold):
    """Rewrites the header of an adapter file and the settings beside it, weights untouched."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    config = json.loads(header["pulse_config"]) | {"min_confidence": threshold}
    header["pulse_config"] = json.dumps(config, sort_keys=True)
    new = path.with_suffix(".new")
    save_file(load_file(path), new, metadata=header)
    new.replace(path)
    settings = path.with_name("adapter_config.json")
    written = json.loads(settings.read_text())
    if written.get("auto_mapping"):
        written["auto_mapping"]["pulse_config"] = config
        settings.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--null", type=Path, required=True, help="rendered clips without a pulse")
    parser.add_argument("--share", type=float, default=0.93, help="that shall get no heart rate")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--adapter", type=Path, default=Path("tiny/adapter"))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "calibration.json")
    args = parser.parse_args(argv)
    args.methods, args.cache = [PULSE], CACHE
    clips = synthetic_recordings(args.null)
    pipe = cache(lambda: load_pipeline(args.model, str(args.adapter)))
    rows = measured("calibration", clips, args, pipe)  # torchrun shares the clips out
    if not processes().is_main_process:
        return
    confidences = [row["confidence"] for row in rows]
    threshold = round(float(np.quantile(confidences, args.share)), 4)
    set_min_confidence(args.adapter / "adapter_model.safetensors", threshold)
    result = provenance(seed=None) | {
        "command": f"calibrate.py --share {args.share:g} --null {args.null.name}"
    }
    result |= {"min_confidence": threshold, "confidences": sorted(confidences)}
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"min_confidence {threshold} from {len(clips)} clips")


if __name__ == "__main__":
    main()
