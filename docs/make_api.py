"""The reference of the public names, from their docstrings.

    python -m docs.make_api

Leaves docs/api.md, without importing the library: what is there is what the source files say.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PATH = ROOT / "docs" / "api.md"
PACKAGE = "seadlif_jax"
HEAD = f"""# The public names of {PACKAGE}

Made from the docstrings by `python -m docs.make_api`; not to be edited by hand. Arrays have their axes in brackets,
such as `[batch, time, channel]`; `Float[Array, "batch time class"]` in a signature says the same.
"""
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Example")
Definition = ast.ClassDef | ast.FunctionDef


class Name(NamedTuple):
    """A public name: where it is defined, its signature (None for a constant), docstring, and public methods."""

    name: str
    file: str
    signature: str | None
    doc: str | None
    methods: "tuple[Name, ...]" = ()


def public_names() -> list[Name]:
    """All of `__all__`, as `__init__.py` imports them."""
    origins: dict[str, tuple[str, str]] = {}
    listed: list[str] = []
    for node in _parse(f"{PACKAGE}/__init__.py").body:
        if isinstance(node, ast.ImportFrom) and node.module:
            file = node.module.replace(".", "/") + ".py"
            origins |= {alias.asname or alias.name: (file, alias.name) for alias in node.names}
        elif isinstance(node, ast.Assign) and _source(node.targets[0]) == "__all__":
            listed = ast.literal_eval(node.value)
    return [_find(name, *origins[name]) for name in listed]


def _parse(file: str) -> ast.Module:
    return ast.parse((ROOT / file).read_text())


def _find(name: str, file: str, original: str) -> Name:
    module = _parse(file)
    for node, following in zip(module.body, [*module.body[1:], None], strict=True):
        if isinstance(node, Definition) and node.name == original:
            return _definition(node, file, name)
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if _source(target) == original:
                # A text behind a constant is its docstring; a module of one constant has its own.
                return Name(name, file, None, _text(following) or ast.get_docstring(module))
    raise LookupError(f"{PACKAGE}.{name} is not defined at the top level of {file}")


def _text(node: ast.stmt | None) -> str | None:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(node.value.value.split())
    return None


def _definition(node: Definition, file: str, name: str) -> Name:
    doc = ast.get_docstring(node)
    if isinstance(node, ast.FunctionDef):
        return Name(name, file, _signature(node, name), doc)
    fields = [_field(member) for member in node.body if isinstance(member, ast.AnnAssign)]
    methods = tuple(
        _definition(member, file, member.name)
        for member in node.body
        if isinstance(member, ast.FunctionDef) and (not member.name.startswith("_") or member.name == "__call__")
    )
    return Name(name, file, f"{name}({', '.join(fields)})", doc, methods)


def _field(node: ast.AnnAssign) -> str:
    return _typed(_source(node.target), node.annotation, node.value)


def _signature(node: ast.FunctionDef, name: str) -> str:
    returns = _source(node.returns) if node.returns else "None"
    if any(_source(decorator) == "property" for decorator in node.decorator_list):
        return f"{name}: {returns}"
    return f"{name}({', '.join(_arguments(node.args))}) -> {returns}"


def _arguments(arguments: ast.arguments) -> Iterator[str]:
    """Without `self`."""
    without = [None] * (len(arguments.args) - len(arguments.defaults))
    for argument, default in zip(arguments.args, [*without, *arguments.defaults], strict=True):
        if argument.arg != "self":
            yield _typed(argument.arg, argument.annotation, default)
    if arguments.vararg:
        yield _typed(f"*{arguments.vararg.arg}", arguments.vararg.annotation)
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _typed(argument.arg, argument.annotation, default)
    if arguments.kwarg:
        yield _typed(f"**{arguments.kwarg.arg}", arguments.kwarg.annotation)


def _typed(name: str, annotation: ast.expr | None, default: ast.expr | None = None) -> str:
    text = f"{name}: {_source(annotation)}" if annotation else name
    return f"{text} = {_source(default)}" if default else text


def _source(node: ast.expr) -> str:
    return ast.unparse(node).replace("'", '"')


def markdown(doc: str) -> str:
    """A docstring as Markdown: sections with lists, examples as code."""
    section, parts, lines = "", list[str](), list[str]()
    for line in [*doc.splitlines(), ""]:
        header = re.fullmatch(rf"({'|'.join(SECTIONS)}):", line)
        behind = section and line and not line.startswith(" ")  # back at the margin
        if header or behind:
            parts += _section(section, lines)
            section, lines = (header[1] if header else ""), []
        if not header:
            lines.append(line)
    return "\n\n".join([*parts, *_section(section, lines)])


def _section(name: str, lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines).strip("\n")
    if not name:
        if text:
            yield text
        return
    text = textwrap.dedent(text)
    yield f"**{name}**"
    if name == "Example":
        for part in text.split("\n\n"):
            yield f"```python\n{part}\n```" if part.startswith(">>>") else part
    elif name == "Returns":
        yield text
    else:
        yield re.sub(r"^(\w[\w, ]*): ", lambda match: f"- `{match[1]}`: ", text, flags=re.MULTILINE)


def api() -> str:
    """The text of docs/api.md."""
    names = public_names()
    parts = [HEAD, "\n".join(f"- [`{name.name}`](#{name.name.lower()})" for name in names) + "\n"]
    for name in names:
        parts += _entry(name, f"## {name.name}", f"In [{name.file}](../{name.file}).")
        for method in name.methods:
            parts += _entry(method, f"### {name.name}.{method.name}")
    return "\n".join(parts)


def _entry(name: Name, title: str, where: str | None = None) -> Iterator[str]:
    yield f"{title}\n"
    if name.signature:
        yield f"```python\n{_wrapped(name.signature)}\n```\n"
    if name.doc:
        yield f"{markdown(name.doc)}\n"
    if where:
        yield f"{where}\n"


def _wrapped(signature: str) -> str:
    """One argument a line where it would be too long."""
    if len(signature) <= 100 or "(" not in signature:
        return signature
    tree = signature.index("(")
    depth, parts, start = 0, [], tree + 1
    for place in range(tree, len(signature)):
        character = signature[place]
        depth += (character in "([{") - (character in ")]}")
        if (character == "," and depth == 1) or depth == 0:
            parts.append(signature[start:place].strip())
            start = place + 1
        if depth == 0:
            break
    return signature[:tree] + "(\n" + "".join(f"    {part},\n" for part in parts) + ")" + signature[start:]


if __name__ == "__main__":
    PATH.write_text(api())
    print(PATH.relative_to(ROOT))
