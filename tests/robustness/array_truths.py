"""Random inputs to `measure_arrays` whose right answer is known by construction, one function a kind."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import degeneracy as dg
from degeneracy.analysis.measure import PERMUTATION, ROTATION, SCALE, SIGNS, TRANSLATION
from degeneracy.measuring.results import Result

from . import numbers
from .array_forms import EITHER, FORMS, REFUSED, SURROUNDINGS, TAKEN
from .file_damage import Rng
from .framework import Answer, Outcome, attempt

Array = NDArray[Any]
# Small searches: what is known of a result does not hang on how well it was searched for.
OPTIONS: dict[str, dict[str, Any]] = {
    "dsa": {"rank": 3, "n_delays": 2, "n_starts": 4},
    "fixed_points": {"n_starts": 16},
    "pif": {"n_restarts": 8},
    "signed_pif": {"n_restarts": 8},
}
TRAINED = ("tanh", "gru", "lstm")
OF_STATES = ("procrustes", "svcca", "cka", "dsa", "participation_ratio")
OF_WEIGHTS = ("signed_pif", "pif", "orthogonal", "effective_rank")
NEEDS_CELL = ("signed_pif", "orthogonal", "fixed_points")
AXES = {
    "states": ("member", "trial", "time", "unit"),
    "untrained_states": ("member", "trial", "time", "unit"),
    "weights": ("member", "post", "pre"),
    "input_weights": ("member", "post", "in"),
    "bias": ("member", "post"),
    "readout": ("member", "out", "unit"),
    "ood_errors": ("member", "variant"),
}
# Rounding of float64 in states of size 1, seen through an arccos near 0, where errors become their square roots.
ROUNDING = 1e-6
ROUNDING_UNDER_OFFSET = 1e-4  # an offset of 1e6 leaves 10 digits
SEARCH = 0.02  # dsa's value is the end of a search, which rounding may lead elsewhere


def measured(arrays: Mapping[str, Any], measures: Any, **more: Any) -> Result:
    options = {name: OPTIONS[name] for name in measures if name in OPTIONS}
    return dg.measure_arrays(**arrays, measures=measures, options=options, jobs=1, **more)


def pick(rng: Rng, values: Any) -> Any:
    listed = list(values)
    return listed[int(rng.integers(len(listed)))]


def some(rng: Rng, values: Any, most: int = 3) -> list[str]:
    listed = list(values)
    return [str(v) for v in rng.choice(listed, size=int(rng.integers(1, most + 1)), replace=False)]


def trajectories(rng: Rng, n_members: int = 3) -> Array:
    """States (member, trial, time, unit) of size 0.3: smooth, different, inside the range of a tanh cell."""
    n_trials, n_steps = int(rng.integers(12, 17)), int(rng.integers(8, 13))
    n = int(rng.integers(3, 7))
    steps = rng.normal(size=(n_members, n_trials, n_steps, n))
    for k in range(1, n_steps):
        steps[:, :, k] += 0.7 * steps[:, :, k - 1]
    return np.tanh(0.3 * steps)


def networks(rng: Rng, n_members: int = 3) -> dict[str, Array]:
    """The weights of tanh networks."""
    n, n_in, n_out = int(rng.integers(3, 6)), 2, 2
    return {
        "weights": rng.normal(size=(n_members, n, n)) / np.sqrt(n),
        "input_weights": rng.normal(size=(n_members, n, n_in)),
        "bias": 0.1 * rng.normal(size=(n_members, n)),
        "readout": rng.normal(size=(n_members, n_out, n)),
    }


def states_of(rng: Rng, params: dict[str, Array]) -> Array:
    """States that these networks run through, on the same random inputs."""
    inputs = rng.normal(size=(12, 10, params["input_weights"].shape[-1]))
    h, states = np.zeros((len(params["bias"]), 12, params["bias"].shape[-1])), []
    for x in inputs.transpose(1, 0, 2):
        drive = np.einsum("mui,bi->mbu", params["input_weights"], x) + params["bias"][:, None]
        h = np.tanh(np.einsum("muv,mbv->mbu", params["weights"], h) + drive)
        states.append(h)
    return np.stack(states, axis=2)


def trained(cell: str) -> dg.Ensemble:
    """Two small networks of a cell after a few updates."""
    task = dg.tasks.FlipFlop(channels=1, n_steps=6, threshold=2.0)
    network = dg.Network(hidden_size=4, cell=cell)
    training = dg.Training(batch_size=4, steps_per_epoch=2, max_epochs=3, patience=1)
    return dg.train(task, network, training, seeds=range(2), jobs=1, progress=False)


def ill_formed(result: Result) -> str:
    """What no result may be: a row without a number and a reason, distances that are none."""
    for row in result.table.to_dict("records"):
        if not np.isfinite(row["value"]) and not row["note"]:
            return f"{row['measure']} {row['variant']} is {row['value']} and no note says why"
    for name, matrix in result.distances.items():
        known = np.isfinite(matrix)
        if not np.array_equal(matrix, matrix.T, equal_nan=True) or (matrix[known] < 0).any():
            return f"distances of {name} are not symmetric, or negative"
        if (np.diag(matrix)[np.isfinite(np.diag(matrix))] != 0).any():
            return f"a member is not at distance 0 from itself: {name}"
    return ""


def judged(answer: Answer, what: str, cause: str, wrong: str = "", must: str = EITHER) -> Outcome:
    """The outcome, where besides `wrong` the result has to be well-formed and taken or refused as it must."""
    if answer.refusal and must == TAKEN:
        wrong = f"valid input was refused: {answer.refusal}"
    elif isinstance(answer.value, Result):
        unlike = "it was taken" if must == REFUSED else ""
        wrong = wrong or unlike or ill_formed(answer.value)
    return answer.outcome(what, wrong=wrong, cause=cause)


def rows_with_numbers(result: Result, names: Any) -> list[dict[str, Any]]:
    """The rows of these measures that have a number."""
    rows = result.table.to_dict("records")
    return [row for row in rows if row["measure"] in names and np.isfinite(row["value"])]


# --- the kinds


def forms(rng: Rng) -> Outcome:
    """The same numbers in another container."""
    kind = pick(rng, ("states", "weights", "ood_errors"))
    arrays: dict[str, Any] = {"states": trajectories(rng)} if kind == "states" else {}
    if kind == "weights":
        arrays = networks(rng)
    if kind == "ood_errors":
        arrays = {"ood_errors": rng.uniform(0.5, 2, size=(4, 2))}
    of = {"states": OF_STATES, "weights": OF_WEIGHTS, "ood_errors": ("ood_error_mean", "ood_log_error_sd")}
    key, form, names = pick(rng, arrays), pick(rng, FORMS), some(rng, of[kind], 2)
    what, cell = f"{key} as {form}", {"cell": "tanh"} if kind == "weights" else {}
    container, exact = FORMS[form].make(rng, arrays[key], AXES[key])
    answer = attempt(lambda: measured(arrays | {key: container}, names, **cell))
    wrong = ""
    if isinstance(answer.value, Result) and FORMS[form].must != REFUSED:
        truth = attempt(lambda: measured(arrays | {key: exact}, names, **cell))
        expected = numbers.of_result(truth.value) if truth.value else {"refused": truth.refusal}
        wrong = numbers.difference(expected, numbers.of_result(answer.value))
    must = FORMS[form].must
    if must == TAKEN and answer.refusal:  # where the same numbers are refused as well, all is right
        plain = attempt(lambda: measured(arrays | {key: exact}, names, **cell))
        must = EITHER if plain.refusal else TAKEN
    return judged(answer, what, f"{kind} as {form}", wrong, must)


def surroundings(rng: Rng) -> Outcome:
    """The same call inside whatever torch or numpy has switched on."""
    place = pick(rng, SURROUNDINGS)
    if rng.random() < 0.3:
        cell = pick(rng, TRAINED)
        what = f"training {cell} in {place}"

        def call() -> numbers.Numbers:
            return numbers.of_ensemble(trained(cell))
    else:
        params = networks(rng)
        arrays: dict[str, Any] = params | {"cell": "tanh", "states": states_of(rng, params)}
        names = some(rng, (*OF_STATES, *OF_WEIGHTS, "fixed_points"))
        what = f"measuring {', '.join(names)} in {place}"

        def call() -> numbers.Numbers:
            return numbers.of_result(measured(arrays, names))

    truth = call()
    with SURROUNDINGS[place]():
        answer = attempt(call)
    wrong = "" if answer.fault or answer.refusal else numbers.difference(truth, answer.value)
    return judged(answer, what, f"{what.split()[0]} in {place}", wrong, TAKEN)


def rotation(rng: Rng, n: int) -> Array:
    return np.linalg.qr(rng.normal(size=(n, n)))[0]


def transformed(rng: Rng, x: Array, how: str) -> Array:
    """A member's states (trial, time, unit) after what a measure may ignore."""
    n = x.shape[-1]
    if how == ROTATION:
        return x @ rotation(rng, n)
    if how == TRANSLATION:
        return x + rng.normal(size=n)
    if how == SCALE:
        return x * 10.0 ** rng.uniform(-3, 3)
    if how == SIGNS:
        return x * rng.choice([-1.0, 1.0], size=n)
    return x[..., rng.permutation(n)] if how == PERMUTATION else x


