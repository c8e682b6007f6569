"""What the measures see of an ensemble: arrays and plain functions, no network and no task.

Members may differ in size, so per-member quantities are sequences of arrays, one a member, in one order
throughout.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from degeneracy.core.numeric import real_array

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one member, with what its cell's symmetry acts on.

    `candidate` is the gate whose rows flip sign with a unit (the candidate of GRU and LSTM; the only gate of a
    tanh cell). `bias` has one or two rows a gate: `bias[gate, k, unit]`. Of the gates in `summed_biases` only the sum
    of the rows acts; it is kept in the first row, with 0 in the others, so that two networks which differ in nothing
    but how it is split are the same weights. All become float64 arrays.
    """

    recurrent: Array  # (gate, post, pre)
    input: Array | None = None  # (gate, post, in)
    bias: Array | None = None  # (gate, k, post)
    readout: Array | None = None  # (out, unit)
    candidate: int = 0
    symmetry: str = "signed_permutation"  # a name in `symmetry.SYMMETRIES`; "" where the cell is not known
    summed_biases: tuple[int, ...] = ()  # gates

    def __post_init__(self) -> None:
        for name, axes in (
            ("recurrent", ("gate", "post", "pre")),
            ("input", ("gate", "post", "in")),
            ("bias", ("gate", "bias", "unit")),
            ("readout", ("out", "unit")),
        ):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, real_array(value, f"{name} weights", axes))
        if self.bias is not None and self.summed_biases:
            bias, gates = self.bias.copy(), list(self.summed_biases)
            total = bias[gates].sum(axis=1)
            bias[gates] = 0.0
            bias[gates, 0] = total
            object.__setattr__(self, "bias", bias)


@dataclass(frozen=True, kw_only=True)
class StepFunction:
    """One time step of all members at once, for searches in state space.

    `step(h, x)` takes h (member, point, state) and x (member, point, in) and returns h after one noise-free step,
    shape (member, point, state); differentiable torch, any float dtype. `hidden(h)` gives the part of the state
    that the readout sees, (member, point, unit) (the state itself except for LSTM, whose state is [h, c]).
    `select(members)` is the step of some members, by position. `faults` says of each member why its step is not to be
    searched, "" where it is; none are known where it is empty.
    """

    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    hidden: Callable[[torch.Tensor], torch.Tensor]
    select: Callable[[Sequence[int]], "StepFunction"]
    visited: torch.Tensor  # (member, point, state): states seen on probe trials, the starts of a search
    inputs: torch.Tensor  # (condition, in): the constant inputs to search under; row 0 is "no input"
    faults: tuple[str, ...] = ()


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
    """The members' behavior on one task variant (the name "in_distribution" for the training distribution)."""

    errors: Array  # (member, trial): the task's loss on the scored steps of each trial
    outputs: Array | None = None  # (member, trial, time, out)
    mask: NDArray[np.bool_] | None = None  # (trial, time): the scored steps, or (trial, time, out): the scored outputs
    wrong: Array | None = None  # (member, trial): share of decisions that are wrong; None: outputs are no decisions
    decisions: NDArray[np.bool_] | None = None  # (member, trial, time, out)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What was recorded of one ensemble on common, noise-free probe trials; None is what was not given."""

    members: tuple[str, ...]  # labels, one a member: seeds, or positions for networks trained elsewhere
    states: Sequence[Array] | None = None  # each (trial, time, unit)
    autonomous_states: Sequence[Array] | None = None  # the same without inputs, from states seen in mid-trial
    noisy_states: tuple[Sequence[Array], Sequence[Array]] | None = None  # two draws with the network's own noise
    weights: Sequence[Weights] | None = None
    initial_weights: Sequence[Weights] | None = None
    behavior: Mapping[str, Variant] = field(default_factory=dict)
    noisy_outputs: tuple[Mapping[str, Array], Mapping[str, Array]] | None = None  # likewise, by variant
    step: StepFunction | None = None
    tangent_kernel: TangentKernel | None = None
    prediction_times: Array | None = None  # (member, trial): how long a closed loop stays near the truth, time units
    untrained: "Recording | None" = None  # the same members before training, in the same order
    missing: Mapping[str, str] = field(default_factory=dict)  # what is absent -> why, in one line

    def __len__(self) -> int:
        return len(self.members)

    @property
    def symmetry(self) -> str:
        """The group under which relabelled weights are the same network; "" where a member's cell is not known."""
        names = {each.symmetry for each in self.weights or ()}
        return next(iter(sorted(names)), "")
