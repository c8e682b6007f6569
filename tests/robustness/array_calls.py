"""Odd calls: shapes that do not fit, arguments that are none, PyTorch modules, the user's own measures, odd names."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import degeneracy as dg
from degeneracy.measuring.results import Result
from degeneracy.reporting import page

from . import numbers
from .array_forms import EITHER, REFUSED, TAKEN
from .array_truths import AXES, OF_STATES, OF_WEIGHTS, judged, measured, pick, some, trajectories
from .file_damage import Rng
from .framework import Outcome, attempt

SINGLE = 1e-4  # float32 through some steps of a network


def shapes(rng: Rng) -> Outcome:
    """Arrays of any shapes together."""

    def shape(most: int) -> tuple[int, ...]:
        return tuple(int(k) for k in rng.choice([0, 1, 2, 2, 3, 3, 3, 4], size=int(rng.integers(most))))

    arrays: dict[str, Any] = {}
    for key in some(rng, AXES, 4):
        rank = len(AXES[key])
        usual = tuple(3 if axis in ("member", "unit", "post", "pre") else 4 for axis in AXES[key])
        if rng.random() < 0.2:
            arrays[key] = [rng.uniform(size=shape(rank)) for _ in range(3)]
        else:
            arrays[key] = rng.uniform(size=usual if rng.random() < 0.7 else shape(rank + 2))
    cell = pick(rng, ("tanh", "gru", "lstm", "relu"))
    names = some(rng, (*OF_STATES[:3], *OF_WEIGHTS, "ood_error_mean", "weight_change"))
    answer = attempt(lambda: measured(arrays, names, cell=cell))
    said = {
        key: [np.shape(v) for v in value] if isinstance(value, list) else value.shape for key, value in arrays.items()
    }
    return judged(answer, f"{cell}: {said}"[:200], "shapes")


def arguments(rng: Rng) -> Outcome:
    """Measures, options, cells and labels that are none."""
    odd = (
        None,
        3,
        "",
        "x",
        [],
        {},
        [None],
        ["x"],
        True,
        float("nan"),
        ("cka", "cka"),
        object(),
        {"dsa": 3},
        "$\u2028",
    )
    usual: dict[str, Any] = {
        "states": trajectories(rng),
        "measures": ["procrustes"],
        "options": {},
        "jobs": 1,
    }
    keys = ("measures", "options", "cell", "ood_variants", "condition")
    changes = {key: pick(rng, odd) for key in some(rng, keys, 2)}
    if rng.random() < 0.3:
        changes["jobs"] = pick(rng, (0, -5, "x", None, 0.5, float("nan"), "1", []))
    return judged(attempt(lambda: dg.measure_arrays(**usual | changes)), f"{changes}"[:120], "arguments")


def _subclass(kind: type[nn.RNNBase], *, factor: int) -> nn.RNNBase:
    """A module of a subclass whose states are so many times those of its parent."""

    def forward(self: Any, *inputs: Any, **options: Any) -> Any:
        output, last = kind.forward(self, *inputs, **options)
        return factor * output, last

    return type("Mine", (kind,), {"forward": forward})(N_IN, N)


def _tied(core: nn.RNNBase) -> nn.RNNBase:
    core.weight_ih_l0 = core.weight_hh_l0
    return core


def _hooked(core: nn.RNNBase) -> nn.RNNBase:
    core.register_forward_hook(lambda *call: (call[2][0] + 1, call[2][1]))
    return core


def _noised(core: nn.RNNBase) -> nn.RNNBase:
    with torch.no_grad():
        core.weight_hh_l0[0, 0] = torch.nan
    return core


def _pruned(core: nn.RNNBase, name: str) -> nn.RNNBase:
    return prune.l1_unstructured(core, name, amount=0.5)


N, N_IN = 4, 4
KINDS: dict[str, Callable[[type[nn.RNNBase]], Any]] = {
    "plain": lambda kind: kind(N_IN, N),
    "without biases": lambda kind: kind(N_IN, N, bias=False),
    "batch first": lambda kind: kind(N_IN, N, batch_first=True),
    "double": lambda kind: kind(N_IN, N).double(),
    "bfloat16": lambda kind: kind(N_IN, N).bfloat16(),
    "two layers": lambda kind: kind(N_IN, N, num_layers=2),
    "two directions": lambda kind: kind(N_IN, N, bidirectional=True),
    "pruned recurrent weights": lambda kind: _pruned(kind(N_IN, N), "weight_hh_l0"),
    "pruned input weights": lambda kind: _pruned(kind(N_IN, N), "weight_ih_l0"),
    "a pruned bias": lambda kind: _pruned(kind(N_IN, N), "bias_hh_l0"),
    "weight norm": lambda kind: parametrizations.weight_norm(kind(N_IN, N), "weight_hh_l0"),
    "orthogonal": lambda kind: parametrizations.orthogonal(kind(N_IN, N), "weight_hh_l0"),
    "tied weights": lambda kind: _tied(kind(N_IN, N)),
    "a hook": lambda kind: _hooked(kind(N_IN, N)),
    "NaN": lambda kind: _noised(kind(N_IN, N)),
    "DataParallel": lambda kind: nn.DataParallel(kind(N_IN, N)),
    "a subclass": lambda kind: _subclass(kind, factor=1),
    "another forward": lambda kind: _subclass(kind, factor=2),
    "relu": lambda _: nn.RNN(N_IN, N, nonlinearity="relu"),
    "a cell": lambda _: nn.RNNCell(N_IN, N),
    "a linear layer": lambda _: nn.Linear(N_IN, N),
    "frozen": lambda kind: kind(N_IN, N).requires_grad_(False),
    "no module": lambda _: "nn.RNN",
}


def modules(rng: Rng) -> Outcome:
    """PyTorch modules: what an ensemble runs is what they run."""
    what, kind = pick(rng, KINDS), pick(rng, (nn.RNN, nn.GRU, nn.LSTM))
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        cores = [KINDS[what](kind) for _ in range(2)]
        readouts = [nn.Linear(N, 2, dtype=next(core.parameters()).dtype if isinstance(core, nn.Module) else None)
                    for core in cores]  # fmt: skip
    inputs = torch.from_numpy(rng.normal(size=(3, 6, N_IN)))
    answer = attempt(lambda: dg.Ensemble.from_modules(list(zip(cores, readouts, strict=True))))
    wrong, cause = "", f"modules: {what}"
    if answer.value is not None:
        ensemble = answer.value
        answer = attempt(lambda: ensemble.rollout(inputs.numpy()))
        if answer.value is not None:
            expected = np.stack([_forward(core, inputs) for core in cores])
            within = 0.1 if what == "bfloat16" else SINGLE  # bfloat16 has 8 bits
            found = answer.value[0][..., -N:]  # of several layers the last
            if not np.allclose(found, expected, rtol=0, atol=within, equal_nan=True):
                wrong = f"states are {np.abs(found - expected).max():.3g} from the module's own"
    return answer.outcome(f"{kind.__name__}, {what}", wrong=wrong, cause=cause)


def _forward(core: nn.Module, inputs: torch.Tensor) -> Any:
    """The module's own states (trial, time, unit)."""
    inner = core.module if isinstance(core, nn.DataParallel) else core
    x = inputs.to(next(core.parameters()).dtype)
    with torch.no_grad():
        if isinstance(inner, nn.RNNCell):
            states = [core(x[:, 0])]
            for now in x[:, 1:].unbind(1):
                states.append(core(now, states[-1]))
            return torch.stack(states, 1).double().numpy()
        if inner.batch_first:
            return core(x)[0].double().numpy()
        return inner(x.transpose(0, 1))[0].transpose(0, 1).double().numpy()


