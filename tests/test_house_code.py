"""What the code of the package never does: know a cell by its type, its name or its weights; grow long."""

import ast
import inspect
from collections.abc import Iterator

import pytest

import degeneracy as dg
from degeneracy.networks import cell as cell_module
from tests.test_house import SOURCES, dotted, place


def spared(tree: ast.AST) -> set[ast.AST]:
    """Docstrings, which may name what they like."""
    return {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None
    }


def texts(source: str) -> list[str]:
    """All strings of a file but docstrings."""
    tree = ast.parse(source)
    docstrings = spared(tree)
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    ]


# Cells own their parameters. Beside them, modules and parameters of other packages are read as cells by the names of
# both, and compiled and hand-written gradients are of the cells that name them (`Cell.kernel`).
KNOW_CELLS = (
    "degeneracy.networks.",
    "degeneracy.ensembles.layouts",
    "degeneracy.ensembles.modules",
    "degeneracy.training.backends.",
)
OTHERS = [module for module in SOURCES if not module.startswith(KNOW_CELLS)]


@pytest.mark.parametrize("module", OTHERS)
def test_recurrent_weights_are_known_by_their_role_alone(module: str) -> None:
    """A cell may have none, or several: what holds for them is asked of `Cell.between_units`."""
    assert [text for text in texts(SOURCES[module].read_text(encoding="utf-8")) if "W_rec" in text] == []


@pytest.mark.parametrize("module", OTHERS)
def test_no_cell_is_named_outside_networks(module: str) -> None:
    assert [text for text in texts(SOURCES[module].read_text(encoding="utf-8")) if text in dg.CELLS] == []


def below(kind: type) -> set[str]:
    """The names of a class and of all of its subclasses in the package."""
    names = {kind.__name__} if kind.__module__.startswith("degeneracy.") else set()
    return names.union(*map(below, kind.__subclasses__()))


CELL_CLASSES = below(dg.Cell)
# Whether what somebody gives for a cell is one at all.
MAY_ASK_FOR_A_CELL = "degeneracy.measuring.arrays.cells"


def type_tests(source: str, classes: set[str] = CELL_CLASSES) -> Iterator[str]:
    """Where a file asks of which class something is, of some classes: by isinstance, issubclass, type() or match."""

    def named(node: ast.AST) -> bool:
        return any(
            (isinstance(part, ast.Name) and part.id in classes)
            or (isinstance(part, ast.Attribute) and part.attr in classes and ast.unparse(part.value) != "nn")  # torch's
            for part in ast.walk(node)
        )

    for node in ast.walk(ast.parse(source)):
        asks = isinstance(node, ast.Call) and dotted(node.func) in ("isinstance", "issubclass")
        if asks and any(named(argument) for argument in node.args[1:]):
            yield ast.unparse(node)
        if isinstance(node, ast.Compare) and any(map(of_type, [node.left, *node.comparators])) and named(node):
            yield ast.unparse(node)
        if isinstance(node, ast.MatchClass) and named(node.cls):
            yield ast.unparse(node)


def of_type(node: ast.AST) -> bool:
    """Whether an expression is the type of something."""
    called = isinstance(node, ast.Call) and dotted(node.func) == "type"
    return called or (isinstance(node, ast.Attribute) and node.attr == "__class__")


@pytest.mark.parametrize("module", [module for module in SOURCES if place(module)[0] != "networks"])
def test_no_cell_is_known_by_its_type(module: str) -> None:
    """What a fast way relies on a cell states itself; a type test would take in subclasses, which step otherwise."""
    allowed = CELL_CLASSES - ({dg.Cell.__name__} if module == MAY_ASK_FOR_A_CELL else set())
    assert list(type_tests(SOURCES[module].read_text(encoding="utf-8"), allowed)) == []


