"""What the measures see of an ensemble: arrays and plain functions, no network and no task.

Members may differ in size, so per-member quantities are sequences of arrays, one per member, in one order
throughout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.analysis.lag_grams import LagGrams
from degeneracy.core.numeric import real_array

Array = NDArray[np.float64]

# Names of constant inputs: none at all, and the mean over the probe trials.
NO_INPUT, MEAN_INPUT = "none", "mean"


@dataclass(frozen=True, kw_only=True)
class Block:
    """An array of weights of one member: what its axes mean and what it is for.

    Axes named "unit" (whose number it is) and "pre" (which unit it looks at) go along when units are relabelled; "gate"
    may stand first. `role` is "recurrent", "input", "bias", "readout", or "unit" for a property of each unit whose sign
    and size mean something, such as its time constant.
    """

    array: Array
    axes: tuple[str, ...]
    role: str

    @property
    def gated(self) -> bool:
        """Whether the first axis is that of the gates."""
        return self.axes[:1] == ("gate",)

    @property
    def inner(self) -> tuple[str, ...]:
        """The axes without that of the gates."""
        return self.axes[self.gated :]

    @property
    def by_gate(self) -> list[Array]:
        """One array per gate; the array itself where there is no axis of gates."""
        return list(self.array) if self.gated else [self.array]


# The blocks of an ordinary network, by role, and their axes. `bias` has one or two rows per gate: bias[gate, k, unit].
ORDINARY: dict[str, tuple[str, ...]] = {
    "recurrent": ("gate", "unit", "pre"),
    "input": ("gate", "unit", "in"),
    "bias": ("gate", "bias", "unit"),
    "readout": ("out", "pre"),
}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one member in named blocks, with what its cell's symmetry acts on.

    `candidate` is the gate whose rows flip sign with a unit (the candidate of GRU and LSTM; the only gate of a
    tanh cell). Of the gates in `summed_biases` only the sum of the rows of "bias" acts; it is kept in the first row,
    with 0 in the others, so that two networks which differ in nothing but how it is split are the same weights. All
    become float64 arrays. Where units are of several `classes` (excitatory and inhibitory ones), only those of one
    class are exchanged.
    """

    blocks: Mapping[str, Block]
    candidate: int = 0
    symmetry: str = "signed_permutation"  # a name in `symmetry.SYMMETRIES`; "" where the cell is not known
    summed_biases: tuple[int, ...] = ()  # gates
    classes: tuple[str, ...] = ()  # of each unit; () where all are alike

    @classmethod
    def of(
        cls,
        *,
        recurrent: Array | None = None,
        input: Array | None = None,
        bias: Array | None = None,
        readout: Array | None = None,
        **rest: Any,
    ) -> "Weights":
        """The weights of an ordinary network, from the blocks that it has (`ORDINARY` names their axes)."""
        arrays = {"recurrent": recurrent, "input": input, "bias": bias, "readout": readout}
        blocks = {
            name: Block(array=array, axes=ORDINARY[name], role=name)
            for name, array in arrays.items()
            if array is not None
        }
        return cls(blocks=blocks, **rest)

    def __post_init__(self) -> None:
        checked = {}
        for name, block in self.blocks.items():
            names = tuple({"unit": "post"}.get(axis, axis) if "pre" in block.axes[1:] else axis for axis in block.axes)
            checked[name] = replace(block, array=real_array(block.array, f"{name} weights", names))
        if self.summed_biases and "bias" in checked:
            bias, gates = checked["bias"].array.copy(), list(self.summed_biases)
            total = bias[gates].sum(axis=1)
            bias[gates] = 0.0
            bias[gates, 0] = total
            checked["bias"] = replace(checked["bias"], array=bias)
        object.__setattr__(self, "blocks", checked)

    def __getitem__(self, name: str) -> Array:
        return self.blocks[name].array

    def replace(self, **arrays: Array | None) -> "Weights":
        """The weights with other arrays in some blocks; None takes a block away."""
        changed = {name: (block, arrays.get(name, block.array)) for name, block in self.blocks.items()}
        blocks = {name: replace(block, array=array) for name, (block, array) in changed.items() if array is not None}
        return replace(self, blocks=blocks)

    @property
    def n_units(self) -> int:
        """The number of hidden units."""
        return next(
            size
            for block in self.blocks.values()
            for axis, size in zip(block.axes, block.array.shape, strict=True)
            if axis in ("unit", "pre")
        )

    @property
    def recurrent(self) -> Array:
        """The weights from unit to unit, (gate, post, pre); of no gate where there are none."""
        gates = [array for block in self.blocks.values() if block.role == "recurrent" for array in block.by_gate]
        return np.stack(gates) if gates else np.zeros((0, self.n_units, self.n_units))


