"""How networks behave on probe trials: their errors and outputs in each variant of the task, pushed, and lesioned.

Trials are run block by block and a few members at a time, so that many of them fit: errors are kept of all, outputs and
decisions of the first `OUTPUT_TRIALS`, states of none. Spreads of errors between networks need thousands of trials,
distances between outputs few.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from degeneracy.tasks import ClosedLoop, Task, Trials, closed_loop, trial_errors, wrong_decisions

BLOCK = 64  # trials run at a time
# Numbers of states of the members that are run at a time, at most, unless one has more. Of 64 units on 64 trials of 100
# steps that is 5 members, which take less time than 16 at once (tanh: a quarter less, GRU: a fifth), and less than one.
STATES = 2**21
OF_MEMBERS = ("errors", "outputs", "wrong", "decisions")  # the fields of a `Variant` that have a member axis
OUTPUT_TRIALS = 256  # of which outputs are kept: 4,096 trials of 50 networks would be gigabytes
LONG = 4  # of variants longer than so many trained trials, as many fewer trials: they need no more memory


def few_at_a_time(cell: Cell, params: Params, n_points: int) -> Iterator[tuple[slice, Params]]:
    """The parameters of a few members after the other, and which members these are; each runs as it does beside all.

    Args:
        cell: the cell.
        params: parameters with a leading member axis.
        n_points: trials times steps that they are run on.
    """
    n = max(1, STATES // (n_points * max(1, cell.axis_size(params, "unit"))))
    if n >= member_count(params):
        yield slice(None), params
        return
    for first in range(0, member_count(params), n):
        some = slice(first, first + n)
        yield some, {name: value[some] for name, value in params.items()}


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
        if not self.cell.stepwise:
            return self._judged(self.trials, params)
        elsewhere = {name: trials for name, trials in self.trials.items() if name != "in_distribution"}
        there = [self._pushed(few, kick[some]) for some, few in self._few(self.trials["in_distribution"], params)]
        in_distribution, pushed, lesioned = map(_of_all, zip(*there, strict=True))
        others = self._judged(elsewhere, params)
        return {"in_distribution": in_distribution, **others, "state_kick": pushed, "lesion": lesioned}

    def _pushed(self, params: Params, kick: Tensor) -> tuple[Variant, Variant, Variant]:
        """The training distribution as it is, with a push, and with a lesion."""
        trained = self.trials["in_distribution"]
        middle = _middle(trained)
        after = torch.arange(trained.inputs.shape[2]) > middle
        after = after.view(-1, 1) if trained.scored.ndim == trained.targets.ndim else after
        plain, kicked, lesioned = (self._judging(trained, params, outputs=first) for first in (True, False, False))
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
        return plain.variant(), kicked.variant(), lesioned.variant()

    def references(self, params: Params) -> dict[str, Variant]:
        """What untrained members do: the trials of which outputs are kept, without kicks and lesions."""
        first = {name: trials.select(slice(None), slice(OUTPUT_TRIALS)) for name, trials in self.trials.items()}
        return self._judged(first, params)

    def _judged(self, trials: Mapping[str, Trials], params: Params) -> dict[str, Variant]:
        """What all members do on the trials of some variants, as they are."""
        return {
            name: _of_all([self._alone(of, few) for _, few in self._few(of, params)]) for name, of in trials.items()
        }

    def _alone(self, trials: Trials, params: Params) -> Variant:
        judging = self._judging(trials, params)
        for block in self._blocks(trials, params):
            judging.add(forward(self.cell, params, block.inputs, {})[1], block)
        return judging.variant()

    def _few(self, trials: Trials, params: Params) -> Iterator[tuple[slice, Params]]:
        """A few members at a time that are run on a block of trials."""
        return few_at_a_time(self.cell, params, self._block_size(trials) * trials.inputs.shape[2])

    def _judging(self, trials: Trials, params: Params, *, outputs: bool = True) -> "_Judging":
        shape = member_count(params), trials.n_trials
        wrong = None if self.task.loss.decide is None else np.empty(shape)
        return _Judging(task=self.task, outputs=outputs, errors=np.empty(shape), wrong=wrong)

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

    def prediction_times(self, params: Params) -> NDArray[np.float64] | None:
        """How long each member stays near the truth on its own outputs, (member, trial); None without such a loop."""
        loop = self.task.closed_loop()
        if loop is None or not self.cell.stepwise:
            return None
        trials = loop.sample(Streams([self.probe.seed], "probe"), self.probe.behavior_trials)
        few = few_at_a_time(self.cell, params, trials.inputs[0, ..., 0].numel())
        return np.concatenate([self._predicting(loop, each, trials) for _, each in few])

    def _predicting(self, loop: ClosedLoop, params: Params, trials: Trials) -> NDArray[np.float64]:
        cell, n = self.cell, member_count(params)
        inputs, targets = (each.expand(n, *each.shape[1:]) for each in (trials.inputs, trials.targets))
        inputs = inputs.to(dtype_of(params))

        def step(given: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            [drive] = input_drive(cell, params, given.unsqueeze(2), {})
            state = cell.step(params, state, drive)
            return cell.read_out(params, state.unsqueeze(0))[:, :, 0], state

        outputs = closed_loop(step, inputs, warm_up=loop.warm_up, state=cell.state_0(params, inputs))
        # The output at the last true input is an ordinary prediction; what follows is made of predictions.
        times = loop.judge(outputs[:, :, loop.warm_up :], targets[:, :, loop.warm_up :])
        return np.asarray(times.numpy().astype(np.float64))

    def _blocks(self, trials: Trials, params: Params) -> Iterator[Trials]:
        """Some trials at a time, with inputs for every member."""
        n, dtype, size = member_count(params), dtype_of(params), self._block_size(trials)
        for first in range(0, trials.n_trials, size):
            block = trials.select(slice(None), slice(first, first + size))
            inputs = block.inputs.to(dtype)
            yield block.replace(inputs=inputs.expand(n, *inputs.shape[1:]))

    def _n_units(self, params: Params) -> int:
        return self.cell.axis_size(params, "unit")

    def _block_size(self, trials: Trials) -> int:
        n_steps, usual = trials.inputs.shape[2], LONG * self.task.n_steps
        return min(trials.n_trials, BLOCK if n_steps <= usual else max(1, BLOCK * usual // n_steps))

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
        state = keep * self.cell.state_0(params, trials.inputs)
        states = []
        for step_drive in input_drive(self.cell, params, trials.inputs, {}):
            state = keep * self.cell.step(params, state, step_drive)
            states.append(state)
        return self.cell.read_out(params, torch.stack(states))


@dataclass(kw_only=True)
class _Judging:
    """One variant's trials, block by block, into arrays that are there before: what is made in between is then freed
    in one piece.

    Kicks and lesions are given in each network's own units: two members that differ in nothing but the order of their
    units err equally only on average over trials, and their outputs and decisions differ. So these keep no outputs.
    """

    task: Task
    outputs: bool
    errors: NDArray[np.float64]  # (member, trial)
    wrong: NDArray[np.float64] | None  # likewise; None: outputs are no decisions
    n_done: int = 0
    kept: list[Tensor] = field(default_factory=list)
    trials: list[Trials] = field(default_factory=list)  # of which outputs are kept

    def add(self, out: Tensor, trials: Trials) -> None:
        """Some trials, and all members' outputs, (member, trial, time, out)."""
        loss, these = self.task.loss, slice(self.n_done, self.n_done + trials.n_trials)
        self.n_done += trials.n_trials
        self.errors[:, these] = trial_errors(loss, out, trials).numpy()
        if self.wrong is not None:
            self.wrong[:, these] = wrong_decisions(loss, self.task.judged, out, trials).numpy()
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
            errors=self.errors,
            outputs=None if out is None else out.numpy(),
            mask=scored.numpy(),
            wrong=self.wrong,
            decisions=loss.decide(out).numpy() if loss.decide and out is not None else None,
            called_for=loss.called_for(targets).numpy() if loss.called_for and self.outputs else None,
        )


def _middle(trials: Trials) -> int:
    """The step of the kick, the same in all trials: in the middle of the shortest; one step or more of each is left."""
    n_steps = int(trials.valid.sum(2).min())
    return min(n_steps // 2, n_steps - 2)


def _of_all(few: Sequence[Variant]) -> Variant:
    """What all members do, from a few members after the other, on the same trials."""
    parts = {name: [getattr(each, name) for each in few] for name in OF_MEMBERS}
    return replace(few[0], **{name: np.concatenate(each) for name, each in parts.items() if each[0] is not None})
