"""Write the stubs of a new method: `make method NAME=my_method CLASS=MyMethod TITLE="My method" PAPER=2401.00001`.

Everything in `docs/method_template/` is copied to the same place of the checkout with its names filled in. The stubs
are a small network that passes the contract suite (`pytest tests/contract -k my_method`), to be replaced room by room;
each place to fill in says TODO. Four files that methods share get a line: the order of the rows, the packages in
setup.cfg, README's table of methods, and CHANGELOG.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEMPLATE = ROOT / "docs" / "method_template"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the stubs of a new method.")
    parser.add_argument("name", help="folder and module name, for example my_method")
    parser.add_argument("--class_name", help="prefix of its classes (default: the name in capitals: AclSsl)")
    parser.add_argument("--title", help="name in texts (default: the class name)")
    parser.add_argument("--paper", default="0000.00000", help="arXiv number")
    parser.add_argument("--task", default="other", help="task name")
    options = parser.parse_args()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", options.name):
        sys.exit(f"NAME must be a lower-case module name such as my_method, got {options.name!r}.")
    class_name = options.class_name or "".join(word.capitalize() for word in options.name.split("_"))
    if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", class_name):
        sys.exit(f"CLASS must be a class name such as MyMethod, got {class_name!r}.")
    fields = {
        "name": options.name,
        "Name": class_name,
        "NAME": options.name.upper(),
        "title": options.title or class_name,
        "paper": options.paper,
        "task": options.task,
    }
    stubs = {
        ROOT / fill(path.relative_to(TEMPLATE).as_posix().removesuffix(".in"), fields): fill(path.read_text(), fields)
        for path in sorted(TEMPLATE.rglob("*.in"))
    }
    taken = [path for path in stubs if path.exists()]
    if taken:
        sys.exit(f"{taken[0].relative_to(ROOT)} exists; choose another NAME.")
    shared = enter(fields)  # raises before anything is written
    for path, text in {**stubs, **shared}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))


def fill(text: str, fields: dict[str, str]) -> str:
    """Replace each `@field@` by its value."""
    return re.sub(r"@(\w+)@", lambda match: fields[match[1]], text)


def enter(fields: dict[str, str]) -> dict[Path, str]:
    """The four shared files with the new method's line."""
    name = fields["name"]
    row = (
        f"| `{name}` | {fields['title']}: TODO | {fields['task']} | `{fields['Name']}ForAudioClassification` | "
        f"[{fields['paper']}](https://arxiv.org/abs/{fields['paper']}) |\n"
    )
    return {
        edit("src/avzoo/zoo/rows/__init__.py"): insert_row(read("src/avzoo/zoo/rows/__init__.py"), name),
        edit("setup.cfg"): insert_package(read("setup.cfg"), f"avzoo.models.{name}"),
        edit("README.md"): insert_after_last(read("README.md"), r"\| `\w+` \|.*\n", row),
        edit("CHANGELOG.md"): insert_after_first(read("CHANGELOG.md"), r"## .*\n\n", f"- `{name}`: TODO\n"),
    }


def edit(file: str) -> Path:
    return ROOT / file


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def insert_row(text: str, name: str) -> str:
    """Import the row's module, and append its row to `METHODS`."""
    (imported,) = re.findall(r"^from \. import \(\n((?:    \w+,\n)+)\)$", text, re.MULTILINE)
    modules = sorted([*imported.replace(",", "").split(), name])
    text = text.replace(imported, "".join(f"    {module},\n" for module in modules))
    return insert_after_last(text, r"    \w+\.ROW,\n", f"    {name}.ROW,\n")


def insert_package(text: str, package: str) -> str:
    """Add a package to setup.cfg's sorted list."""
    (listed,) = re.findall(r"^packages =\n((?:    \S+\n)+)", text, re.MULTILINE)
    packages = sorted([*listed.split(), package])
    return text.replace(listed, "".join(f"    {one}\n" for one in packages))


def insert_after_last(text: str, pattern: str, line: str) -> str:
    end = list(re.finditer(pattern, text))[-1].end()
    return text[:end] + line + text[end:]


def insert_after_first(text: str, pattern: str, line: str) -> str:
    end = next(re.finditer(pattern, text)).end()
    return text[:end] + line + text[end:]


if __name__ == "__main__":
    main()