@dataclass(frozen=True, kw_only=True)
class StepFunction:
    """One time step of all members at once, for searches in state space.

    `step(h, x)` takes h (member, point, state) and x (member, point, in) and returns h after one noise-free step,
    shape (member, point, state); differentiable torch, any float dtype. `hidden(h)` gives the part of the state
    that the readout sees, (member, point, unit) (the state itself except for LSTM, whose state is [h, c]).
    `select(members)` is the step of some members, by position. `faults` says of each member why its step is not to be
    searched, "" where it is; none are known where it is empty. `read_out(h)` gives the outputs, (member, point, out),
    and `decide(outputs)` the decisions, 0 or 1, where outputs are such. Each of the `pulses` is an input that for
    `pulse_steps` steps stands in place of a constant one, and may lead from one attractor to another.
    """

    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    hidden: Callable[[torch.Tensor], torch.Tensor]
    select: Callable[[Sequence[int]], "StepFunction"]
    visited: torch.Tensor  # (member, point, state): states seen on probe trials, the starts of a search
    inputs: Mapping[str, torch.Tensor]  # by name, (in,) each: the constant inputs to search under
    faults: tuple[str, ...] = ()
    read_out: Callable[[torch.Tensor], torch.Tensor] | None = None
    decide: Callable[[torch.Tensor], torch.Tensor] | None = None
    pulses: tuple[torch.Tensor, ...] = ()  # (in,) each
    pulse_steps: int = 1


@dataclass(frozen=True, kw_only=True)
class TangentKernel:
    """How alike the outputs' gradients by all parameters are, for each member.

    `kernel(trials, steps)` takes positions of probe trials and time steps, and returns (member, sample, sample), a
    sample being one output at one of the steps of one of the trials, in the order (trial, step, output).
    `select(members)` is that of some members, by position.
    """

    kernel: Callable[[Sequence[int], Sequence[int]], Array]
    select: Callable[[Sequence[int]], "TangentKernel"]
    n_trials: int
    n_steps: int


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The members' behavior on one task variant (the name "in_distribution" for the training distribution).

    Errors and shares of wrong decisions are of all trials; outputs, mask and decisions may be of the first ones alone.
    """

    errors: Array  # (member, trial): the task's loss on the scored steps of each trial
    outputs: Array | None = None  # (member, trial, time, out)
    mask: NDArray[np.bool_] | None = None  # (trial, time): the scored steps, or (trial, time, out): the scored outputs
    wrong: Array | None = None  # (member, trial): share of decisions that are wrong; None: outputs are no decisions
    decisions: NDArray[np.bool_] | None = None  # (member, trial, time, out)
    called_for: NDArray[np.bool_] | None = None  # (trial, time, out): the decisions that are right


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was recorded of one ensemble on common, noise-free probe trials; None is what was not given."""

    members: tuple[str, ...]  # labels, one per member: seeds, or positions for networks trained elsewhere
    states: Sequence[Array] | None = None  # each (trial, time, unit)
    autonomous_states: Sequence[Array] | None = None  # the same without inputs, from states seen in mid-trial
    noisy_states: tuple[Sequence[Array], Sequence[Array]] | None = None  # two draws with the network's own noise
    # One per member of each of two halves of many more trials: all of its state (of LSTM, [h, c]) and the inputs.
    lag_grams: tuple[Sequence[LagGrams], Sequence[LagGrams]] | None = None
    fully_observed: bool | None = True  # whether the states are all that the next step hangs on; None: not known
    weights: Sequence[Weights] | None = None
    initial_weights: Sequence[Weights] | None = None
    behavior: Mapping[str, Variant] = field(default_factory=dict)
    error_unit: str = "squared output unit"  # of the errors in `behavior`
    noisy_outputs: tuple[Mapping[str, Array], Mapping[str, Array]] | None = None  # likewise, by variant
    noisy_decisions: tuple[Mapping[str, NDArray[np.bool_]], Mapping[str, NDArray[np.bool_]]] | None = None  # of these
    step: StepFunction | None = None
    tangent_kernel: TangentKernel | None = None
    prediction_times: Array | None = None  # (member, trial): how long a closed loop stays near the truth, time units
    untrained: "Recording | None" = None  # the same members before training, in the same order
    missing: Mapping[str, str] = field(default_factory=dict)  # what is absent -> why, in one line

    def __len__(self) -> int:
        return len(self.members)

    @property
    def recurrent_weights(self) -> Sequence[Weights]:
        """The members' weights; none of them where a member has no weights between units."""
        without = any(isinstance(each, Weights) and not len(each.recurrent) for each in self.weights or ())
        return () if without else self.weights or ()

    @property
    def readout(self) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The outputs that states of the step are read out to; None where they are not known."""
        return None if self.step is None else self.step.read_out

    @property
    def decisions(self) -> Mapping[str, Array]:
        """The shares of wrong decisions, (member, trial), of the variants in which outputs are decisions."""
        return {name: each.wrong for name, each in self.behavior.items() if each.wrong is not None}

    @property
    def symmetry(self) -> str:
        """The group under which relabelled weights are the same network; "" where a member's cell is not known."""
        names = {each.symmetry for each in self.weights or ()}
        return next(iter(sorted(names)), "")