def copies(rng: Rng) -> Outcome:
    """A member, a copy of it under what the measure ignores, and another: the copy is at distance 0."""
    name = pick(rng, ("procrustes", "svcca", "cka"))
    x = trajectories(rng)
    how = pick(rng, (*dg.MEASURES[name].ignores, ""))
    x[1] = transformed(rng, x[0], how)
    answer = attempt(lambda: measured({"states": x}, [name]))
    wrong = ""
    if isinstance(answer.value, Result) and not np.isnan(answer.value.distances[name][0, 1]):
        same, other = answer.value.distances[name][0, 1:]
        if same > ROUNDING or not other > ROUNDING:
            wrong = f"a copy is {same:.3g} apart, another member {other:.3g}"
    return judged(answer, f"{name} of a copy ({how or 'exact'})", f"{name} of a copy", wrong, TAKEN)


def scales(rng: Rng) -> Outcome:
    """States far from size 1 or far from 0, for measures that claim not to see it."""
    names = [n for n in ("procrustes", "svcca", "cka", "dsa") if SCALE in dg.MEASURES[n].ignores]
    x, name = trajectories(rng), pick(rng, names)
    factor = 10.0 ** int(pick(rng, (-300, -160, -100, -30, 30, 100, 150, 160)))
    shift, all_members = rng.random() < 0.4, rng.random() < 0.5
    if shift and TRANSLATION not in dg.MEASURES[name].ignores:
        name = pick(rng, ("procrustes", "cka"))
    moved, some_members = x.copy(), slice(None) if all_members else slice(0, 1)
    moved[some_members] = x[some_members] + 1e6 if shift else x[some_members] * factor
    what = f"{name} of {'all' if all_members else 'one'} {'+ 1e6' if shift else f'* {factor:g}'}"
    truth = attempt(lambda: measured({"states": x}, [name]))
    answer = attempt(lambda: measured({"states": moved}, [name]))
    wrong = ""
    if isinstance(answer.value, Result) and isinstance(truth.value, Result):
        now, before = answer.value.distances[name], truth.value.distances[name]
        known = np.isfinite(now)
        within = SEARCH if name == "dsa" else ROUNDING_UNDER_OFFSET if shift else ROUNDING
        if (np.abs(now - before)[known] > within).any():
            wrong = f"distances are {now[0, 1]:.4g}, {now[0, 2]:.4g} in place of {before[0, 1]:.4g}, {before[0, 2]:.4g}"
    return judged(answer, what, f"{name} {'+ 1e6' if shift else 'scaled'}", wrong)