def _raising(error: Exception) -> Callable[..., Any]:
    def measure(recording: dg.Recording) -> Any:
        raise error

    return measure


def _returning(value: Any) -> Callable[..., Any]:
    def measure(recording: dg.Recording) -> Any:
        return value

    return measure


N_OWN = 3  # members that a user's measure sees


def _what_it_returns(values: Any) -> dict[str, Any]:
    """What a user's measure may return, by what it is; `values` are a number per member."""
    distance = np.abs(np.subtract.outer(values, values))
    return {
        "a number per member": values,
        "a list": list(values),
        "a tensor": torch.tensor(values),
        "distances": distance,
        "NaN": np.full(N_OWN, np.nan),
        "NaN distances": np.full((N_OWN, N_OWN), np.nan),
        "inf": np.array([0.0, np.inf, 1.0]),
        "one NaN": np.array([0.0, np.nan, 1.0]),
        "complex": values + 1j,
        "text": np.array(["x"] * N_OWN),
        "None": None,
        "a number": 3.0,
        "too few": values[:2],
        "too many axes": np.zeros((N_OWN, N_OWN, N_OWN)),
        "no symmetry": distance + np.tri(N_OWN, k=-1),
        "negative distances": -distance,
        "objects": np.array([None] * N_OWN, dtype=object),
        "masked": np.ma.masked_array(values, [True, False, False]),
    }


