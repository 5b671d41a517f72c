"""What `hf upload` puts on the Hub: it is complete, and what its card and docs say is so."""

import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from conftest import ROOT
from huggingface_hub import ModelCard
from local_hub import LocalHub, run_fresh

import pulse_plantain

NEEDED = (
    "README.md", "LICENSE", "CITATION.cff", "pipeline.py", "pipeline_pulse.py", "bijection.py",
    "pulse_plantain/pipeline.py", "handler.py", "app.py", "adapter_config.json",
    "requirements.txt", "pyproject.toml", "tiny/model_index.json", "model_index.json",
    "transformer/diffusion_pytorch_model.safetensors", "Dockerfile", "serve.py", ".gitattributes",
    "tiny/adapter/adapter_model.safetensors", "assets/demo.mp4",
)  # fmt: skip

PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]

PRESENT = [page for page in PAGES if page != "CHANGELOG.md"]
"""Pages that speak of nothing that is gone."""

ON_THE_CARD = "user/pulse-plantain"
ON_THE_HUB = "someone/a-pulse"

LONGEST_CARD = 180
"""Lines."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A copy of the files that git knows, as they are uploaded."""
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("repository")
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def find_code(page, heading, language):
    """The fenced blocks of a language under a heading of a page."""
    section = (ROOT / page).read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.M | re.S)


def list_commands(page):
    """Command lines of a page's fenced blocks, continued lines joined, each as its words."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part for line in lines for part in re.split(r"&&|\|", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


def list_options():
    """The options that the scripts and the rooms behind them know."""
    files = [*ROOT.glob("scripts/*.py"), *ROOT.glob("pulse_plantain/lab/*.py")]
    files.append(ROOT / "pulse_plantain" / "cli.py")
    return {option for file in files for option in re.findall(r'"(--[\w-]+)"', file.read_text())}


def compare_print(found, printed):
    """The words are the same, and the numbers all but; another processor rounds another way."""
    number = r"\d+\.\d+"
    assert re.sub(number, "#", found) == re.sub(number, "#", printed)
    wanted = [float(x) for x in re.findall(number, printed)]
    assert [float(x) for x in re.findall(number, found)] == pytest.approx(wanted, abs=0.11)


def test_everything_is_there_and_small(repository):
    assert [name for name in NEEDED if not (repository / name).is_file()] == []
    sizes = {p: p.stat().st_size for p in repository.rglob("*") if p.is_file()}
    assert max(sizes.values()) < 16 * 2**20, max(sizes, key=sizes.get)


def test_the_card_fits_on_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_CARD


def test_pictures_of_the_widget_are_there_and_every_asset_is_used(repository):
    (example,) = ModelCard.load(repository / "README.md").data.to_dict()["widget"]
    assert (repository / example["src"]).is_file()
    assert (repository / example["output"]["url"]).is_file()
    pages = "".join((ROOT / page).read_text() for page in PRESENT)
    pictures = [p for p in (repository / "assets").iterdir() if p.suffix in (".png", ".gif")]
    assert [p.name for p in pictures if f"assets/{p.name}" not in pages] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_that_are_uploaded(repository, page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    inside = [link for link in links if not link.startswith("https://")]
    folder = (repository / page).parent
    assert [link for link in inside if not (folder / link).exists()] == []


@pytest.mark.parametrize("page", PRESENT)
def test_paths_that_are_named_exist(repository, page):
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    paths = [code.split()[0] for code in re.findall(r"`([^`\n]+)`", text)]
    roots = {path.name for path in repository.iterdir()}
    named = [path for path in paths if "/" in path and path.split("/")[0] in roots]
    named += [path for path in paths if re.fullmatch(r"\w+\.(py|md|toml|cff)", path)]
    assert [path for path in named if not (repository / path).exists()] == []


@pytest.mark.parametrize("page", PRESENT)
def test_commands_are_those_of_the_scripts(page):
    known, targets = list_options(), (ROOT / "Makefile").read_text()
    for words in list_commands(page):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", targets, re.M), words
        scripts = [i for i, word in enumerate(words) if word.endswith(".py")]
        if scripts and scripts[0]:
            assert (ROOT / words[scripts[0]]).is_file(), words
        start = scripts[0] if scripts else 0
        if scripts or words[0] == "pulse-plantain":
            options = {word for word in words[start:] if word.startswith("--")}
            assert options <= known, (words, options - known)


@pytest.mark.parametrize("page", PRESENT)
def test_python_on_the_pages_can_be_parsed(page):
    for code in re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.M | re.S):
        compile(code, page, "exec")


def test_the_lines_of_the_card_print_what_stands_below_them(monkeypatch, capsys):
    (code,) = find_code("README.md", "A heart rate", "python")
    (printed,) = find_code("README.md", "A heart rate", "text")
    monkeypatch.chdir(ROOT)
    exec(code, {})
    compare_print(capsys.readouterr().out, printed)


def test_the_snippet_of_the_card_measures_from_the_hub(repository, tmp_path):
    (code,) = find_code("README.md", "From the Hub", "python")
    assert code.count(ON_THE_CARD) == 1
    code = code.replace(ON_THE_CARD, ON_THE_HUB)
    code += "import sys\nprint(type(pipe).__module__, 'pulse_plantain' in sys.modules)\n"
    hub = LocalHub({ON_THE_HUB: repository})
    with hub as url:
        done = run_fresh(code, tmp_path, HF_ENDPOINT=url)
    measured, origin = done.stdout.splitlines()
    printed = re.search(r"\)  # (.*)$", code, re.M).group(1)
    compare_print(measured, printed)
    # The code came from the Hub, not from the package that is installed here.
    assert origin.startswith("diffusers_modules.local.") and origin.endswith("False")
    # Of what lies there only the components, the modules and the clip were fetched.
    asked = [
        path.split("/", 4)[-1] for path in hub.requests if path.startswith(f"GET {ON_THE_HUB}/")
    ]
    assert {path.split("/")[0] for path in asked if "/" in path} == {
        *("assets", "scheduler", "text_encoder", "tokenizer", "transformer", "vae"),
        "pulse_plantain",
    }


def test_the_citation_says_what_is_cited():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0" and {"message", "title"} <= citation.keys()
    assert citation["authors"] == [{"name": "The pulse-plantain authors"}]
    assert citation["version"] == pulse_plantain.__version__
    assert citation["license"] == "Apache-2.0"
    (paper,) = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2604.20329"
    assert all({"given-names", "family-names"} <= author.keys() for author in paper["authors"])


def test_the_changelog_has_the_version():
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{pulse_plantain.__version__}]" in changes
