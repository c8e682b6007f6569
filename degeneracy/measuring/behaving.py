"""How networks behave on probe trials: their errors and outputs in each variant of the task, pushed, and lesioned.

Trials are run block by block, so that many of them fit: errors are kept of all, outputs and decisions of the first
`OUTPUT_TRIALS`, states of none. Spreads of errors between networks need thousands of trials, distances between outputs
few.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degeneracy.analysis.recording import Variant
from degeneracy.core.streams import Streams
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.probe import Probe
from degeneracy.networks import Network, draw_noise, dtype_of, forward, input_drive, member_count
from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import Task, Trials, trial_errors, wrong_decisions

BLOCK = 64  # trials run at a time
OUTPUT_TRIALS = 256  # of which outputs are kept: 4,096 trials of 50 networks would be gigabytes
LONG = 4  # of variants longer than so many trained trials, as many fewer trials: they need no more memory


@dataclass(frozen=True, kw_only=True)
class Behaving:
    """An ensemble, and the behavior trials of each variant: (1, trial, ...), common to all members."""

    task: Task
    network: Network | None  # None: not of this package, and without noise of their own
    cell: Cell
    trials: Mapping[str, Trials]
    probe: Probe

    @classmethod
    def of(cls, ensemble: Ensemble, task: Task, probe: Probe) -> "Behaving":
        """Draw the trials."""
        samples: dict[str, Callable[[Streams, int], Trials]] = {"in_distribution": task.sample}
        samples |= {name: variant.sample for name, variant in task.variants().items()}
        n_trials = probe.behavior_trials
        return cls(
            task=task,
            network=ensemble.network,
            cell=ensemble.cell,
            trials={name: draw(Streams([probe.seed], "probe"), n_trials) for name, draw in samples.items()},
            probe=probe,
        )

    def variants(self, params: Params, kick: Tensor) -> dict[str, Variant]:
        """What all members do in every variant, without noise; kicks and lesions need their step.

        Args:
            params: with a leading member axis.
            kick: (member, 1), the size of the push.
        """
        trained = self.trials["in_distribution"]
        middle = _middle(trained)
        after = torch.arange(trained.inputs.shape[2]) > middle
        after = after.view(-1, 1) if trained.scored.ndim == trained.targets.ndim else after
        if not self.cell.stepwise:
            return {name: each.variant() for name, each in self._judged(self.trials, params).items()}
        plain, kicked, lesioned = self._judging(), self._judging(outputs=False), self._judging(outputs=False)
        for block, direction, keep in zip(
            self._blocks(trained, params),
            self._directions(params).split(BLOCK),
            self._kept(params).split(BLOCK),
            strict=True,
        ):
            states, out = forward(self.cell, params, block.inputs, {})
            plain.add(out, block)
            pushed = self._kicked(params, block, middle, (states, out), kick.unsqueeze(-1) * direction)
            kicked.add(pushed, block.replace(scored=block.scored & after))
            lesioned.add(self._lesioned(params, block, keep), block)
        elsewhere = {name: trials for name, trials in self.trials.items() if name != "in_distribution"}
        judged = {"in_distribution": plain, **self._judged(elsewhere, params), "state_kick": kicked, "lesion": lesioned}
        return {name: each.variant() for name, each in judged.items()}

    def references(self, params: Params) -> dict[str, Variant]:
        """What untrained members do: the trials of which outputs are kept, without kicks and lesions."""
        first = {name: trials.select(slice(None), slice(OUTPUT_TRIALS)) for name, trials in self.trials.items()}
        return {name: each.variant() for name, each in self._judged(first, params).items()}

    def _judged(self, trials: Mapping[str, Trials], params: Params) -> dict[str, "_Judging"]:
        """The trials of some variants, as they are."""
        found = {name: self._judging() for name in trials}
        for name, judging in found.items():
            for block in self._blocks(trials[name], params):
                judging.add(forward(self.cell, params, block.inputs, {})[1], block)
        return found

    def _judging(self, *, outputs: bool = True) -> "_Judging":
        return _Judging(task=self.task, outputs=outputs)

    def noisy_outputs(self, params: Params, streams: Streams) -> dict[str, Any]:
        """One draw of the outputs that are kept with the networks' own noise, by variant."""
        assert self.network is not None
        found = {}
        for name, trials in self.trials.items():
            outs = []
            for block in self._blocks(trials.select(slice(None), slice(OUTPUT_TRIALS)), params):
                _, n_trials, n_steps, input_size = block.inputs.shape
                noise = draw_noise(self.network, streams, (n_trials, n_steps), input_size)
                outs.append(forward(self.cell, params, block.inputs, noise)[1])
            found[name] = torch.cat(outs, dim=1).numpy()
        return found

    def _blocks(self, trials: Trials, params: Params) -> Iterator[Trials]:
        """Some trials at a time, with inputs for every member."""
        n, dtype = member_count(params), dtype_of(params)
        n_steps, usual = trials.inputs.shape[2], LONG * self.task.n_steps
        size = BLOCK if n_steps <= usual else max(1, BLOCK * usual // n_steps)
        for first in range(0, trials.n_trials, size):
            block = trials.select(slice(None), slice(first, first + size))
            inputs = block.inputs.to(dtype)
            yield block.replace(inputs=inputs.expand(n, *inputs.shape[1:]))

    def _n_units(self, params: Params) -> int:
        return self.cell.axis_size(params, "unit")

    def _directions(self, params: Params) -> Tensor:
        """Directions in state space of norm 1, another in every trial: (trial, state)."""
        n = self.cell.state_size(self._n_units(params))
        direction = Streams([self.probe.seed], "kick").normal((self.probe.behavior_trials, n))[0]
        return (direction / direction.norm(dim=-1, keepdim=True)).to(dtype_of(params))

    def _kept(self, params: Params) -> Tensor:
        """Which units a lesion leaves, in every trial others, since no unit's number means anything: (trial, N)."""
        n = self._n_units(params)
        n_silent = max(1, round(self.probe.lesion * n))
        drawn = Streams([self.probe.seed], "lesion").uniform((self.probe.behavior_trials, n))[0]
        return (drawn.argsort(-1).argsort(-1) >= n_silent).to(dtype_of(params))

    def _kicked(self, params: Params, trials: Trials, at: int, run: tuple[Tensor, Tensor], push: Tensor) -> Tensor:
        """The outputs where all states are pushed once at a step, (member, trial, state); `run` is without the push."""
        states, outputs = run
        start = states[:, :, at] + push
        _, later = forward(self.cell, params, trials.inputs[:, :, at + 1 :], {}, start=start)
        return torch.cat([outputs[:, :, : at + 1], later], dim=2)

    def _lesioned(self, params: Params, trials: Trials, keep: Tensor) -> Tensor:
        """The outputs where the states of the other units are held at 0."""
        of = self.cell.units(self._n_units(params))
        keep = torch.where(of < 0, 1.0, keep[:, of])
        state = keep.new_zeros(len(trials.inputs), *keep.shape)
        states = []
        for step_drive in input_drive(self.cell, params, trials.inputs, {}):
            state = keep * self.cell.step(params, state, step_drive)
            states.append(state)
        return self.cell.read_out(params, torch.stack(states))


@dataclass(kw_only=True)
class _Judging:
    """One variant's trials, block by block.

    Kicks and lesions are given in each network's own units: two members that differ in nothing but the order of their
    units err equally only on average over trials, and their outputs and decisions differ. So these keep no outputs.
    """

    task: Task
    outputs: bool
    errors: list[NDArray[np.float64]] = field(default_factory=list)
    wrong: list[NDArray[np.float64]] = field(default_factory=list)
    kept: list[Tensor] = field(default_factory=list)
    trials: list[Trials] = field(default_factory=list)  # of which outputs are kept

    def add(self, out: Tensor, trials: Trials) -> None:
        """Some trials, and all members' outputs, (member, trial, time, out)."""
        loss = self.task.loss
        self.errors.append(_floats(trial_errors(loss, out, trials)))
        if loss.decide is not None:
            self.wrong.append(_floats(wrong_decisions(loss, self.task.judged, out, trials)))
        left = OUTPUT_TRIALS - sum(each.n_trials for each in self.trials)
        if left > 0:
            first = trials.select(slice(0, 1), slice(left))
            self.trials.append(first)
            if self.outputs:
                self.kept.append(out[:, : first.n_trials])

    def variant(self) -> Variant:
        """All of them together."""
        out, loss = torch.cat(self.kept, dim=1) if self.outputs else None, self.task.loss
        scored, targets = (
            torch.cat([getattr(each, name)[0] for each in self.trials]) for name in ("scored", "targets")
        )
        return Variant(
            errors=np.concatenate(self.errors, axis=1),
            outputs=None if out is None else out.numpy(),
            mask=scored.numpy(),
            wrong=np.concatenate(self.wrong, axis=1) if self.wrong else None,
            decisions=loss.decide(out).numpy() if loss.decide and out is not None else None,
            called_for=loss.called_for(targets).numpy() if loss.called_for and self.outputs else None,
        )


def _middle(trials: Trials) -> int:
    """The step of the kick, the same in all trials: in the middle of the shortest; one step or more of each is left."""
    n_steps = int(trials.valid.sum(2).min())
    return min(n_steps // 2, n_steps - 2)


def _floats(x: Tensor) -> NDArray[np.float64]:
    return x.numpy().astype(np.float64)