SIZES: dict[str, tuple[Any, ...]] = {
    "one member": (slice(1),),
    "no member": (slice(0),),
    "no trial": (slice(None), slice(0)),
    "no step": (slice(None), slice(None), slice(0)),
    "no unit": (..., slice(0)),
    "one trial": (slice(None), slice(1)),
    "two trials": (slice(None), slice(2)),
    "one step": (slice(None), slice(None), slice(1)),
    "two steps": (slice(None), slice(None), slice(2)),
    "one unit": (..., slice(1)),
}
REFUSED_SIZES = ("one member", "no member", "no trial", "no step", "no unit")


def degenerate(rng: Rng) -> Outcome:
    """Members without activity, sizes of one and of nothing, values that are none."""
    x, names = trajectories(rng, int(rng.integers(2, 5))), some(rng, OF_STATES)
    member, anywhere = x[int(rng.integers(len(x)))], x.ravel()[int(rng.integers(x.size)) :][:1]
    silent = {
        "a silent member": (member, 0.0),
        "a constant member": (member, 0.7),
        "a member at rest": (member, rng.normal(size=x.shape[-1])),
        "silent members": (x, 0.0),
        "constant members": (x, 0.1),
    }
    none = {"NaN": (anywhere, np.nan), "inf": (anywhere, -np.inf), "all NaN": (x, np.nan)}
    what = pick(rng, (*silent, *none, *SIZES, "a silent unit"))
    place, value = (silent | none | {"a silent unit": (x[..., 0], 0.0)}).get(what, (x, x))
    place[...] = value
    states = x[SIZES[what]] if what in SIZES else x
    answer = attempt(lambda: measured({"states": states}, names))
    wrong = ""
    if isinstance(answer.value, Result) and what in silent:
        unsaid = [row for row in rows_with_numbers(answer.value, OF_STATES[:4]) if not row["note"]]
        wrong = f"{unsaid[0]['measure']} is {unsaid[0]['value']:.3g} without a word" if unsaid else ""
    must = REFUSED if what in none or what in REFUSED_SIZES else EITHER
    return judged(answer, f"{what}: {', '.join(names)}", what, wrong, must)


