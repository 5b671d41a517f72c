"""The package that `pip install .` installs: a wheel with the miniature, and its command."""

import json
import os
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version

import pytest
from conftest import ROOT

import pulse_plantain


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, unpacked as pip lays it out."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    assert path.name == f"pulse_plantain-{pulse_plantain.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_the_package_the_miniature_and_the_clip(wheel):
    tops = {path.name for path in wheel.iterdir()}
    assert tops == {"pulse_plantain", f"pulse_plantain-{pulse_plantain.__version__}.dist-info"}
    bundled = wheel / "pulse_plantain" / "bundled"
    for name in ("tiny/model_index.json", "tiny/adapter/adapter_model.safetensors"):
        assert (bundled / name).read_bytes() == (ROOT / name).read_bytes()
    assert (bundled / "assets" / "demo.mp4").is_file()
    assert (wheel / "pulse_plantain" / "lab" / "metrics.py").is_file()


def test_the_installed_command_measures_its_own_clip(wheel, tmp_path):
    code = "import sys, pulse_plantain.cli as c; print(c.__file__); sys.exit(c.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--json", "pulse.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(wheel)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(wheel / "pulse_plantain" / "cli.py")
    assert done.stdout.splitlines()[1] == "the bundled clip assets/demo.mp4"
    truth = json.loads((ROOT / "assets" / "demo.json").read_text())["bpm"]
    assert json.loads((tmp_path / "pulse.json").read_text())["bpm"] == pytest.approx(truth, abs=3)


def test_the_command_and_the_version_are_the_installed_ones():
    (command,) = entry_points(group="console_scripts", name="pulse-plantain")
    assert command.value == "pulse_plantain.cli:main"
    assert version("pulse-plantain") == pulse_plantain.__version__
