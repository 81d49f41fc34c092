"""The house: imports run downwards, no circles, each outside library at home, a light start, a frozen command line."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]

# Room → floor; a room imports from floors below its own.
FLOORS = {
    **dict.fromkeys(("__init__", "errors", "documents", "tokens", "graphs", "windows"), 0),
    **dict.fromkeys(("models", "tasks", "data", "space", "records"), 1),
    **dict.fromkeys(("training", "search", "journal", "history", "spec", "cell_search", "transfer", "failures"), 2),
    **dict.fromkeys(("engine", "plan", "ray", "tracking", "report", "progress", "status", "export", "budget"), 3),
    **dict.fromkeys(("families", "stages", "forecast", "time_left"), 3),
    **dict.fromkeys(("sweep", "extension", "screen"), 4),
    **dict.fromkeys(("cli",), 5),
}
# Beside that, who may import from whom on the same floor.
NEIGHBOURS = {
    *(("documents", "errors"), ("history", "journal"), ("ray", "engine"), ("sweep", "extension")),
    *(("cell_search", "history"), ("cell_search", "search"), ("transfer", "cell_search"), ("transfer", "history")),
    *(("failures", "history"), ("stages", "plan"), ("forecast", "plan")),
    *((room, "budget") for room in ("engine", "progress", "status", "report", "time_left")),
    ("progress", "time_left"),
}

# Library → the rooms that may import it. What is not listed may be imported anywhere.
HOMES = {
    "pydantic": {"spec"},
    "sqlite3": {"journal"},
    "optuna": {"search"},
    "cmaes": {"search"},
    "ray": {"ray"},
    "mlflow": {"tracking"},
    "dvc": {"tracking"},
    "sqlalchemy": {"tracking"},
    "seaborn": {"report"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "markupsafe": {"report"},
    "scipy": {"report", "search"},
    "rich": {"progress", "screen", "cli"},
    "click": {"cli"},
    "pyarrow": {"training"},
    "requests": {"data"},
    "urllib3": {"data"},
    "sklearn": {"data", "report"},
    "pandas": {"data", "report", "export"},
    "torch": {"models", "tasks", "data", "training", "plan", "forecast", "families", "ray", "tracking"},
    "torch_geometric": {"models"},
    "rdkit": {"data"},
    "torch.optim": {"training"},
}
# What rooms other than models/ may use of torch.nn: nothing that is a layer.
NO_LAYERS = {"Module", "Parameter", "functional", "utils"}

COMMANDS = {
    "data list": ("--data-root",),
    "data prepare": ("names", "--data-root"),
    "families": ("names", "--json", "--spaces"),
    "sweep": (
        *("pipeline", "--address", "--workers", "--set", "--only", "--dry-run", "--fresh", "--renew"),
        *("--runs", "--data-root"),
    ),
    "resume": ("run_dir", "--address", "--workers", "--data-root"),
    "extend": ("run_dir", "--trials", "--set", "--spaces", "--address", "--workers", "--data-root"),
    "status": ("run_dir", "--json"),
    "compare": ("run_dir", "--json", "--delta", "--confidence"),
    "export": ("run_dir", "--out"),
    "report": ("spec", "--out", "--runs"),
    "scaling": (
        *("table", "--loss", "--params", "--data", "--compute", "--unique", "--width", "--depth", "--steps"),
        *("--group", "--run", "--law", "--fit", "--on", "--drop-highest", "--predict", "--beyond", "--bootstrap"),
        *("--seed", "--out", "--json"),
    ),
    "dashboard": ("--runs", "--host", "--port"),
}


@dataclass(frozen=True)
class Import:
    """`module` imports `target` (a dotted name) on `line`; `checked`: for the type checker alone."""

    module: str
    target: str
    line: int
    checked: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def room(module: str) -> str:
    """The room of a module of the package: the name after `orchestrator`."""
    return [*module.split("."), "__init__"][1]


def imports(sources: Mapping[str, str]) -> list[Import]:
    """All imports of modules (dotted name → source), wherever in the source they stand."""
    return [found for module, source in sources.items() for found in _imports(module, ast.parse(source), set(sources))]


def _imports(module: str, tree: ast.AST, known: set[str], checked: bool = False) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield Import(module, name.name, node.lineno, checked)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: imports are absolute here"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                # Of this package a name is a module or stands in one; of others only the modules matter.
                ours = (node.module or "").split(".")[0] == "orchestrator"
                yield Import(module, whole if not ours or whole in known else str(node.module), node.lineno, checked)
        else:
            guard = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            yield from _imports(module, node, known, checked or guard)


def upward(found: Iterable[Import]) -> list[str]:
    wrong = []
    for one in found:
        here, there = room(one.module), room(one.target)
        if one.target.split(".")[0] != "orchestrator" or here == there or (here, there) in NEIGHBOURS:
            continue
        if FLOORS[there] >= FLOORS[here]:
            wrong.append(f"{one} (floor {FLOORS[here]} from floor {FLOORS[there]})")
    return wrong


def circle(found: Iterable[Import]) -> list[str]:
    """The modules of one circle, or none. An import within a function counts: it is a knot all the same."""
    graph: dict[str, set[str]] = {}
    for one in found:
        if one.target.split(".")[0] == "orchestrator" and not one.checked and one.target != one.module:
            graph.setdefault(one.module, set()).add(one.target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for target in sorted(graph.get(module, ())):
            if knot := visit(target, (*path, module)):
                return knot
        done.add(module)
        return []

    return next((knot for module in sorted(graph) if (knot := visit(module, ()))), [])


def away_from_home(found: Iterable[Import]) -> list[str]:
    wrong = []
    for one in found:
        for library, homes in HOMES.items():
            inside = one.target == library or one.target.startswith(f"{library}.")
            if inside and not one.checked and room(one.module) not in homes:
                wrong.append(f"{one}, whose home is {', '.join(sorted(homes))}")
    return wrong


def layers(sources: Mapping[str, str]) -> list[str]:
    """Uses of torch.nn's layers, and of torch.optim, written out in full, where they have no home."""
    wrong = []
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.Attribute):
                continue
            name = ast.unparse(node).removeprefix("torch.")
            parts = name.split(".")
            if parts[0] == "nn" and len(parts) == 2 and parts[1] not in NO_LAYERS and room(module) != "models":
                wrong.append(f"{module}:{node.lineno} uses {name}")
            if name == "optim" and room(module) not in HOMES["torch.optim"]:
                wrong.append(f"{module}:{node.lineno} uses torch.optim")
    return wrong