def behavior(rng: Rng) -> Outcome:
    """Errors over many orders of magnitude, and of none at all."""
    n, scale = int(rng.integers(2, 8)), 10.0 ** int(pick(rng, (-300, -160, -20, 0, 0, 20, 150, 300)))
    logs = rng.normal(size=(n, 2)) * pick(rng, (0.1, 1.0, 3.0))
    errors = np.exp(logs) * scale
    odd = pick(rng, ("", "", "a zero", "all zero", "negative", "equal"))
    if odd == "a zero":
        errors[0, 0] = 0.0
    elif odd:
        errors[:, 0] = {"all zero": 0.0, "negative": -1.0, "equal": 2.0}[odd]
    names = ("ood_error_mean", "ood_error_sd", "ood_error_cv", "ood_log_error_sd", "ood_error_iqr")
    answer = attempt(lambda: measured({"ood_errors": errors}, names))
    wrong = ""
    if isinstance(answer.value, Result):
        unit = errors[:, 1] / scale
        expected = {
            "ood_error_mean": unit.mean() * scale,
            "ood_error_sd": unit.std(ddof=1) * scale,
            "ood_error_cv": unit.std(ddof=1) / unit.mean(),
            "ood_log_error_sd": logs[:, 1].std(ddof=1),
        }
        rows = {(r["measure"], r["variant"]): r["value"] for r in answer.value.table.to_dict("records")}
        for name, value in expected.items():
            now = rows.get((name, "variant 2"), np.nan)
            # Sums of a few numbers in float64.
            if np.isfinite(now) and not np.isclose(now, value, rtol=1e-9, atol=0):
                wrong = wrong or f"{name} is {now:.6g} in place of {value:.6g}"
    must = REFUSED if odd == "negative" else EITHER
    return judged(answer, f"errors of {scale:g} {odd}", f"errors, {odd or 'extreme'}", wrong, must)


