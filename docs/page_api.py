"""The page of the library: signatures and docstrings, read from the source without importing it."""

from __future__ import annotations

import ast
import inspect
from copy import copy
from dataclasses import dataclass
from pathlib import Path

INTRO = """# Library{of}

<!-- fmt: off -->

This page is made from the source by `docs/make_pages.py`: names, signatures, docstrings. Array
shapes are in the annotations, {words}
"""
CROWD = (
    "in the words of [Concepts](concepts.md):\n`Float[np.ndarray, 'item class']` is a matrix with a"
    " row for each item and a column for each class."
)
FEDERATED = (
    "`Float[Tensor, 'sample channel height width']` for instance.\nImages are in [0, 1], logarithms"
    " natural."
)

# Title, where to import from, and the file of the package or module.
MODULES = (
    ("Votes", "crowdlearn.votes", "votes.py"),
    ("Reading and writing", "crowdlearn.io", "io.py"),
    ("From files to a result", "crowdlearn.from_files", "from_files.py"),
    ("Votes larger than memory", "crowdlearn.shards.votes", "shards/votes.py"),
    ("Coding votes", "crowdlearn.shards.coding", "shards/coding.py"),
    ("Data sets", "crowdlearn.datasets", "datasets.py"),
    ("Methods", "crowdlearn.aggregators", "aggregators/__init__.py"),
    ("Results", "crowdlearn.aggregation", "aggregation.py"),
    ("Streams", "crowdlearn.online", "online/__init__.py"),
    ("Experts and stopping", "crowdlearn.experts", "experts/__init__.py"),
    ("Votes and features", "crowdlearn.learning", "learning/__init__.py"),
    ("Evaluation", "crowdlearn.evaluation", "evaluation/__init__.py"),
    ("Simulated worlds", "crowdlearn.simulate", "simulate/__init__.py"),
    ("Plots", "crowdlearn.plots", "plots.py"),
    ("Report", "crowdlearn.report", "report/__init__.py"),
    ("Starts of a fit", "crowdlearn.inference.starts", "inference/starts.py"),
    ("Diagnostics of samplers", "crowdlearn.inference.diagnostics", "inference/diagnostics.py"),
    ("Errors and warnings", "crowdlearn.errors", "errors.py"),
)

FEDSEC_MODULES = (
    ("Images", "fedsec.data.images", "data/images.py"),
    ("Fetching images", "fedsec.data.fetching", "data/fetching.py"),
    ("Partitions", "fedsec.data.partitions", "data/partitions.py"),
    ("Networks", "fedsec.nets", "nets/__init__.py"),
    ("Tasks", "fedsec.federated.task", "federated/task.py"),
    ("Local training", "fedsec.federated.local", "federated/local.py"),
    ("Engines", "fedsec.federated.engines", "federated/engines.py"),
    ("Simulation", "fedsec.federated.simulate", "federated/simulate.py"),
    ("Rounds and views", "fedsec.federated.rounds", "federated/rounds.py"),
    ("Averaging", "fedsec.federated.aggregate", "federated/aggregate.py"),
    ("Selectors", "fedsec.federated.selectors", "federated/selectors/__init__.py"),
    ("Distances of labels", "fedsec.federated.distances", "federated/distances.py"),
    ("Contribution", "fedsec.federated.contribution", "federated/contribution/__init__.py"),
    ("Privacy", "fedsec.federated.privacy", "federated/privacy/__init__.py"),
    ("Flower", "fedsec.federated.flower", "federated/flower/__init__.py"),
    ("Histories and checkpoints", "fedsec.federated.history", "federated/history.py"),
    ("Classification", "fedsec.metrics.classification", "metrics/classification.py"),
    ("Plots", "fedsec.plots", "plots.py"),
    ("Functional networks", "fedsec.core.functional", "core/functional.py"),
    ("Streams of randomness", "fedsec.core.rng", "core/rng.py"),
    ("Records", "fedsec.core.record", "core/record.py"),
    ("Errors", "fedsec.errors", "errors.py"),
)

Definition = ast.FunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Source:
    """A parsed file, and where it lies."""

    path: Path
    tree: ast.Module


def api_page(package: Path) -> str:
    """All public names of `MODULES` with signature and docstring."""
    return _page(package, MODULES, INTRO.format(of="", words=CROWD))


