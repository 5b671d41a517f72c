"""What `hf upload` puts on the Hub is complete: it loads and measures with nothing else around."""

import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

NEEDED = (
    "README.md", "LICENSE", "pipeline.py", "pipeline_pulse.py", "bijection.py", "clip_encoder.py",
    "heart_rate.py", "handler.py", "app.py", "adapter_config.json", "requirements.txt",
    "tiny/model_index.json", "tiny/adapter/adapter_model.safetensors", "assets/demo.mp4",
)  # fmt: skip

USE = """
import sys
from diffusers import DiffusionPipeline
repo = sys.argv[1]
pipe = DiffusionPipeline.from_pretrained(
    repo + "/tiny", custom_pipeline=repo, trust_remote_code=True
)
pipe.load_lora_weights(repo + "/tiny/adapter", weight_name="adapter_model.safetensors")
print("bpm", pipe(repo + "/assets/demo.mp4").bpm)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the files that git knows, as they are uploaded."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("repository")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_everything_is_there_and_small(repository):
    assert [name for name in NEEDED if not (repository / name).is_file()] == []
    sizes = {p: p.stat().st_size for p in repository.rglob("*") if p.is_file()}
    assert max(sizes.values()) < 16 * 2**20, max(sizes, key=sizes.get)


def test_pictures_of_the_card_are_there(repository):
    from huggingface_hub import ModelCard

    card = ModelCard.load(repository / "README.md")
    (example,) = card.data.to_dict()["widget"]
    assert (repository / example["src"]).is_file()
    assert (repository / example["output"]["url"]).is_file()
    for line in card.text.splitlines():
        if line.startswith("!["):
            assert (repository / line.rpartition("(")[2].rstrip(")")).is_file(), line


def test_it_measures_from_anywhere(repository, tmp_path):
    command = [sys.executable, "-c", USE, str(repository)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    truth = json.loads((repository / "assets" / "demo.json").read_text())["bpm"]
    bpm = float(done.stdout.split("bpm")[1])
    assert bpm == pytest.approx(truth, abs=2)
