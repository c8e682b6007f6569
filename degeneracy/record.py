"""Recording: run an ensemble on common probe trials and hand the measures arrays and plain functions.

Probe trials have their own number and seed, carry no noise and are the same for all members. This is where the
hall joins tasks and networks: what only a network can be asked (kicks, lesions, runs without input) is done here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pydantic
import torch
from torch import Tensor

from degeneracy.analysis.recording import Recording, StepFunction, Variant, Weights
from degeneracy.ensemble import Ensemble
from degeneracy.errors import UserError
from degeneracy.networks import draw_noise, forward, input_drive, read_out
from degeneracy.networks.cells import Cell, Params
from degeneracy.specs import Spec
from degeneracy.streams import Streams
from degeneracy.tangents import tangent_kernel
from degeneracy.tasks import Task, Trials, closed_loop, trial_errors
from degeneracy.training import one_thread


class Probe(Spec):
    """The probe trials and the network probes."""

    n_trials: int = pydantic.Field(64, ge=4, description="trials, common to all members")
    seed: int = pydantic.Field(0, ge=0, description="of the trials, kicks and lesions")
    kick: float = pydantic.Field(
        0.5, gt=0, description="state_kick: size, as a share of the state's rms norm"
    )
    lesion: float = pydantic.Field(0.1, gt=0, lt=1, description="lesion: share of units silenced")


def probe_descriptions(task: Task, probe: Probe) -> dict[str, str]:
    """What each row of behavior was measured on, by variant."""
    return {
        "in_distribution": "fresh trials of the training distribution",
        **{name: variant.description for name, variant in task.variants().items()},
        "state_kick": f"all states pushed once, in mid-trial, in a random direction by {probe.kick:g} of their rms "
        "norm; the trained rule, scored from there on",
        "lesion": f"{probe.lesion:.0%} of the units held at 0, others in every trial; the trained rule",
    }


def record(ensemble: Ensemble, task: Task, probe: Probe) -> Recording:
    """Record the members of an ensemble, and the same members before training where they are known.

    Args:
        ensemble: the members to measure (converged ones: see `Ensemble.converged`).
        task: draws the probe trials; need not be the one trained on.
        probe: how many trials and how strong the network probes are.

    Returns:
        All that measures can ask for; what cannot be had is listed in `missing`.

    Raises:
        UserError: networks with other numbers of inputs or outputs than the task's.
    """
    _check_sizes(ensemble, task)
    with torch.no_grad(), one_thread():
        recorder = _Recorder(ensemble, task, probe)
        if any(not member.initial for member in ensemble.members):
            reason = "the members before training were not given"
            missing = dict.fromkeys(("untrained", "initial_weights"), reason)
            return recorder.record(initial=False, untrained=None, missing=missing)
        untrained = recorder.record(initial=True, untrained=None, missing={})
        if not all(np.isfinite(one).all() for one in untrained.states or ()):
            # Rectified units before training may grow without bound: then they are no reference.
            untrained = replace(untrained, states=None, autonomous_states=None)
        return recorder.record(initial=False, untrained=untrained, missing={})


def _check_sizes(ensemble: Ensemble, task: Task) -> None:
    params = ensemble.params()
    sizes = params["W_in"].shape[-1], params["W_out"].shape[-2]
    if sizes != (task.input_size, task.output_size):
        raise UserError(
            f"the networks have {sizes[0]} inputs and {sizes[1]} outputs, the task '{task.name}' has"
            f" {task.input_size} and {task.output_size}"
        )


class _Recorder:
    """Runs one ensemble on one set of probe trials."""

    def __init__(self, ensemble: Ensemble, task: Task, probe: Probe) -> None:
        self.ensemble, self.task, self.probe = ensemble, task, probe
        self.cell = ensemble.cell
        self.trials = {"in_distribution": self._trials(task.sample)}
        for name, variant in task.variants().items():
            self.trials[name] = self._trials(variant.sample)

    def _trials(self, sample: Any) -> Trials:
        """The same probe trials for all members."""
        trials = sample(Streams([self.probe.seed], "probe"), self.probe.n_trials)
        return Trials(
            **{
                name: value.expand(len(self.ensemble), *value.shape[1:])
                for name, value in vars(trials).items()
            }
        )

    def record(self, *, initial: bool, untrained: Recording | None, missing: Mapping[str, str]) -> Recording:
        params = self.ensemble.params(initial=initial)
        dtype = params["W_rec"].dtype
        inputs = self.trials["in_distribution"].inputs.to(dtype)
        states, outputs = forward(self.cell, params, inputs, {})
        autonomous = self._autonomous(params, states)
        noisy = self._noisy(params) if self._has_noise else None
        reasons = {} if noisy else {"noisy_states": "the networks have no noise of their own"}
        return Recording(
            members=tuple(str(seed) for seed in self.ensemble.seeds),
            states=_per_member(self.cell.hidden(states)),
            autonomous_states=_per_member(self.cell.hidden(autonomous)),
            noisy_states=None if noisy is None else (noisy[0][0], noisy[1][0]),
            noisy_outputs=None if noisy is None else (noisy[0][1], noisy[1][1]),
            weights=member_weights(self.cell, params),
            initial_weights=member_weights(self.cell, self.ensemble.params(initial=True))
            if untrained is not None
            else None,
            behavior=self._behavior(params, states, outputs),
            step=step_function(self.cell, params, _visited(states), _constant_inputs(inputs)),
            tangent_kernel=tangent_kernel(self.cell, params, inputs[0]),
            prediction_times=None if initial else self._prediction_times(params),
            untrained=untrained,
            missing={"prediction_times": "the task has no closed loop", **missing, **reasons},
        )

    def _prediction_times(self, params: Params) -> Any:
        """How long each member stays near the truth on its own outputs, (member, trial); None without such a loop."""
        loop = self.task.closed_loop()
        if loop is None:
            return None
        trials = self._trials(loop.sample)
        inputs, cell = trials.inputs.to(params["W_rec"].dtype), self.cell

        def step(given: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
            [drive] = input_drive(cell, params, given.unsqueeze(2), {})
            state = cell.step(params, state, drive)
            return read_out(params, cell.hidden(state).unsqueeze(0))[:, :, 0], state

        start = inputs.new_zeros(*inputs.shape[:2], cell.states * params["W_rec"].shape[-1])
        outputs = closed_loop(step, inputs, warm_up=loop.warm_up, state=start)
        # The output at the last true input is an ordinary prediction; what follows is made of predictions.
        return _array(loop.judge(outputs[:, :, loop.warm_up :], trials.targets[:, :, loop.warm_up :]))

    @property
    def _has_noise(self) -> bool:
        return self.ensemble.network.sigma_rec > 0 or self.ensemble.network.sigma_in > 0

    def _autonomous(self, params: Params, states: Tensor) -> Tensor:
        """As many steps as a trial without input, from the states in the middle of the probe trials."""
        n_steps = states.shape[2]
        inputs = states.new_zeros(*states.shape[:3], params["W_in"].shape[-1])
        return forward(self.cell, params, inputs, {}, start=states[:, :, n_steps // 2])[0]

    def _noisy(self, params: Params) -> list[tuple[list[Any], dict[str, Any]]]:
        """Two draws with the networks' own noise: the states, and the outputs by variant."""
        draws = []
        for name in ("probe noise 1", "probe noise 2"):
            streams = Streams(self.ensemble.seeds, name)
            outputs: dict[str, Any] = {}
            states: list[Any] = []
            for variant, trials in self.trials.items():
                inputs = trials.inputs.to(params["W_rec"].dtype)
                shape = (inputs.shape[1], inputs.shape[2])
                noise = draw_noise(self.ensemble.network, streams, shape, inputs.shape[3])
                run, out = forward(self.cell, params, inputs, noise)
                outputs[variant] = _array(out)
                if variant == "in_distribution":
                    states = _per_member(self.cell.hidden(run))
            draws.append((states, outputs))
        return draws

    def _behavior(self, params: Params, states: Tensor, outputs: Tensor) -> dict[str, Variant]:
        found = {}
        for name, trials in self.trials.items():
            if name != "in_distribution":
                _, out = forward(self.cell, params, trials.inputs.to(states.dtype), {})
            else:
                out = outputs
            found[name] = _variant(out, trials)
        trials = self.trials["in_distribution"]
        found["state_kick"] = self._kicked(params, trials, states, outputs)
        found["lesion"] = self._lesioned(params, trials, states.dtype)
        return found

    def _kicked(self, params: Params, trials: Trials, states: Tensor, outputs: Tensor) -> Variant:
        """Push all states once at the middle step, in a direction drawn anew for each trial."""
        at = min(states.shape[2] // 2, states.shape[2] - 2)  # one step or more is left
        direction = Streams([self.probe.seed], "kick").normal((states.shape[1], states.shape[3]))
        direction = direction / direction.norm(dim=-1, keepdim=True)
        size = self.probe.kick * states.square().sum(-1).mean((1, 2), keepdim=True).sqrt()
        start = states[:, :, at] + size * direction.to(states.dtype)
        _, later = forward(self.cell, params, trials.inputs[:, :, at + 1 :].to(states.dtype), {}, start=start)
        out = torch.cat([outputs[:, :, : at + 1], later], dim=2)
        after = torch.arange(states.shape[2]) > at
        return _variant(out, trials.replace(scored=trials.scored & after), outputs=False)

    def _lesioned(self, params: Params, trials: Trials, dtype: torch.dtype) -> Variant:
        """Hold the state of some units at 0, in every trial others: no unit's number means anything."""
        n = params["W_rec"].shape[-1]
        n_silent = max(1, round(self.probe.lesion * n))
        rank = Streams([self.probe.seed], "lesion").uniform((trials.n_trials, n))[0].argsort(-1).argsort(-1)
        keep = (rank >= n_silent).to(dtype).repeat(1, self.cell.states)
        drive = input_drive(self.cell, params, trials.inputs.to(dtype), {})
        state = keep.new_zeros(len(self.ensemble), *keep.shape)
        hidden = []
        for step_drive in drive:
            state = keep * self.cell.step(params, state, step_drive)
            hidden.append(self.cell.hidden(state))
        return _variant(read_out(params, torch.stack(hidden)), trials, outputs=False)


def _variant(found: Tensor, trials: Trials, *, outputs: bool = True) -> Variant:
    """Errors, and the outputs unless they are not comparable between members.

    Kicks and lesions are given in each network's own units: two members that differ in nothing but the order of
    their units err equally only on average over trials, and their outputs differ.
    """
    return Variant(
        errors=_array(trial_errors(found, trials)),
        outputs=_array(found) if outputs else None,
        mask=trials.scored[0].numpy(),
    )


def _array(x: Tensor) -> Any:
    return x.numpy().astype(np.float64)


def _per_member(x: Tensor) -> list[Any]:
    return [_array(one) for one in x]


def _visited(states: Tensor) -> Tensor:
    """States of all trials and steps, (member, point, state)."""
    return states.flatten(1, 2)


def _constant_inputs(inputs: Tensor) -> Tensor:
    """No input, and the mean input, (2, in)."""
    mean = inputs[0].flatten(0, 1).mean(0)
    return torch.stack([torch.zeros_like(mean), mean])


def step_function(cell: Cell, params: Params, visited: Tensor, inputs: Tensor) -> StepFunction:
    """The noise-free step of all members as a function of their state, in the dtype it is called with."""

    def step(h: Tensor, x: Tensor) -> Tensor:
        own = {name: value.to(h.dtype) for name, value in params.items()}
        drive = torch.baddbmm(own["bias"].unsqueeze(1), x.to(h.dtype), own["W_in"].mT)
        return cell.step(own, h, drive)

    def select(members: Sequence[int]) -> StepFunction:
        index = torch.tensor(list(members), dtype=torch.long)
        chosen = {name: value[index] for name, value in params.items()}
        return step_function(cell, chosen, visited[index], inputs)

    return StepFunction(step=step, hidden=cell.hidden, select=select, visited=visited, inputs=inputs)


def member_weights(cell: Cell, params: Params) -> list[Weights]:
    """The weights of each member as the measures take them, float64."""
    gates = cell.gates
    biases = torch.stack([params[name] for name in cell.biases], dim=1)  # (member, k, gate * unit)
    n_members, n = params["W_rec"].shape[0], params["W_rec"].shape[-1]
    recurrent = _array(params["W_rec"].reshape(n_members, gates, n, n))
    into = _array(params["W_in"].reshape(n_members, gates, n, -1))
    bias = _array(biases.reshape(n_members, len(cell.biases), gates, n).transpose(1, 2))
    readout = _array(params["W_out"])
    return [
        Weights(
            recurrent=recurrent[k],
            input=into[k],
            bias=bias[k],
            readout=readout[k],
            candidate=cell.candidate,
            symmetry=cell.symmetry,
        )
        for k in range(n_members)
    ]
