"""The shape of the house: imports run one way, one module object per room, the wheel holds the package alone."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pydantic
import pytest

import degeneracy as dg
from degeneracy.training.schedules import SCHEDULES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "degeneracy"
FILES = sorted(PACKAGE.rglob("*.py"))
SOURCES = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): path for path in FILES}
# The rooms from the ground up: each may import those below.
FLOORS = (
    ("core",),
    ("tasks", "analysis"),
    ("networks",),
    ("training",),
    ("ensembles",),
    ("measuring",),
    ("wording",),
    ("studies", "checks"),
    ("contrasts",),
    ("plots",),
    ("reporting",),
    ("runs",),
    ("tuning",),
    ("cli",),
    ("__init__",),
)
# Within analysis likewise, by its rooms and the files beside them.
FLOORS_OF_ANALYSIS = (
    ("activity", "dimensions", "lag_grams", "recording", "measure", "scaling"),
    ("statistics",),
    ("matching", "operator_alignment"),
    ("behavior", "dynamics", "learning", "weights"),
    ("as_measure",),
    ("__init__",),
)


def place(module: str) -> tuple[str, str]:
    """The room, and within analysis the room there; the public surface of either is "__init__"."""
    first, second, *_ = [*module.split(".")[1:], "__init__", "__init__"]
    return first, second if first == "analysis" else ""


def floor(module: str) -> tuple[int, int]:
    """How high a module stands, in the house and within analysis: it may import what stands lower, and its own room."""
    room, inner = place(module)
    (height,) = (k for k, rooms in enumerate(FLOORS) if room in rooms)
    (within,) = (k for k, rooms in enumerate(FLOORS_OF_ANALYSIS) if inner in rooms) if inner else (0,)
    return height, within


def imports(module: str) -> set[str]:
    """All modules of the package that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {p if p in SOURCES or f"{p}.__init__" in SOURCES else str(node.module) for p in parts}
    return {name for name in names if name.split(".")[0] == "degeneracy"}


def upward(module: str, imported: str) -> bool:
    """Whether an import goes up, or from one room into the room beside it."""
    (room, inner), (other, other_inner) = place(module), place(imported)
    (height, within), (other_height, other_within) = floor(module), floor(imported)
    if height != other_height:
        return other_height > height
    if room != other:
        return height > 0
    return other_within > within if within != other_within else within > 0 and inner != other_inner


def test_every_module_is_seen() -> None:
    assert len(SOURCES) > 40
    assert {
        "degeneracy.training.members",
        "degeneracy.tasks.flip_flop",
        "degeneracy.analysis.weights.pif",
    } < set(SOURCES)


@pytest.mark.parametrize("module", SOURCES)
def test_imports_run_one_way(module: str) -> None:
    for imported in imports(module):
        assert not upward(module, imported), f"{module} imports {imported}"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which leads to all others of its group."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        reached[start], waiting = set(), [start]
        while waiting:
            following = graph[waiting.pop()] - reached[start]
            reached[start] |= following
            waiting += following
    groups = {frozenset(b for b in graph if b in reached[a] and a in reached[b]) for a in graph}
    return sorted(sorted(group) for group in groups if group)


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {module.removesuffix(".__init__"): module for module in SOURCES}
    graph = {name: imports(module) & set(names) - {name} for name, module in names.items()}
    assert sum(map(len, graph.values())) > 500
    assert circles(graph) == []


