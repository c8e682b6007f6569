"""Recording: run an ensemble on common probe trials and hand the measures arrays and plain functions.

Probe trials have their own number and seed, carry no noise and are the same for all members. This is where
tasks and networks meet for measuring; kicks and lesions are in `behaving.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degeneracy.analysis.lag_grams import LagGrams, pilot
from degeneracy.analysis.recording import MEAN_INPUT, Recording, StepFunction, Weights
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.streams import Streams
from degeneracy.ensembles.ensemble import Ensemble
from degeneracy.measuring.behaving import Behaving, few_at_a_time
from degeneracy.measuring.joining import joined
from degeneracy.measuring.member_weights import member_weights
from degeneracy.measuring.probe import TRIALS_AT_ONCE, Probe
from degeneracy.measuring.tangents import tangent_kernel
from degeneracy.networks import (
    draw_noise,
    dtype_of,
    forward,
    input_drive,
    member_count,
    run_states,
    weights_obstacle,
)
from degeneracy.networks.cell import Cell, Params
from degeneracy.tasks import Task, Trials
from degeneracy.training import one_thread


@ordinary_state()
def record(ensemble: Ensemble, task: Task, probe: Probe, *, n_lags: int = 1, n_input_lags: int = 3) -> Recording:
    """Record the members of an ensemble, and the same members before training where they are known.

    Args:
        ensemble: the members to measure (converged ones: see `Ensemble.converged`).
        task: draws the probe trials; need not be the one trained on.
        probe: how many trials and how strong the network probes are.
        n_lags, n_input_lags: of the sums over the dynamics trials (`lag_grams`), by default those that the measures of
            the table need; with 0 and 0 there are none.

    Returns:
        All that measures can ask for; what cannot be had is listed in `missing`.

    Raises:
        UserError: networks with other numbers of inputs or outputs than the task's.
    """
    _check_sizes(ensemble, task)
    lags = {"n_lags": n_lags, "n_input_lags": n_input_lags}
    with torch.no_grad(), one_thread():
        recorded = {places: _record(part, task, probe, lags) for places, part in ensemble.parts().items()}
    return joined(recorded)


def _record(ensemble: Ensemble, task: Task, probe: Probe, lags: Mapping[str, int]) -> Recording:
    """Record members that run side by side."""
    recorder = _Recorder(ensemble, task, probe, lags)
    if any(not member.initial for member in ensemble.members):
        reason = "the members before training were not given"
        missing = dict.fromkeys(("untrained", "initial_weights"), reason)
        return recorder.record(initial=False, untrained=None, missing=missing)
    untrained = recorder.record(initial=True, untrained=None, missing={})
    if not all(np.isfinite(one).all() for one in untrained.states or ()):
        # Rectified units before training may grow without bound: then they are no reference.
        why = {**untrained.missing, "states": "their states are not finite"}
        untrained = replace(untrained, states=None, autonomous_states=None, lag_grams=None, missing=why)
    return recorder.record(initial=False, untrained=untrained, missing={})


@ordinary_state()
def dynamics_sums(
    ensemble: Ensemble, task: Task, probe: Probe, *, n_lags: int
) -> tuple[list[LagGrams], list[LagGrams]]:
    """The sums over the dynamics trials alone, of each member in each half (`Recording.lag_grams`).

    Raises:
        UserError: as of `record`, or trials with no more steps than lags.
    """
    _check_sizes(ensemble, task)
    with torch.no_grad(), one_thread():
        sums = _Recorder(ensemble, task, probe, {"n_lags": n_lags, "n_input_lags": 0}).lag_grams(ensemble.params())
    if sums is None:
        raise UserError(f"trials of {task.n_steps} steps have none that are {n_lags} apart")
    return sums


def _check_sizes(ensemble: Ensemble, task: Task) -> None:
    for places, part in ensemble.parts().items():
        sizes = tuple(part.cell.axis_size(part.params(), axis) for axis in ("in", "out"))
        if sizes != (task.input_size, task.output_size):
            which = "the networks have" if len(places) == len(ensemble) else f"member {places[0]}'s network has"
            raise UserError(
                f"{which} {sizes[0]} inputs and {sizes[1]} outputs, the task '{task.name}' has"
                f" {task.input_size} and {task.output_size}"
            )


NO_STEP = "no step of the networks is known, they run whole trials alone (from_modules takes step= and readout=)"
NO_STATES = "the networks give outputs alone"


class _Recorder:
    """Runs one ensemble on one set of probe trials."""

    def __init__(self, ensemble: Ensemble, task: Task, probe: Probe, lags: Mapping[str, Any]) -> None:
        self.ensemble, self.task, self.probe, self.lags = ensemble, task, probe, lags
        self.cell = ensemble.cell
        trials = self._trials(task.probe, probe.n_trials)
        if not trials.valid.all():
            raise UserError(
                f"the probe trials of task '{task.name}' end at different steps; its `probe` has to draw trials of one"
                " length"
            )
        self.inputs = trials.inputs
        self.behaving = Behaving.of(ensemble, task, probe)
        self.no_weights = weights_obstacle(self.cell, task.input_size, ensemble.n_units)

    def _trials(self, sample: Any, n_trials: int) -> Trials:
        """The same probe trials for all members."""
        trials = sample(Streams([self.probe.seed], "probe"), n_trials)
        return trials.each(lambda value: value.expand(len(self.ensemble), *value.shape[1:]))

    def record(self, *, initial: bool, untrained: Recording | None, missing: Mapping[str, str]) -> Recording:
        params = self.ensemble.params(initial=initial)
        inputs = self.inputs.to(dtype_of(params))
        states = self._states(params, inputs)
        noisy = self._noisy(params, inputs) if self._has_noise else None
        reasons = {} if noisy else {"noisy_states": "the networks have no noise of their own"}
        if not self.no_weights and not self.cell.between_units:
            reasons["recurrent_weights"] = f"cell '{self.cell.name}' has no weights between units"
        if self.no_weights:
            reasons |= dict.fromkeys(("weights", "initial_weights", "recurrent_weights"), self.no_weights)
        if not self.cell.stepwise:
            reasons |= dict.fromkeys(("step", "autonomous_states", "prediction_times"), NO_STEP)
        if not self.ensemble.n_units:
            reasons |= dict.fromkeys(("states", "lag_grams"), NO_STATES)
        kick = self.probe.kick * states.square().sum(-1).mean((1, 2)).sqrt().unsqueeze(-1)
        return Recording(
            members=tuple(str(seed) for seed in self.ensemble.seeds),
            states=_per_member(self.cell.hidden(states)) if self.ensemble.n_units else None,
            autonomous_states=self._autonomous(params, states),
            noisy_states=None if noisy is None else (noisy[0][0], noisy[1][0]),
            lag_grams=self.lag_grams(params),
            noisy_outputs=None if noisy is None else (noisy[0][1], noisy[1][1]),
            noisy_decisions=None if noisy is None else self._decided(*(outputs for _, outputs in noisy)),
            weights=self._weights(params),
            initial_weights=None if untrained is None else untrained.weights,
            behavior=self.behaving.references(params) if initial else self.behaving.variants(params, kick),
            error_unit=self.task.loss.unit,
            step=self._step(params, states, inputs) if self.cell.stepwise else None,
            tangent_kernel=tangent_kernel(self.cell, params, inputs[0]),
            prediction_times=None if initial else self.behaving.prediction_times(params),
            untrained=untrained,
            missing={**self._lacking(), **missing, **reasons},
        )

    def _step(self, params: Params, states: Tensor, inputs: Tensor) -> StepFunction:
        return step_function(
            self.cell,
            params,
            _visited(states),
            self._held_inputs(inputs),
            decide=self.task.loss.decide,
            pulses=tuple(inputs.new_tensor(values) for values in self.task.pulses()),
            pulse_steps=self.task.pulse_steps,
        )

    def _states(self, params: Params, inputs: Tensor, start: Tensor | None = None) -> Tensor:
        """All of the state without noise, (member, trial, time, state), from `start` (member, trial, state)."""
        n_units = self.cell.axis_size(params, "unit")
        n_members, n_trials, n_steps, _ = inputs.shape
        # Time first in memory, as cells run: the rounding of measures hangs on the order.
        states = inputs.new_empty(n_steps, n_members, n_trials, self.cell.state_size(n_units))
        for some, few in few_at_a_time(self.cell, params, n_trials * n_steps):
            drive = input_drive(self.cell, few, inputs[some], {})
            states[:, some] = run_states(self.cell, few, drive, None if start is None else start[some])
        return states.permute(1, 2, 0, 3)

    def lag_grams(self, params: Params) -> tuple[list[LagGrams], list[LagGrams]] | None:
        """The sums of states and inputs of each member over each half of the dynamics trials, a few at a time.

        None where none are asked for, and where trials have no steps as far apart as they are.
        """
        if not 0 < max(self.lags.values()) < self.inputs.shape[2] or not self.ensemble.n_units:
            return None
        first = next(self._dynamics_inputs(0))
        pilots = [pilot(states, first.numpy()) for states in self._dynamics_states(params, first)]
        n_units = len(pilots[0]["centre"]) - first.shape[-1]
        # All sums are made before anything is run: what is made and freed between them would leave memory in pieces.
        halves = tuple([LagGrams(**each, n_units=n_units, **self.lags) for each in pilots] for _ in range(2))
        for half, sums in enumerate(halves):
            for inputs in self._dynamics_inputs(half):
                for gram, states in zip(sums, self._dynamics_states(params, inputs), strict=True):
                    gram.add(states, inputs.numpy())
        return halves[0], halves[1]

    def _dynamics_inputs(self, half: int) -> Iterator[Tensor]:
        """The inputs of the trials of a half, (trial, time, in), `TRIALS_AT_ONCE` at a time."""
        streams = Streams([self.probe.seed], f"dynamics probe {half + 1}")
        left = (self.probe.n_dynamics_trials + 1 - half) // 2
        while left:
            inputs = self.task.probe(streams, min(left, TRIALS_AT_ONCE)).inputs[0]
            yield inputs
            left -= len(inputs)

    def _dynamics_states(self, params: Params, inputs: Tensor) -> Iterator[Any]:
        """All of the state of each member, (trial, time, state), behind the inputs (trial, time, in)."""
        for _, few in few_at_a_time(self.cell, params, inputs[..., 0].numel()):
            given = inputs.to(dtype_of(few)).expand(member_count(few), *inputs.shape)
            states = run_states(self.cell, few, input_drive(self.cell, few, given, {}))
            states = states if self.cell.stepwise else self.cell.hidden(states)
            yield from states.permute(1, 2, 0, 3).numpy()

    def _weights(self, params: Params) -> list[Weights] | None:
        """What weight measures take; None where it is not what acts."""
        return (
            None if self.no_weights else member_weights(self.cell, params, self.ensemble.recurrent, self.ensemble.units)
        )

    def _lacking(self) -> dict[str, str]:
        """Why what the task may not have is not recorded."""
        reasons = {"prediction_times": "the task has no closed loop"}
        if self.inputs.shape[2] <= max(self.lags.values()):
            reasons["lag_grams"] = f"trials have no steps that are {max(self.lags.values())} apart"
        if self.task.rest_input() is None:
            reasons["autonomous_states"] = f"task '{self.task.name}' has no input that means rest"
        if self.task.loss.decide is None:
            reasons["decisions"] = f"outputs of the task's loss, {self.task.loss.label}, are no decisions"
        return reasons

    def _decided(self, *draws: Mapping[str, Any]) -> Any:
        """The decisions of each draw's outputs, by variant; None where outputs are none."""
        decide = self.task.loss.decide
        if decide is None:
            return None
        return tuple({name: decide(torch.from_numpy(out)).numpy() for name, out in draw.items()} for draw in draws)

    @property
    def _has_noise(self) -> bool:
        network = self.ensemble.network
        return network is not None and (network.sigma_rec > 0 or network.sigma_in > 0)

    def _autonomous(self, params: Params, states: Tensor) -> list[Any] | None:
        """As many steps as a trial under the rest input, from the states in the middle of the probe trials.

        None where the task has no such input.
        """
        rest = self.task.rest_input()
        if rest is None or not self.cell.stepwise:
            return None
        n_steps = states.shape[2]
        inputs = states.new_tensor(rest).expand(*states.shape[:3], -1)
        return _per_member(self.cell.hidden(self._states(params, inputs, states[:, :, n_steps // 2])))

    def _held_inputs(self, inputs: Tensor) -> dict[str, Tensor]:
        """The task's constant inputs by name, and the mean input of the probe trials where there can be none."""
        held = {name: inputs.new_tensor(values) for name, values in self.task.held_inputs().items()}
        return held if self.task.rest_input() is None else held | {MEAN_INPUT: inputs[0].flatten(0, 1).mean(0)}

    def _noisy(self, params: Params, inputs: Tensor) -> list[tuple[list[Any], dict[str, Any]]]:
        """Two draws with the networks' own noise: the states, and the outputs by variant."""
        assert self.ensemble.network is not None
        draws = []
        for name in ("probe noise 1", "probe noise 2"):
            streams = Streams(self.ensemble.seeds, name)
            noise = draw_noise(self.ensemble.network, streams, (*inputs.shape[1:3],), inputs.shape[3])
            states, _ = forward(self.cell, params, inputs, noise)
            outputs = self.behaving.noisy_outputs(params, streams)
            draws.append((_per_member(self.cell.hidden(states)), outputs))
        return draws


def _array(x: Tensor) -> Any:
    return x.numpy().astype(np.float64)


def _per_member(x: Tensor) -> list[Any]:
    return [_array(one) for one in x]


def _visited(states: Tensor) -> Tensor:
    """States of all trials and steps, (member, point, state)."""
    return states.flatten(1, 2)


def step_function(
    cell: Cell, params: Params, visited: Tensor, inputs: Mapping[str, Tensor], **about: Any
) -> StepFunction:
    """The noise-free step of all members as a function of their state, in the dtype it is called with.

    It has a readout where the parameters have one; `about` holds further fields of it, the same for all members.
    """

    as_dtype: dict[torch.dtype, Params] = {}

    def cast(dtype: torch.dtype) -> Params:
        if dtype not in as_dtype:
            as_dtype[dtype] = {name: value.to(dtype) for name, value in params.items()}
        return as_dtype[dtype]

    def step(h: Tensor, x: Tensor) -> Tensor:
        own = cast(h.dtype)
        [drive] = cell.drive(own, x.to(h.dtype).unsqueeze(2))
        return cell.step(own, h, drive)

    def select(members: Sequence[int]) -> StepFunction:
        index = torch.tensor(list(members), dtype=torch.long)
        chosen = {name: value[index] for name, value in params.items()}
        return step_function(cell, chosen, visited[index], inputs, **about)

    def outputs(h: Tensor) -> Tensor:
        return cell.read_out(cast(h.dtype), h.unsqueeze(0))[:, :, 0]

    return StepFunction(
        step=step,
        hidden=cell.hidden,
        select=select,
        visited=visited,
        inputs=inputs,
        faults=tuple(_fault(params, k) for k in range(len(visited))),
        read_out=outputs if cell.readout_parameters(1, 1).keys() <= params.keys() else None,
        **about,
    )


def _fault(params: Params, member: int) -> str:
    """Which parameters of a member's step are not finite, in words; "" where all are."""
    names = [
        name for name, value in params.items() if name not in ("W_out", "b_out") and not value[member].isfinite().all()
    ]
    return f"weights that are not finite: {', '.join(names)}" if names else ""
