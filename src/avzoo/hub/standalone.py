"""The code of public classes as files that work where avzoo is not installed.

Both libraries run code that lies in a repository beside the weights (`trust_remote_code=True`), each in a layout of its
own. transformers copies a module with all the modules that it imports relatively, if they lie in one folder:
[`write_modules`]. diffusers downloads one file per component: [`join_modules`].

Sources are read, never imported: modules, functions and classes of the package are found by its imports.
"""

import ast
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEADER = (
    "# A copy of a part of avzoo {version} (Apache-2.0), for programs that run where avzoo is not installed.\n"
    "# Where it is installed, its own classes are used and this file is not read.\n"
)


@dataclass(frozen=True)
class PackageImport:
    """An import of names from modules of the package.

    Args:
        first_line, last_line: of the statement, from 0; the last one is included.
        indent: spaces before it.
        names: (module that defines the name, name there, name here).
        is_checked_only: the statement is for type checkers and never runs.
    """

    first_line: int
    last_line: int
    indent: int
    names: tuple[tuple[str, str, str], ...]
    is_checked_only: bool

    @property
    def modules(self) -> list[str]:
        return [] if self.is_checked_only else list(dict.fromkeys(module for module, _, _ in self.names))


@dataclass(frozen=True)
class SourceModule:
    """A module of the package: its name, its text, and what it imports of the package."""

    name: str
    text: str
    tree: ast.Module
    imports: tuple[PackageImport, ...]

    @property
    def stem(self) -> str:
        """Name of its file among files of other folders: `modeling_flexiast`, `audio_reading`, `layers_outputs`."""
        parts = self.name.split(".")[1:]
        if parts[0] == "models" and parts[1] != "layers":
            return parts[-1]  # `models/<method>/` names its files so that they can be told apart
        return "_".join(part for part in parts if part not in ("models", "pipelines"))

    def list_definitions(self) -> dict[str, str]:
        """Names that the module defines, or imports from other packages, and the text that does so."""
        definitions = {}
        for node in self.tree.body:
            text = ast.unparse(node)
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                definitions[node.name] = text
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
                definitions |= dict.fromkeys(names, text)
            elif isinstance(node, ast.Import | ast.ImportFrom) and not self._is_of_package(node):
                origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                definitions |= {alias.asname or alias.name: origin + alias.name for alias in node.names}
        definitions.pop("__all__", None)
        return definitions

    def _is_of_package(self, node: ast.Import | ast.ImportFrom) -> bool:
        return any(statement.first_line == node.lineno - 1 for statement in self.imports)

    def replace_imports(self, replace: Any) -> str:
        """The text with each import of the package replaced by the lines that `replace(import)` gives."""
        lines = self.text.splitlines()
        for statement in reversed(self.imports):
            new = ["pass"] if statement.is_checked_only else replace(statement)
            lines[statement.first_line : statement.last_line + 1] = [" " * statement.indent + line for line in new]
        return "\n".join(lines) + "\n"


def find_definition(module: str, name: str) -> str:
    """The module that defines what `from module import name` gives; packages pass on the names of their modules.

    Raises:
        ValueError: the package has no such module or name.
    """
    path = _find_file(module)
    if path.name != "__init__.py":
        return module
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and any(name == (alias.asname or alias.name) for alias in node.names):
            return find_definition(_name_module(node, module, is_package=True), name)
    table = getattr(importlib.import_module(module), "_MODULE_OF", {})  # names that are imported at their first use
    if name not in table:
        raise ValueError(f"`{module}` defines no name {name!r}; code for the Hub needs the module that does.")
    return table[name]


def read_modules(entries: Iterable[str]) -> dict[str, SourceModule]:
    """The modules `entries` and all that they import of the package, a module after those that it needs first.

    Raises:
        ValueError: a module imports a module instead of names, which no other file could stand for.
    """
    found: dict[str, SourceModule] = {}
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _read_module(name)
            waiting += [needed for statement in found[name].imports for needed in statement.modules]
    ordered: dict[str, SourceModule] = {}

    def add(name: str) -> None:
        if name in ordered or name in adding:
            return
        adding.add(name)
        for statement in found[name].imports:
            if statement.indent == 0:  # it runs when the module is imported
                for needed in statement.modules:
                    add(needed)
        ordered[name] = found[name]

    adding: set[str] = set()
    for name in sorted(found):
        add(name)
    return ordered