def test_that_rule_can_fail() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_the_rule_of_imports_can_fail() -> None:
    assert upward("degeneracy.tasks.task", "degeneracy.training")
    assert upward("degeneracy.tasks.task", "degeneracy.analysis.weights.pif")
    assert upward("degeneracy.analysis.weights.pif", "degeneracy.tasks")
    assert upward("degeneracy.training", "degeneracy.cli")
    assert upward("degeneracy.core.streams", "degeneracy.tasks")
    assert upward("degeneracy.measuring.results", "degeneracy.reporting")
    assert upward("degeneracy.measuring.results", "degeneracy.studies.study")
    assert upward("degeneracy.checks.tasks", "degeneracy.plots")
    assert upward("degeneracy.checks.tasks", "degeneracy.studies.study"), "a room beside it"
    assert upward("degeneracy.analysis.dynamics.linear.dsa", "degeneracy.analysis.weights.pif"), "likewise"
    assert upward("degeneracy.analysis.statistics.jackknife", "degeneracy.analysis.dynamics.linear.dsa")
    assert upward("degeneracy.analysis.weights.pif", "degeneracy.analysis"), "its own public surface"
    assert not upward("degeneracy.analysis.dynamics.linear.dsa", "degeneracy.analysis.statistics.jackknife")
    assert upward("degeneracy.training", "degeneracy"), "the public surface stands above all"
    assert not upward("degeneracy.training", "degeneracy.tasks")


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_imports_the_links_at_the_top(module: str) -> None:
    tree = ast.parse(SOURCES[module].read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not {name.split(".")[0] for name in names} & {"tasks", "analysis", "tests", "figures"}


def test_one_module_object_a_room() -> None:
    """Started where the links `tasks` and `analysis` lie, the package loads itself under one name alone."""
    code = (
        "import sys, degeneracy, degeneracy.cli, degeneracy.checks, degeneracy.plots\n"
        "names = [name for name, module in sys.modules.items()\n"
        f"         if str(getattr(module, '__file__', '')).startswith({str(ROOT / 'degeneracy')!r})]\n"
        "files = [sys.modules[name].__file__ for name in names]\n"
        "assert all(name.split('.')[0] == 'degeneracy' for name in names), names\n"
        "assert len(files) == len(set(files)) > 30, files\n"
        "assert degeneracy.tasks.TASKS is sys.modules['degeneracy.tasks'].TASKS\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_links_lead_into_the_package() -> None:
    for room in ("tasks", "analysis"):
        link = ROOT / room
        assert link.is_symlink()
        assert link.readlink() == Path("degeneracy") / room, "relative, so that it leads there in any copy"


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, tree)
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(PACKAGE, tree / "degeneracy", ignore=skipped)
    for room in ("tasks", "analysis"):
        (tree / room).symlink_to(Path("degeneracy") / room)
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=skipped)
    (tree / "figures").mkdir()
    (tree / "figures" / "draw.py").write_text("", encoding="utf-8")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    built = subprocess.run([*command, str(tree)], capture_output=True, text=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        others = {name for name in archive.namelist() if name not in held}
    kinds = (".py", ".pyi", ".toml", ".html", ".typed")
    there = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix or path.name for path in there} <= {*kinds, "py.typed"}, "package_data knows each kind"
    assert held == {path.relative_to(ROOT).as_posix() for path in there}
    assert {
        "degeneracy/py.typed",
        "degeneracy/__init__.pyi",
        "degeneracy/studies/quickstart.toml",
        "degeneracy/reporting/page.html",
    } < held
    assert {name.split("/")[0] for name in others} == {f"degeneracy-{dg.__version__}.dist-info"}
    assert any(name.endswith("entry_points.txt") for name in others)
    assert any("LICENSE" in name for name in others)


def test_every_public_name_is_there_and_has_a_docstring() -> None:
    for name in dg.__all__:
        thing = getattr(dg, name)
        if inspect.isclass(thing) or inspect.isfunction(thing) or inspect.ismodule(thing):
            assert (inspect.getdoc(thing) or "").strip(), name
            own = (thing.__doc__ or "").strip()
            assert own, f"{name} has a docstring of its own"
    assert sorted(dg.__all__) == sorted(set(dg.__all__))


def test_no_public_name_is_a_module_of_another() -> None:
    """Importing `degeneracy.x` puts the module at `dg.x`: a function of that name in it would be out of reach."""
    modules = {path.stem for path in Path(dg.__file__).parent.iterdir() if path.suffix == ".py" or path.is_dir()}
    public = {name for name in dg.__all__ if not inspect.ismodule(getattr(dg, name))}
    assert not modules & public


def public_definitions() -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for module, path in SOURCES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found.append((module, tree))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                found.append((f"{module}.{node.name}", node))
    return found


@pytest.mark.parametrize(("name", "node"), public_definitions(), ids=lambda x: x if isinstance(x, str) else "")
def test_every_module_function_and_class_has_a_docstring(name: str, node) -> None:
    assert (ast.get_docstring(node) or "").strip(), name


@pytest.mark.parametrize("kind", [*dg.TASKS.values(), *dg.CELLS.values(), *dg.MEASURES.values()])
def test_every_entry_of_a_table_says_what_it_is(kind: type) -> None:
    table = {dg.Task: dg.TASKS, dg.Cell: dg.CELLS, dg.Measure: dg.MEASURES}
    (base,) = (parent for parent in table if issubclass(kind, parent))
    assert table[base][kind.name] is kind
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.name)
    texts = {
        dg.Task: ("summary", "citation"),
        dg.Cell: ("summary", "source"),
        dg.Measure: ("meaning", "zero", "source"),
    }
    for text in texts[base]:
        assert getattr(kind, text).strip(), text
    assert (kind.__doc__ or "").strip()
    kind()  # real defaults: nothing has to be given


@pytest.mark.parametrize("kind", dg.TASKS.values())
def test_a_tasks_training_defaults_and_difficulty_name_fields(kind: type[dg.Task]) -> None:
    assert set(kind.training_defaults) <= set(dg.Training.model_fields)
    assert set(kind.difficulty_fields) <= set(kind.model_fields)
    dg.Training(**kind.training_defaults)


def test_no_default_is_none() -> None:
    """A default is a value; None is no second meaning in a study file."""
    tables = [*dg.TASKS.values(), *dg.CELLS.values(), *dg.MEASURES.values(), *SCHEDULES.values()]
    for kind in [*tables, dg.Network, dg.Training, dg.Probe, dg.Study]:
        assert issubclass(kind, pydantic.BaseModel)
        assert not [name for name, field in kind.model_fields.items() if field.default is None], kind


