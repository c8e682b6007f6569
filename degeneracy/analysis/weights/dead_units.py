"""Units that do nothing on the probe trials: their weights are left out where networks are compared.

A unit is dead where nothing of what the network does on these trials hangs on how it moves, so that its weights are
whatever initialisation and training left of them:

- it is still: over all probe trials and steps its state keeps to a range of `STILL` of the largest size that it takes,
  at 0 (a rectified unit that is never reached) or elsewhere (a unit that is saturated throughout and acts as a bias);
- or it is unread: the weights from it to the readout and to all other living units are 0, exactly. A unit that only
  units read which are still, or unread themselves, is unread as well.

Both are the same for a network whose units are permuted, change sign or are rescaled. Units are still only as far as
the states say that are given, and unread only where the readout is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from degeneracy.analysis.activity import among_all, silent_note
from degeneracy.analysis.measure import Measured, nan_finding
from degeneracy.analysis.recording import Array, Recording, Weights

# What a unit that stays within a thousandth of its largest state adds to another unit's input is a constant to three
# digits. Trained tanh units are far from it: of 224 kept flip-flop networks of 32 to 256 units the least range is 0.53.
STILL = 1e-3
N_NAMED = 5  # members of which a note says how many units are dead before it counts them


@dataclass(frozen=True, kw_only=True)
class ComparedWeights:
    """The weights of an ensemble as they are compared: those of dead units are 0."""

    weights: tuple[Weights, ...]
    note: str  # how many units are dead in which members; "" where none is
    silent: tuple[int, ...]  # positions of the members of which no unit moves
    silent_note: str  # one line that names these; "" where there are none

    def found(self, measured: Measured) -> Measured:
        """What was measured; where members are silent, rows that name them, and the distances of the others alone.

        A silent member's distance to another would be the size of the other.
        """
        if not self.silent:
            return measured
        active = [k for k in range(len(self.weights)) if k not in self.silent]
        return Measured(
            findings=tuple(nan_finding(f.variant, len(self.weights), self.silent_note) for f in measured.findings),
            distances={
                name: among_all(matrix[np.ix_(active, active)], active, len(self.weights))
                for name, matrix in measured.distances.items()
            },
        )


def compared_weights(recording: Recording) -> ComparedWeights:
    """The weights of a recording's members, with those of dead units set to 0.

    Where members differ in their number of living units, a living unit of one may have none of the other for its
    counterpart: it is set against a unit whose weights are all 0, and its weights count in full. So are distances those
    of networks of at most the size that the members have, and they keep the triangle inequality.
    """
    given = list(recording.weights or ())
    states = recording.states if recording.states is not None else [None] * len(given)
    dead = [dead_units(w, x) for w, x in zip(given, states, strict=True)]
    silent = [] if recording.states is None else [k for k, x in enumerate(recording.states) if still_units(x).all()]
    return ComparedWeights(
        weights=tuple(without_units(w, units) for w, units in zip(given, dead, strict=True)),
        note=_note([int(units.sum()) for units in dead], recording.members),
        silent=tuple(silent),
        silent_note=silent_note(silent, recording.members),
    )


def dead_units(weights: Weights, states: Array | None) -> NDArray[np.bool_]:
    """Which units are dead, (unit,).

    Args:
        weights: of one member.
        states: (trial, time, unit), its hidden states on the probe trials; None where they were not recorded: then no
            unit is known to be still.
    """
    dead = np.zeros(weights.n_units, dtype=bool) if states is None else still_units(states)
    into, to_outside = _readers(weights)
    if to_outside is None:
        return dead
    while True:
        # The last axis is of the unit that is read. What it tells itself reaches no other.
        read = to_outside | (into & ~dead[:, None] & ~np.eye(len(dead), dtype=bool)).any(axis=0)
        now = dead | ~read
        if np.array_equal(now, dead):
            return dead
        dead = now


def still_units(states: Array) -> NDArray[np.bool_]:
    """Which units never move, (unit,): the range of their states (trial, time, unit) is under `STILL` of the largest.

    A unit with states that are not finite is none of them.
    """
    x = states.reshape(-1, states.shape[-1])
    with np.errstate(invalid="ignore", over="ignore"):  # infinite states: a range of NaN, or an infinite one
        spread = x.max(axis=0) - x.min(axis=0)
    return np.asarray(spread <= STILL * np.abs(x).max(axis=0))


def _readers(weights: Weights) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Which unit reads which, (reader, read), and which ones the outside reads, (read,); None without a readout."""
    n = weights.n_units
    into, outside = np.zeros((n, n), dtype=bool), None
    for block in weights.blocks.values():
        if "pre" not in block.inner:
            continue
        others = [axis for axis in block.inner if axis != "pre"]
        for array in block.by_gate:
            pre = np.moveaxis(array != 0, block.inner.index("pre"), -1)
            if "unit" in others:
                into |= np.moveaxis(pre, others.index("unit"), 0).reshape(n, -1, n).any(axis=1)
            else:
                read = pre.reshape(-1, n).any(axis=0)
                outside = read if outside is None else outside | read
    return into, outside


def without_units(weights: Weights, units: NDArray[np.bool_]) -> Weights:
    """The same with all weights into, out of and of some units set to 0."""
    if not units.any():
        return weights
    changed = {}
    for name, block in weights.blocks.items():
        array = block.array.copy()
        for place, axis in enumerate(block.axes):
            if axis in ("unit", "pre"):
                array[(slice(None),) * place + (units,)] = 0.0
        changed[name] = array
    return weights.replace(**changed)


def _note(n_dead: Sequence[int], labels: Sequence[str]) -> str:
    """How many units are left out of which members."""
    having = [k for k, n in enumerate(n_dead) if n]
    if not having:
        return ""
    each = [f"{n_dead[k]} of member {labels[k]}" for k in having[:N_NAMED]]
    if len(having) > N_NAMED:
        each.append(f"{sum(n_dead[k] for k in having[N_NAMED:])} of {len(having) - N_NAMED} more members")
    units = "unit" if sum(n_dead) == 1 else "units"
    return f"dead {units} left out: {', '.join(each)}"