def relabelled(rng: Rng, params: dict[str, Array], *, signs: bool) -> dict[str, Array]:
    """All members' first network once more as their second, with its units in another order (and of other signs)."""
    params = {name: value.copy() for name, value in params.items()}
    n = params["bias"].shape[-1]
    order, sign = rng.permutation(n), rng.choice([-1.0, 1.0], size=n) if signs else np.ones(n)
    change = np.eye(n)[order] * sign[order][:, None]
    params["weights"][1] = change @ params["weights"][0] @ change.T
    params["input_weights"][1] = change @ params["input_weights"][0]
    params["bias"][1] = change @ params["bias"][0]
    params["readout"][1] = params["readout"][0] @ change.T
    return params


def weights(rng: Rng) -> Outcome:
    """Networks and the same with units relabelled, of any size of weights; with a cell, or without what needs one."""
    name, cell = pick(rng, ("signed_pif", "pif", "orthogonal")), rng.random() < 0.8
    params = relabelled(rng, networks(rng), signs=name != "pif" and cell)
    scale = 10.0 ** int(pick(rng, (-300, -150, -18, 0, 0, 0, 18, 100, 150)))
    params = {key: value * scale for key, value in params.items()}
    if rng.random() < 0.3:
        params = {"weights": params["weights"]}
    answer = attempt(lambda: measured(params, [name], **({"cell": "tanh"} if cell else {})))
    wrong, cause = "", f"{name} of weights"
    if isinstance(answer.value, Result):
        if not cell and name in NEEDS_CELL:
            cause = f"{name} without a cell"
            if rows_with_numbers(answer.value, [name]):
                wrong = f"{name} has a number, and no cell was given"
        elif name in answer.value.distances:
            matrix = answer.value.distances[name]
            size = scale if name == "orthogonal" else np.linalg.norm(params["weights"][0])
            if np.isfinite(matrix[0, 1]) and not matrix[0, 1] <= ROUNDING * size:
                wrong = f"a relabelled copy is {matrix[0, 1]:.3g} apart, another network {matrix[0, 2]:.3g}"
            elif not matrix[0, 2] > 0:
                wrong = f"another network is {matrix[0, 2]:.3g} apart"
    return judged(answer, f"{name} of weights * {scale:g}, cell {'given' if cell else 'not given'}", cause, wrong)


def fixed_points(rng: Rng) -> Outcome:
    """Networks whose fixed points are known: without recurrence one, of a unit that excites itself two are stable."""
    n, bistable = int(rng.integers(1, 3)), rng.random() < 0.5
    w = np.stack([np.eye(n) * (2.0 if bistable else 0.0)] * 2)
    bias = np.zeros((2, n)) if bistable else rng.normal(size=(2, n))
    states = np.empty((2, 4, 10, n))
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])[:, :n]  # trials that run to each of the points
    states[:, :, 0] = signs * rng.uniform(0.2, 0.9, size=(2, 4, n))
    for k in range(1, 10):
        states[:, :, k] = np.tanh(states[:, :, k - 1] @ w[0].T + bias[:, None])
    n_stable, out_of_range, cell = 2**n if bistable else 1, rng.random() < 0.25, rng.random() < 0.8
    arrays = {"weights": w, "bias": bias, "states": states * (50 if out_of_range else 1)}
    answer = attempt(lambda: measured(arrays, ["fixed_points"], **({"cell": "tanh"} if cell else {})))
    wrong, cause = "", "fixed points"
    if isinstance(answer.value, Result):
        taken = rows_with_numbers(answer.value, ["fixed_points"])
        rows = {row["variant"]: row["value"] for row in taken}
        if taken and not cell:
            wrong, cause = "they have a number, and no cell was given", "fixed points without a cell"
        elif taken and out_of_range:
            wrong = "states that a tanh cell cannot have were taken for its own"
            cause = "states outside the cell's range"
        elif rows.get("n_stable", n_stable) != n_stable:
            wrong = f"{rows['n_stable']:g} stable ones in place of {n_stable}"
    what = f"fixed points of {n} {'bistable ' * bistable}units, cell {'given' if cell else 'not given'}"
    return judged(answer, what + ", states * 50" * out_of_range, cause, wrong)