def test_those_rules_can_fail() -> None:
    assert {"Cell", "PointwiseCell", "TanhCell", "LSTMCell", "LeakyTauCell"} <= CELL_CLASSES
    assert inspect.getmodule(dg.Cell) is cell_module
    for line in (
        "isinstance(cell, LSTMCell)",
        "isinstance(cell, (A, cells.TanhCell))",
        "isinstance(cell, A | GRUCell)",
        "issubclass(kind, PointwiseCell)",
        "type(cell) is TanhCell",
        "type(cell) in (A, TanhCell)",
        "cell.__class__ == TanhCell",
        "match cell:\n    case TanhCell():\n        pass",
    ):
        assert list(type_tests(line)), line
    for line in ("isinstance(x, dict)", "def f(cell: TanhCell): pass", "type(x) is dict", "TanhCell() == cell"):
        assert not list(type_tests(line)), line
    assert texts('"""W_rec."""\nx = params["W_rec"]\ny = f"{a} W_rec"') == ["W_rec", " W_rec"]


MOST_LINES, MOST_IN_A_FUNCTION = 400, 40


@pytest.mark.parametrize("module", SOURCES)
def test_no_file_is_long(module: str) -> None:
    assert len(SOURCES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def long_functions(source: str) -> dict[str, int]:
    """The functions of more statements' lines than may be, signature and docstring not counted."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            n_lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            found |= {node.name: n_lines} if n_lines > MOST_IN_A_FUNCTION else {}
    return found


@pytest.mark.parametrize("module", SOURCES)
def test_no_function_is_long(module: str) -> None:
    assert long_functions(SOURCES[module].read_text(encoding="utf-8")) == {}


def test_lengths_are_seen() -> None:
    body = "    x = 1\n" * MOST_IN_A_FUNCTION
    assert not long_functions(f'def f(\n    a, b\n):\n    """One.\n\n    Two.\n    """\n{body}')
    assert long_functions(f"class A:\n  def f(self):\n{body}    x = 2\n") == {"f": MOST_IN_A_FUNCTION + 1}


# What the package reads of other libraries though they do not offer it; a comment where it does says why.
PRIVATE_OF_OTHERS = {
    "degeneracy.core.compiling": {"_cache", "_index_key", "_load_data", "_load_index", "_open_for_write"},  # numba
    "degeneracy.core.specs": {"_internal", "_model_construction"},  # pydantic
    "degeneracy.core.workers": {"_backend", "_backend_args", "_backend_kwargs", "_executor"},  # joblib, loky
    "degeneracy.ensembles.modules.copies": {"_orig_mod"},  # torch
    "degeneracy.ensembles.modules.known": {"_compiled_call_impl"},  # torch
}
PUBLIC = {"_exit", "_replace", "_thread"}  # of Python's documentation


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def private_of_others(source: str) -> set[str]:
    """Private names that a file reads, by a dot, by getattr or by an import, and does not define itself."""
    tree, read, defined = ast.parse(source), set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            (defined if of_itself else read).add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
            # A method that replaces one of another library's calls it.
            defined -= {name for name in (node.name,) if f"super().{name}(" in source}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            read |= {part for name in names for part in name.split(".")}
        elif isinstance(node, ast.Call) and dotted(node.func) in ("getattr", "hasattr"):
            read |= {part.value for part in node.args[1:2] if isinstance(part, ast.Constant)}
    return {name for name in read if is_private(name)} - defined - PUBLIC


@pytest.mark.parametrize("module", SOURCES)
def test_private_names_of_other_libraries_are_known(module: str) -> None:
    """They change without notice: what is public is used wherever there is anything."""
    read = private_of_others(SOURCES[module].read_text(encoding="utf-8"))
    assert read == PRIVATE_OF_OTHERS.get(module, set())


def test_private_names_are_seen() -> None:
    for line in (
        "legend._ncols",
        'getattr(legend, "_ncols", 1)',
        "from joblib._parallel_backends import LokyBackend",
        "from matplotlib import _api",
        "class A(B):\n    def _load(self):\n        return super()._load()",
    ):
        assert private_of_others(line), line
    for line in ("self._x = 1\nother._x", "def _f(): pass\nmodule._f", "import __future__", "os._exit(1)"):
        assert not private_of_others(line), line