def fedsec_api_page(package: Path) -> str:
    """The same of `FEDSEC_MODULES`."""
    return _page(package, FEDSEC_MODULES, INTRO.format(of=" of fedsec", words=FEDERATED))


def _page(package: Path, modules: tuple[tuple[str, str, str], ...], intro: str) -> str:
    sections = [module_section(title, name, package / file) for title, name, file in modules]
    return intro + "\n" + "\n".join(sections)


def module_section(title: str, name: str, path: Path) -> str:
    """A module's own docstring and its public names; a package shows the names it imports."""
    source = parse(path)
    doc = ast.get_docstring(source.tree) or ""
    parts = [f"## {title}\n", f"`{name}`\n", doc.split("\n\n")[0] + "\n"]
    parts += [definition_section(d) for d in public(source)]
    return "\n".join(parts)


def public(source: Source) -> list[Definition]:
    """Public definitions of a file; those it imports too where its `__all__` names them."""
    exported = exports(source.tree)
    found: list[Definition] = []
    for node in source.tree.body:
        if isinstance(node, ast.ImportFrom) and exported:
            found += imported(node, source.path, exported)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            found.append(node)
    return [d for d in found if not exported or d.name in exported]


def exports(tree: ast.Module) -> set[str]:
    """The names in `__all__`; empty where there is none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def imported(node: ast.ImportFrom, path: Path, exported: set[str]) -> list[Definition]:
    """The definitions among `exported` that an import statement brings from this package."""
    root = next(p for p in path.parents if p.name in ("crowdlearn", "fedsec")).parent
    file = root.joinpath(*(node.module or "").split("."))
    for candidate in (file.with_suffix(".py"), file / "__init__.py"):
        if candidate.exists():
            names = {alias.name for alias in node.names} & exported
            return [d for d in public(parse(candidate)) if d.name in names]
    return []


def definition_section(node: Definition) -> str:
    """A function, or a class with its public methods and properties."""
    if isinstance(node, ast.FunctionDef):
        return f"### {node.name}\n\n```python\n{signature(node)}\n```\n\n{docstring(node)}"
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    members = [
        n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
    ]
    head = [f"class {node.name}({bases}):" if bases else f"class {node.name}:"]
    head += [f"    {ast.unparse(n)}" for n in node.body if isinstance(n, ast.AnnAssign)]
    head += [f"    {shown(n)}" for n in members if not ast.get_docstring(n)]
    parts = [f"### {node.name}\n\n```python\n" + "\n".join(head) + f"\n```\n\n{docstring(node)}"]
    for n in members:
        if ast.get_docstring(n):
            line = shown(n).removeprefix("def ")
            parts.append(f"```python\n{node.name}.{line}\n```\n\n{docstring(n)}")
    return "\n".join(parts)


def shown(method: ast.FunctionDef) -> str:
    """A method's signature; a property as a field."""
    if {ast.unparse(d) for d in method.decorator_list} & {"property", "cached_property"}:
        return f"{method.name}: {ast.unparse(method.returns) if method.returns else 'Any'}"
    return signature(method)


def signature(node: ast.FunctionDef) -> str:
    """The signature on one line, or one argument a line where that is too long; no `self`."""
    args = copy(node.args)
    args.args = [a for a in args.args if a.arg not in ("self", "cls")]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({ast.unparse(args)}){returns}"
    if len(line) <= 96:
        return line
    return f"def {node.name}(\n{broken(args)}\n){returns}"


def broken(args: ast.arguments) -> str:
    """The arguments, one a line."""
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    lines = [argument(a, d) for a, d in zip(positional, defaults, strict=True)]
    if args.vararg:
        lines.append("*" + ast.unparse(args.vararg))
    elif args.kwonlyargs:
        lines.append("*")
    lines += [argument(a, d) for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)]
    return "\n".join(f"    {line}," for line in lines)


def argument(arg: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(arg) + (f" = {ast.unparse(default)}" if default else "")


def docstring(node: Definition) -> str:
    return inspect.cleandoc(ast.get_docstring(node) or "") + "\n"


def parse(path: Path) -> Source:
    return Source(path, ast.parse(path.read_text(encoding="utf-8")))
