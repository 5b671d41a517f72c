"""Which rooms of this package a room stands on: its imports, followed from file to file.

Files are read, not run.
"""

import ast
from importlib.util import resolve_name
from pathlib import Path

import pulse_plantain

PACKAGE = pulse_plantain.__name__
FOLDER = Path(pulse_plantain.__path__[0])


def follow_imports(*rooms: str) -> list[Path]:
    """Files of rooms and of every room of this package that they import, in the order of names.

    Args:
        rooms: names of modules, the package's first.

    Raises:
        ModuleNotFoundError: if one of them is no module of this package.
    """
    found: dict[str, Path] = {}
    waiting = list(rooms)
    for room in rooms:
        if _find_file(room) is None:
            raise ModuleNotFoundError(f"{room} is no room of {PACKAGE}")
    while waiting:
        name = waiting.pop()
        path = _find_file(name)
        if path is not None and name not in found:
            found[name] = path
            waiting += _list_imports(name, path)
    return [found[name] for name in sorted(found)]


def _find_file(name: str) -> Path | None:
    """The file of a module of this package; None for any other name."""
    first, *rest = name.split(".")
    if first != PACKAGE:
        return None
    folder = FOLDER.joinpath(*rest)
    candidates = (folder / "__init__.py", folder.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


def _list_imports(name: str, path: Path) -> list[str]:
    """Names that a module imports; of ``from a import b`` both a and a.b, whatever b is."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            names += [source, *(f"{source}.{alias.name}" for alias in node.names)]
    return names