def write_modules(entries: Iterable[str], folder: Path) -> dict[str, str]:
    """Write modules and all that they import of the package into one folder, importing one another relatively.

    Returns:
        {module: its file's name without the suffix}.

    Raises:
        ValueError: two modules would have one name.
    """
    modules = read_modules(entries)
    stems: dict[str, str] = {}
    for name, module in modules.items():
        other = next((other for other, stem in stems.items() if stem == module.stem), None)
        if other is not None:
            raise ValueError(f"`{other}` and `{name}` would both be {module.stem}.py; rename one of them.")
        stems[name] = module.stem

    def import_relatively(statement: PackageImport) -> list[str]:
        return [
            f"from .{stems[module]} import "
            + ", ".join(
                name if name == here else f"{name} as {here}"
                for origin, name, here in statement.names
                if origin == module
            )
            for module in statement.modules
        ]

    for name, module in modules.items():
        text = _make_header() + module.replace_imports(import_relatively)
        (folder / f"{stems[name]}.py").write_text(text, encoding="utf-8")
    return stems


def join_modules(entry: str) -> str:
    """A module and all that it imports of the package as the text of one file, each module after those that it needs.

    Raises:
        ValueError: two of the modules give one name different meanings.
    """
    modules = read_modules([entry])
    meanings: dict[str, tuple[str, str]] = {}
    for name, module in modules.items():
        for defined, text in module.list_definitions().items():
            other, meaning = meanings.setdefault(defined, (name, text))
            if meaning != text:
                raise ValueError(f"`{defined}` is one thing in `{other}` and another in `{name}`; rename one of them.")

    def rename(statement: PackageImport) -> list[str]:
        aliases = [f"{here} = {name}" for _, name, here in statement.names if name != here]
        return aliases or (["pass"] if statement.indent else [])

    parts = []
    for name, module in modules.items():
        summary = (ast.get_docstring(module.tree) or "").partition("\n")[0]
        parts.append(f"\n\n# {name}: {summary}\n\n" + _drop_frame(module.replace_imports(rename)))
    return _make_header() + f'"""{ast.get_docstring(modules[entry].tree)}"""\n' + "".join(parts)


def _drop_frame(text: str) -> str:
    """The text of a module without its docstring and its `__all__`."""
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        if is_docstring or is_list:
            del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines).strip("\n") + "\n"


def _make_header() -> str:
    return HEADER.format(version=importlib.import_module("avzoo").__version__)


def _find_file(module: str) -> Path:
    """The file of a module; of its packages, only the topmost are imported."""
    parts = module.split(".")
    spec = importlib.util.find_spec(".".join(parts[:2]))
    if spec is not None and len(parts) <= 2:
        return Path(spec.origin)
    if spec is not None and spec.submodule_search_locations:
        place = Path(spec.submodule_search_locations[0], *parts[2:])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path
    raise ValueError(f"there is no module `{module}`.")


def _read_module(name: str) -> SourceModule:
    text = _find_file(name).read_text(encoding="utf-8")
    tree = ast.parse(text)
    checked_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in node.body
    }
    imports = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "avzoo" for alias in node.names):
            raise ValueError(f"`{name}`, line {node.lineno}, imports a module; code for the Hub can import names only.")
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = _name_module(node, name)
        if origin.split(".")[0] != "avzoo":
            continue
        names = tuple(
            (find_definition(origin, alias.name), alias.name, alias.asname or alias.name) for alias in node.names
        )
        imports.append(
            PackageImport(node.lineno - 1, node.end_lineno - 1, node.col_offset, names, id(node) in checked_only)
        )
    return SourceModule(name, text, tree, tuple(sorted(imports, key=lambda statement: statement.first_line)))


def _name_module(node: ast.ImportFrom, importer: str, *, is_package: bool = False) -> str:
    """The full name of the module that an import names, from a module or a package `importer`."""
    if not node.level:
        return node.module or ""
    parts = importer.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, *([node.module] if node.module else [])])


__all__ = ["find_definition", "join_modules", "read_modules", "write_modules"]
