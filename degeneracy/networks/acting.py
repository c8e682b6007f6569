"""How a cell's parameters act: found by trying, since the step of a user's own cell may do anything with them.

Weight distances take all parameters of a cell for what makes a network. That is true only where each of them acts, and
where a freedom (among biases, of signs) is one that the cell names.
"""

import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.networks.cell import Cell, Params
from degeneracy.networks.network import forward

N_TRIALS, N_STEPS = 3, 12
# Sizes of the parameters that are tried, over 1/sqrt(units): units with a threshold do not move at small ones.
# Several draws of each, since the few rectified units of a small network may all be silent in one.
SIZES = (1.0, 10.0, 100.0) * 3
# Of biases that act through their sum, moving the one against the other leaves rounding, 1e-6, of what moving the one
# alone does; of a GRU's candidate it leaves a half.
SAME = 1e-3


def weights_obstacle(cell: Cell, input_size: int, hidden_size: int) -> str:
    """Why the parameters of a cell are not what acts, in one line; "" where they are.

    Args:
        cell: the cell, with its options.
        input_size, hidden_size: sizes at which it is tried, on random parameters and inputs.

    Returns:
        Names the parameters (of which gate) that no hidden state depends on, or the gates of which `summed_biases` says
        wrongly whether their biases act through their sum alone, or the parameters whose signs make no difference
        though `acting` leaves them. "" too where the states are not finite.
    """
    known = cell.known_obstacle()
    if known is not None:
        return known
    if cell.read_size(hidden_size) != hidden_size:
        return f"the readout of cell '{cell.name}' sees {cell.read_size(hidden_size)} numbers of {hidden_size} units"
    trial = _Trial(cell, input_size, hidden_size)
    if not trial.draw(0):
        return ""
    idle = [
        name if cell.gates == 1 or gate is None else f"{name} of gate {gate}"
        for name, parameter in trial.parameters.items()
        for gate in (range(parameter.sizes[0]) if parameter.gated else (None,))
        if not trial.acts(name, gate)
    ]
    if idle:
        return f"the step of cell '{cell.name}' never uses {', '.join(idle)}"
    for gate in range(cell.gates) if len(cell.biases) > 1 else ():
        found = trial.summed(gate)
        if found != (gate in cell.summed_biases):
            said = "act through their sum alone" if found else "do not act through their sum alone"
            return f"the biases of cell '{cell.name}', gate {gate}, {said}, which its summed_biases does not say"
    unsigned = [name for name in trial.parameters if trial.without_sign(name)]
    if unsigned:
        said = "which its acting() does not take away"
        return f"the step of cell '{cell.name}' makes nothing of the signs of {', '.join(unsigned)}, {said}"
    return ""


class _Trial:
    """A cell at random parameters of several sizes, and what a change of some rows does to its hidden states."""

    def __init__(self, cell: Cell, input_size: int, hidden_size: int) -> None:
        self.cell, self.n = cell, hidden_size
        self.parameters = cell.parameters(input_size, hidden_size)
        self.streams = Streams([0], "acting")
        self.inputs = self.streams.normal((N_TRIALS, N_STEPS, input_size))
        self.sizes = list(reversed(SIZES))
        self.drawn: list[tuple[Params, Tensor]] = []  # parameters, and the states with them

    def draw(self, k: int) -> bool:
        """Draw until there are k + 1 draws with finite states; whether there are."""
        while self.sizes and len(self.drawn) <= k:
            size = self.sizes.pop() / self.n**0.5
            params = {name: size * self.streams.normal(each.shape) for name, each in self.parameters.items()}
            params |= {"W_out": torch.zeros(1, 1, self.n), "b_out": torch.zeros(1, 1)}
            states = self._states(params)
            if states.isfinite().all():
                self.drawn.append((params, states))
        return len(self.drawn) > k

    def _states(self, params: Params) -> Tensor:
        with torch.no_grad():
            return self.cell.hidden(forward(self.cell, params, self.inputs, {})[0])

    def _rows(self, gate: int) -> slice:
        return slice(gate * self.n, (gate + 1) * self.n)

    def acts(self, name: str, gate: int | None) -> bool:
        """Whether the states depend on a parameter (on a gate's rows of it), in any of the draws."""
        k = 0
        while self.draw(k):
            params, states = self.drawn[k]
            changed = params[name].clone()
            changed[:, slice(None) if gate is None else self._rows(gate)] *= -0.5  # another sign and another size
            if not torch.equal(self._states({**params, name: changed}), states):
                return True
            k += 1
        return False

    def summed(self, gate: int) -> bool:
        """Whether a gate's biases act through their sum alone."""
        params, states = self.drawn[0]
        first, *others = self.cell.biases
        for other in others:
            moved = {first: params[first].clone(), other: params[other].clone()}
            change = 0.5 * params[first][:, self._rows(gate)]
            moved[first][:, self._rows(gate)] += change
            alone = (self._states({**params, first: moved[first]}) - states).abs().max()
            moved[other][:, self._rows(gate)] -= change
            against = (self._states({**params, **moved}) - states).abs().max()
            if not against <= SAME * alone:
                return False
        return True

    def without_sign(self, name: str) -> bool:
        """Whether other signs of a parameter leave the states, though it is said to act as it is, in all draws."""
        k = 0
        while self.draw(k):
            params, states = self.drawn[k]
            flipped = {**params, name: -params[name]}
            told = torch.equal(self.cell.acting(flipped)[name], self.cell.acting(params)[name])
            if told or not torch.equal(self._states(flipped), states):
                return False
            k += 1
        return True