def prints(sources: Mapping[str, str]) -> list[str]:
    """Calls of print and the like outside the command line."""
    return [
        f"{module}:{node.lineno} calls {ast.unparse(node.func)}"
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and room(module) != "cli"
        if ast.unparse(node.func) in ("print", "click.echo", "sys.stdout.write", "sys.stderr.write")
    ]


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Every module of the package."""
    named = {}
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return named


def test_every_room_has_its_floor(sources: Mapping[str, str]) -> None:
    assert {room(module) for module in sources} == set(FLOORS)


def test_imports_run_downwards(sources: Mapping[str, str]) -> None:
    assert upward(imports(sources)) == []


def test_there_is_no_circle(sources: Mapping[str, str]) -> None:
    assert circle(imports(sources)) == []


def test_every_library_is_at_home(sources: Mapping[str, str]) -> None:
    assert away_from_home(imports(sources)) + layers(sources) == []


def test_nothing_but_the_command_line_prints(sources: Mapping[str, str]) -> None:
    assert prints(sources) == []


@pytest.mark.parametrize(
    ("module", "source", "check"),
    [
        ("orchestrator.models.mlp", "from orchestrator.training import fit", upward),
        ("orchestrator.models.mlp", "def late():\n    import orchestrator.journal", upward),
        ("orchestrator.journal", "from orchestrator import plan", upward),
        ("orchestrator.report.render", "from orchestrator.tracking import store", upward),  # one floor, no neighbours
        ("orchestrator.plan", "import optuna", away_from_home),
        ("orchestrator.report.svg", "def late():\n    from torch import Tensor", away_from_home),
        ("orchestrator.engine", "from ray.tune import Trainable", away_from_home),
        ("orchestrator.models.mlp", "from torch.optim import Adam", away_from_home),
        ("orchestrator.models.mlp", "from torch import optim", away_from_home),
    ],
)
def test_the_rules_would_notice(module: str, source: str, check) -> None:
    others = dict.fromkeys((f"orchestrator.{name}" for name in FLOORS), "")
    assert check(imports({**others, module: source}))


def test_a_circle_would_be_noticed() -> None:
    knot = {
        "orchestrator.data": "from orchestrator.data.load import load",
        "orchestrator.data.load": "from orchestrator.data.card import Card",
        "orchestrator.data.card": "def late():\n    from orchestrator.data import load",
    }
    # `load` is a module here, so the circle is of two.
    assert circle(imports(knot)) == ["orchestrator.data.load", "orchestrator.data.card", "orchestrator.data.load"]
    assert circle(imports({**knot, "orchestrator.data.card": ""})) == []


def test_layers_optimizers_and_prints_would_be_noticed() -> None:
    assert layers({"orchestrator.training.fit": "nn.Linear(1, 2)"}) == ["orchestrator.training.fit:1 uses nn.Linear"]
    assert layers({"orchestrator.tasks.x": "torch.nn.CrossEntropyLoss()"}) and layers(
        {"orchestrator.tasks.x": "torch.optim.SGD"}
    )
    assert not layers(
        {"orchestrator.models.mlp": "nn.Linear(1, 2)", "orchestrator.training.fit": "nn.utils.x(nn.Module)"}
    )
    assert prints({"orchestrator.engine": "print('hello')"}) and not prints({"orchestrator.cli": "print('hello')"})


def test_files_are_short_enough_to_be_read(sources: Mapping[str, str]) -> None:
    long = {module: source.count("\n") for module, source in sources.items() if source.count("\n") > 450}
    assert not long


def test_a_modules_name_says_what_is_in_it(sources: Mapping[str, str]) -> None:
    assert not [name for name in sources if set(name.split(".")) & {"utils", "helpers", "common", "manager", "base"}]


# ---- the way in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "begin",
    [
        "import orchestrator",
        "sys.argv = ['orchestrate', '--help']; from orchestrator.cli import main; main()",
        "sys.argv = ['orchestrate', 'sweep', '--help']; from orchestrator.cli import main; main()",
    ],
)
def test_a_start_is_light(begin: str) -> None:
    """None of the heavy libraries: `orchestrate --help` must not wait for them."""
    script = f"import sys\ntry:\n    {begin}\nfinally:\n    print(*sys.modules, sep='\\n', file=sys.stderr)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "orchestrator" in loaded
    assert not loaded & {"torch", "ray", "mlflow", "optuna", "pandas", "numpy", "matplotlib", "sklearn", "pydantic"}


def test_the_command_line_is_what_was_promised() -> None:
    """A change here is a change to what people have in their scripts."""
    import click

    from orchestrator.cli import orchestrate

    def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
        for name, command in group.commands.items():
            if isinstance(command, click.Group):
                yield from commands(command, f"{before}{name} ")
            else:
                yield f"{before}{name}", tuple("/".join(parameter.opts) for parameter in command.params)

    assert dict(commands(orchestrate)) == COMMANDS


def test_dvc_and_the_sweep_agree_on_the_code_that_results_depend_on() -> None:
    from orchestrator.sweep import CODE

    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for stage in [stages[name] for name in stages if name.startswith("sweep")]:
        named = {path.removeprefix("orchestrator/") for path in stage["deps"] if path.startswith("orchestrator/")}
        assert named == set(CODE)
    assert all((ROOT / "orchestrator" / name).exists() for name in CODE)