def own_measures(rng: Rng) -> Outcome:
    """The user's function: numbers are taken as they are, a fault of its arithmetic costs its own row only."""
    values, states = rng.normal(size=N_OWN), trajectories(rng, N_OWN)
    returned = _what_it_returns(values)
    raised = (ZeroDivisionError("x"), FloatingPointError("x"), OverflowError("x"), np.linalg.LinAlgError("x"))
    fault = rng.random() < 0.3
    what = pick(rng, raised if fault else returned)
    function = _raising(what) if fault else _returning(returned[what])
    answer = attempt(lambda: measured({"states": states}, [function, "procrustes"]))
    wrong = ""
    if isinstance(answer.value, Result):
        alone = numbers.of_result(measured({"states": states}, ["procrustes"]))
        got = numbers.of_result(answer.value)
        shared = [key for key in alone if key.startswith("procrustes")]
        wrong = numbers.difference({k: alone[k] for k in shared}, {k: got.get(k) for k in shared})
        value = answer.value.table.set_index("measure")["value"].get("measure", np.nan)
        if what in ("a number per member", "a list", "a tensor") and value != np.mean(values):
            wrong = wrong or f"{value} in place of {np.mean(values)}"
    name = f"an own measure: {type(what).__name__ if fault else what}"
    return judged(answer, name, name, wrong, TAKEN if fault else EITHER)


ODD_NAMES = (
    "$x_{", "$\\frac{1}{2}$", "ünïcode 漢字", "🙂", "a_b^c", "<b>&amp;", "\\", "%d {0}", "a" * 200, "#", "",
    " ", "−1", "\u202etxt", "a\tb", "~", "'\"",
)  # fmt: skip


def names(rng: Rng) -> Outcome:
    """Labels of conditions and variants that other programs read as commands: the page, at times the figures too."""
    label, variants = pick(rng, ODD_NAMES), [pick(rng, ODD_NAMES) for _ in range(2)]
    arrays = {
        "states": trajectories(rng),
        "ood_errors": rng.uniform(0.5, 2, size=(3, 2)),
        "ood_variants": variants,
    }
    drawn = rng.random() < 0.03  # it takes seconds

    def whole() -> Result:
        result = measured(arrays, ["procrustes", "ood_log_error_sd"], condition=label)
        if drawn:
            dg.report(result, "report.html")
        else:
            with patch.object(page, "draw_figures", return_value=([], [])):
                dg.report(result, "report.html")
        return result

    answer = attempt(whole)
    wrong = ""
    if isinstance(answer.value, Result) and set(answer.value.table["condition"]) != {label}:
        wrong = f"the condition is called {answer.value.table['condition'][0]!r}"
    must = REFUSED if variants[0] == variants[1] else EITHER
    return judged(answer, f"{label!r}, {variants}, {'drawn' if drawn else 'page'}", "names", wrong, must)


def compared(rng: Rng) -> Outcome:
    """A result with itself, and with what is none."""
    result = measured({"states": trajectories(rng)}, ["procrustes", "cka"])
    odd = (None, "x", 3, [], {}, object(), result.table)
    alike = rng.random() < 0.3
    other = result if alike else pick(rng, odd)
    pair = (result, other) if rng.random() < 0.5 else (other, result)
    answer = attempt(lambda: dg.compare(*pair))
    wrong = ""
    if answer.value is not None:
        wrong = "" if alike and not answer.value["difference"].any() else "a difference to itself, or to no result"
    return answer.outcome(f"compared with {type(other).__name__}", wrong=wrong, cause="compare")