# The check of the user's own tasks sets global seeds to see that no trial follows them, and puts them back.
SETS_SEEDS_TO_CHECK = "checks/tasks.py"
# State dictionaries that others have saved, read without the code in them.
READS_CHECKPOINTS = "ensembles/layouts/checkpoints.py"
DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


def dotted(node: ast.AST) -> str:
    """The dotted name of an expression such as `np.random.rand`; "" for others."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def offences(text: str, file: str = "") -> list[str]:
    """What a file does that the house never does."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [str(node.module)]
            found += [name for name in names if name.split(".")[0] in ("pickle", "dill", "random")]
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and not isinstance(node.value, ast.Constant):
            found.append("allow_pickle")
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", False):
            found.append("allow_pickle")
        if isinstance(node, ast.Call):
            found += [dotted(node.func)] if forbidden_call(node, file) else []
    return found


def forbidden_call(node: ast.Call, file: str) -> bool:
    """Pickles, global random state, deleted folders, and prints outside the command line."""
    name = dotted(node.func)
    start, _, last = name.rpartition(".")
    if name == "print":
        return Path(file).parent.name != "cli"
    if name == "torch.load" and file.endswith(READS_CHECKPOINTS):
        return "weights_only=True" not in {ast.unparse(keyword) for keyword in node.keywords}
    if name in ("torch.load", "torch.save") or last in ("rmtree", "to_pickle", "read_pickle"):
        return True
    if file.endswith(SETS_SEEDS_TO_CHECK):
        return False
    if start in ("np.random", "numpy.random"):
        return last not in ("default_rng", "Generator", "PCG64", "SeedSequence")
    if start.startswith("torch") and last in ("manual_seed", "manual_seed_all", "seed", "set_rng_state"):
        return True
    return start == "torch" and last in DRAWS and "generator" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("module", SOURCES)
def test_no_pickle_no_global_random_state_nothing_deleted(module: str) -> None:
    path = SOURCES[module]
    assert offences(path.read_text(encoding="utf-8"), path.as_posix()) == []


def test_those_rules_can_fail() -> None:
    for line in (
        "import pickle",
        "from pickle import load",
        "import random",
        "torch.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.manual_seed(0)",
        "np.random.rand(3)",
        "torch.randn(3)",
        "shutil.rmtree(path)",
        "print(1)",
    ):
        assert offences(line), line
    for line in ("torch.load(path)", "torch.load(path, weights_only=False)", "torch.save(x, path)"):
        assert offences(line, f"degeneracy/{READS_CHECKPOINTS}"), line
    assert not offences("torch.load(path, weights_only=True)", f"degeneracy/{READS_CHECKPOINTS}")
    assert offences("torch.load(path, weights_only=True)", "degeneracy/ensembles/checkpoints.py"), "there alone"
    for line in (
        "torch.randn(3, generator=g)",
        "np.random.default_rng(0)",
        "torch.Generator().manual_seed(3)",
    ):
        assert not offences(line), line


def test_importing_draws_and_sets_nothing() -> None:
    code = (
        "import torch, numpy as np\n"
        "a, b, t = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()\n"
        "d = torch.get_default_dtype()\n"
        "import degeneracy, degeneracy.cli, degeneracy.plots\n"
        "assert torch.equal(a, torch.get_rng_state()) and (b == np.random.get_state()[1]).all()\n"
        "assert torch.get_num_threads() == t and torch.get_default_dtype() == d\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Public names, which are of functions.
NO_MEASURES = {"__all__"}
# Its distances are its own, of tensors with gradients and on scales of their own, though two are called like measures.
OWN_DISTANCES = "degeneracy.training.coupling"


def quoted_measures(text: str, names: frozenset[str] = frozenset(dg.MEASURES)) -> list[str]:
    """The measures that a file quotes by name: as a whole string, or in quotes within one; docstrings may."""
    tree, spared = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            spared.add(node.body[0].value)
        if isinstance(node, ast.Assign) and {dotted(target) for target in node.targets} & NO_MEASURES:
            spared |= set(ast.walk(node))
    texts = [
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and n not in spared
    ]
    quoted = [word for said in texts for word in (said, *re.findall(r"['\"`]([a-z_]+)", said))]
    return [word for word in quoted if word.partition("/")[0] in names]


@pytest.mark.parametrize("module", [m for m in SOURCES if place(m)[0] != "analysis" and m != OWN_DISTANCES])
def test_no_measure_is_named_outside_its_own_room(module: str) -> None:
    """A measure says all about itself: what else knows it by name would have to be told of the next one."""
    assert quoted_measures(SOURCES[module].read_text(encoding="utf-8")) == []


def test_the_rule_of_names_can_fail() -> None:
    assert quoted_measures('x = "dsa"') == ["dsa"]
    assert quoted_measures('x = {"pif/recurrent": 1}') == ["pif/recurrent"]
    assert quoted_measures("x = f\"such as ['cka', {y}]\"") == ["cka"]
    assert not quoted_measures('"""Such as "dsa"."""\n__all__ = ["fixed_points"]\nx = "dsa_sensitivity.csv"')
