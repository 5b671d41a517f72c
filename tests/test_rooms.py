"""The rooms of the package: what may import what, how long they are, and what stays outside."""

import ast
import re
import tomllib

import pytest
from conftest import ROOT

PACKAGE = ROOT / "pulse_plantain"

ARROWS = {
    "bijection": set(),
    "sheet": {"bijection"},
    "clock": set(),
    "containers": {"clock"},
    "animations": {"clock", "containers"},
    "video": {"animations", "clock", "containers"},
    "stream": {"containers", "video"},
    "cells": {"clock", "containers"},
    "ahead": set(),
    "face_finder": {"cells", "video"},
    "windows": {"ahead", "cells", "clock", "face_finder", "sheet", "video"},
    "flux2": {"sheet"},
    "heart_rate": set(),
    "respiration": {"heart_rate"},
    "regions": {"heart_rate"},
    "posterior": set(),
    "upheaval": set(),
    "reading": {
        *("bijection", "cells", "face_finder", "heart_rate", "posterior", "sheet", "upheaval"),
        "windows",
    },
    "search": {"posterior", "reading", "sheet", "windows"},
    "colours": {"heart_rate", "reading"},
    "parts": {"face_finder", "posterior", "reading", "search"},
    "output": {
        *("colours", "heart_rate", "parts", "posterior", "reading", "regions", "respiration"),
        *("search", "video"),
    },
    "saved_sheet": {"clock", "output", "sheet", "video", "windows"},
    "drawing": set(),
    "calls": set(),
    "memory": set(),
    "adapter": {"sheet"},
    "lora": {"adapter"},
    "contact_sheet": {"sheet", "video", "windows"},
    "pipeline": {
        *("adapter", "calls", "contact_sheet", "drawing", "flux2", "lora", "memory", "output"),
        *("parts", "posterior", "reading", "saved_sheet", "search", "sheet", "video", "windows"),
    },
    "faces": {"drawing", "output", "pipeline", "search", "video", "windows"},
    "files": set(),
    "overlay": {"bijection", "video"},
    "plots": {"bijection", "heart_rate", "output", "overlay"},
    "loading": {"adapter", "lora", "pipeline"},
    "settings": {"drawing", "loading", "output", "pipeline", "video", "windows"},
    "tables": {"files"},
    "batch": {"animations", "output", "settings", "tables", "video"},
    "live": {"settings", "stream", "video"},
    "cli": {
        *("batch", "files", "live", "loading", "output", "overlay", "plots", "settings", "tables"),
        "video",
    },
}
"""Room -> the rooms that it may import; lab and the scripts may use all, nothing uses them."""


def find_imports(path):
    """Names of the package's rooms that a file imports anywhere in it, lab's as "lab"."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = f"pulse_plantain.{node.module}" if node.module else "pulse_plantain"
            names = [base] if node.module else [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "pulse_plantain":
            names = [f"pulse_plantain.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        rooms |= {name.split(".")[1] for name in names if name.startswith("pulse_plantain.")}
    return rooms


def test_every_room_has_its_arrows_and_they_run_one_way():
    rooms = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert rooms == set(ARROWS)
    earlier = set()
    for room, allowed in ARROWS.items():  # in an order in which every arrow points back
        assert allowed <= earlier, room
        earlier.add(room)


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_what_it_may(room):
    assert find_imports(PACKAGE / f"{room}.py") <= ARROWS[room]


def test_an_arrow_the_other_way_is_seen(tmp_path):
    wrong = tmp_path / "sheet.py"
    for line in (
        "from . import pipeline",
        "from .lab import metrics",
        "import pulse_plantain.cli as c",
        "from pulse_plantain import plots",
        "def f():\n    from pulse_plantain.lab.metrics import macc",
    ):
        wrong.write_text(line + "\n")
        assert not find_imports(wrong) <= ARROWS["sheet"], line


def test_nothing_that_is_served_uses_the_lab_or_the_scripts():
    names = ("app.py", "handler.py", "serve.py", "pipeline.py", "pipeline_pulse.py")
    served = [ROOT / name for name in names]
    for path in [*served, *PACKAGE.glob("*.py")]:
        assert "lab" not in find_imports(path), path.name
    everything = [*served, *PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")]
    for path in [*everything, *(ROOT / "tests").glob("*.py")]:
        assert not re.search(r"^\s*(from|import) scripts\b", path.read_text(), re.M), path.name
    for path in everything:
        assert "sys.path" not in path.read_text(), path.name


def test_no_file_is_longer_than_650_lines():
    files = list(ROOT.glob("*.py"))
    for folder in ("pulse_plantain", "scripts", "tests"):
        files += (ROOT / folder).rglob("*.py")
    assert len(files) > 60
    assert {p.name: n for p in files if (n := len(p.read_text().splitlines())) > 650} == {}


def test_the_doors_name_every_room_that_the_pipeline_needs():
    needed, waiting = set(), ["pipeline"]
    while waiting:
        room = waiting.pop()
        if room not in needed:
            needed.add(room)
            waiting += find_imports(PACKAGE / f"{room}.py")
    for door in ("pipeline.py", "pipeline_pulse.py"):
        named = re.findall(
            r"^    from \.pulse_plantain\.(\w+) import", (ROOT / door).read_text(), re.M
        )
        assert needed <= set(named), door
    for room in needed:  # diffusers would look for the sibling beside the door
        assert not re.search(r"^\s*from \.\w", (PACKAGE / f"{room}.py").read_text(), re.M), room


def read_requirements(name):
    """{package: line} of a requirements file, those that it includes left out."""
    lines = (ROOT / name).read_text().splitlines()
    kept = [line.split("#")[0].strip() for line in lines if not line.startswith(("-", "#"))]
    return sorted(line for line in kept if line)


def test_requirements_files_say_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert read_requirements("requirements.txt") == sorted(project["dependencies"])
    assert read_requirements("requirements-app.txt") == sorted(extras["app"])
    assert read_requirements("requirements-serve.txt") == sorted(extras["serve"])
    assert read_requirements("requirements-dev.txt") == sorted(extras["train"] + extras["dev"])
    imported = {
        name.split(".")[0]
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.M)
    }
    assert "imageio" not in imported and "imageio" not in (ROOT / "requirements.txt").read_text()
