"""What every task keeps to."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from degeneracy.analysis.recording import MEAN_INPUT, NO_INPUT
from degeneracy.checks.claim import CheckFailed, require
from degeneracy.core.ambient import ordinary_state
from degeneracy.core.streams import Streams
from degeneracy.tasks import Loss, Task, Trials, task_loss, trial_errors, wrong_decisions


def _data(*seeds: int) -> Streams:
    return Streams(seeds, "data")


def _same(a: Trials, b: Trials) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def _samplers(task: Task) -> dict[str, Callable[[Streams, int], Trials]]:
    return {"sample": task.sample, **{name: variant.sample for name, variant in task.variants().items()}}


def task_form(task: Task) -> None:
    """Shapes, dtypes, masks and labels."""
    trials = task.sample(_data(0, 1), 5)
    of = (2, 5, task.n_steps)
    require(trials.inputs.shape == (*of, task.input_size), "inputs are (member, trial, time, in)")
    require(trials.targets.shape == (*of, task.output_size), "targets are (member, trial, time, out)")
    require(trials.inputs.dtype == trials.targets.dtype == torch.float32, "inputs and targets are float32")
    require(trials.valid.shape == of, "valid is (member, trial, time)")
    for name in ("loss_weights", "scored"):
        fits = getattr(trials, name).shape in (of, (*of, task.output_size))
        require(fits, f"{name} is (member, trial, time) or (member, trial, time, out)")
    require(trials.valid.dtype == trials.scored.dtype == torch.bool, "valid and scored are bool")
    require(trials.inputs.isfinite().all() and trials.targets.isfinite().all(), "all values are finite")
    require((trials.loss_weights >= 0).all(), "loss weights are not negative")
    require((trials.loss_weights[~trials.valid] == 0).all(), "steps that are not valid have loss weight 0")
    require(not (trials.scored_steps & ~trials.valid).any(), "only valid steps are scored")
    require(trials.scored_steps.any(-1).all(), "every trial has a scored step")
    require(len(set(task.input_names)) == task.input_size, "each input has a name of its own")
    require(len(set(task.output_names)) == task.output_size, "each output has a name of its own")
    require(trials.inputs.data_ptr() != trials.targets.data_ptr(), "targets do not share memory with inputs")
    require(trials.inputs.is_contiguous() and trials.targets.is_contiguous(), "arrays are contiguous")


def task_solver(task: Task) -> None:
    """The ideal solver, where one is known, scores what the task says: in loss, on scored steps, and in decisions."""
    trials = task.sample(_data(0, 1), 64)
    outputs = task.solve(trials.inputs)
    if outputs is None:
        return
    by_trial = task_loss(task.loss, *_one_trial_each(outputs, trials))
    _scores(by_trial, task.ideal_loss(), "the ideal solver reaches ideal_loss()")
    errors = trial_errors(task.loss, outputs, trials)
    _scores(errors, task.ideal_error(), "the ideal solver is right on the scored steps as far as ideal_error() says")
    if task.loss.decide is not None:
        wrong = wrong_decisions(task.loss, task.judged, outputs, trials)
        _scores(wrong, task.ideal_wrong(), "the ideal solver decides wrongly as often as ideal_wrong() says")


def _one_trial_each(outputs: torch.Tensor, trials: Trials) -> tuple[torch.Tensor, Trials]:
    """Every trial as that of a member of its own: (member * trial, 1, ...)."""

    def alone(value: torch.Tensor) -> torch.Tensor:
        return value.flatten(0, 1).unsqueeze(1)

    return alone(outputs), trials.each(alone)


def _scores(found: torch.Tensor, ideal: float, claim: str) -> None:
    """What is found of trials is, on average, the ideal: within 5 standard errors of the mean, and float32's rounding.

    1e-8 is that rounding: (1e-7 of a value of 10, added up over 100 steps)^2. A share over n trials of which none is
    wrong bounds the chance by about 5/n.
    """
    values = found.double().flatten()
    slack = 5 * values.std().item() / len(values) ** 0.5 + 1e-8
    if ideal > 0:
        slack += 5 * ideal / len(values)
    require(abs(values.mean().item() - ideal) <= slack, f"{claim} ({ideal:g}, here {values.mean().item():g})")


def task_causal(task: Task) -> None:
    """Later inputs do not change the solver's earlier outputs; all inputs together do."""
    inputs, others = task.sample(_data(0), 32).inputs, task.sample(_data(1), 32).inputs
    if task.solve(inputs) is None:
        return

    def solved(given: torch.Tensor) -> torch.Tensor:
        found = task.solve(given)
        assert found is not None
        return found

    outputs = solved(inputs)
    for t in sorted({1, task.n_steps // 3 or 1, task.n_steps - 1}):
        changed = torch.cat([inputs[:, :, :t], others[:, :, t:]], 2)
        require(torch.equal(solved(changed)[:, :, :t], outputs[:, :, :t]), "the solver is causal")
        require(torch.equal(solved(inputs[:, :, :t]), outputs[:, :, :t]), "the solver runs on part of a trial")
    require(not torch.equal(solved(others), outputs), "the solver's outputs depend on the inputs")


def task_chance(task: Task) -> None:
    """The chance level is what the best constant output scores, and the goal of training lies between."""
    trials = task.sample(_data(2), 4000)
    best = _best_constant(task.loss, trials)
    empirical = task_loss(task.loss, best, trials).item()
    # 4000 trials of at least 2 independent numbers each: 1/sqrt(8000) = 1.1% for one sd, so 3% is nearly 3 of them.
    close = abs(empirical - task.chance_loss()) <= 0.03 * task.chance_loss()
    require(close, f"chance_loss() is what the best constant scores ({task.chance_loss():g}, here {empirical:g})")
    ideal, chance = task.ideal_loss(), task.chance_loss()
    if task.stop == "wrong":
        require(
            task.loss.decide is not None, f"stop = 'wrong' needs decisions, which the loss {task.loss.name} has not"
        )
        ideal = task.ideal_wrong()
        chance = wrong_decisions(task.loss, task.judged, best, trials).mean().item()
    require(ideal < task.goal() < chance, f"the threshold is between ideal ({ideal:g}) and chance ({chance:g})")


def _best_constant(loss: Loss, trials: Trials) -> torch.Tensor:
    """The one output for all steps that costs least, by descent: (member, trial, time, out)."""
    exact = trials.replace(targets=trials.targets.double(), loss_weights=trials.loss_weights.double())
    constant = torch.zeros(trials.targets.shape[-1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([constant], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> torch.Tensor:
        search.zero_grad()
        value = task_loss(loss, constant.expand_as(exact.targets), exact).sum()
        value.backward()
        return value

    with torch.enable_grad():
        search.step(cost)
    return constant.detach().to(trials.targets.dtype).expand_as(trials.targets)


def task_member_streams(task: Task) -> None:
    """A member is its seed: the same trials alone and among others; another seed or draw, other trials."""
    for name, sample in _samplers(task).items():
        together, alone = _data(4, 7, 9), _data(7)
        first, second = sample(together, 6), sample(together, 6)
        for batch in (first, second):
            own = sample(alone, 6)
            for field in vars(own):
                equal = torch.equal(getattr(own, field)[0], getattr(batch, field)[1])
                require(equal, f"{name}: a member's {field} do not depend on its companions")
        require(not torch.equal(first.inputs[0], first.inputs[1]), f"{name}: members have trials of their own")
        require(not torch.equal(first.inputs, second.inputs), f"{name}: each draw is fresh")


def _numpy_state() -> Any:
    return np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002


def task_no_global_randomness(task: Task) -> None:
    """Neither reads nor moves torch's and numpy's global generators."""
    torch_kept, numpy_kept = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    try:
        for name, sample in _samplers(task).items():
            found = []
            for seed in (1, 2):
                torch.manual_seed(seed)
                np.random.seed(seed)  # noqa: NPY002 - the global generator is what is tested
                before = torch.get_rng_state(), _numpy_state()
                found.append(sample(_data(3), 4))
                task.chance_loss()
                require(torch.equal(torch.get_rng_state(), before[0]), f"{name}: leaves torch's global generator")
                require(np.array_equal(_numpy_state(), before[1]), f"{name}: leaves numpy's global generator")
            require(_same(*found), f"{name}: does not read global generators")
    finally:
        torch.set_rng_state(torch_kept)
        np.random.set_state(numpy_kept)  # noqa: NPY002


def task_device(task: Task) -> None:
    """Everything is made on the streams' device: with another default device, a forgotten one shows."""
    samplers = _samplers(task)
    expected = {name: sample(_data(3), 4) for name, sample in samplers.items()}
    try:
        with torch.device("meta"):
            found = {name: sample(_data(3), 4) for name, sample in samplers.items()}
            outputs = task.solve(found["sample"].inputs)
            task.chance_loss()
    except (RuntimeError, NotImplementedError) as error:  # tensors of two devices do not meet
        reason = next(iter(str(error).splitlines()), "")
        raise CheckFailed(f"every tensor is made on the streams' device (device=streams.device): {reason}") from error
    for name, trials in found.items():
        for field in (*vars(trials).values(), *(() if outputs is None else (outputs,))):
            require(field.device == torch.device("cpu"), f"{name}: made on the streams' device")
        require(_same(trials, expected[name]), f"{name}: does not depend on the default device")


def task_variants(task: Task) -> None:
    """Each variant is well formed, says its size, and is not the training distribution."""
    trained = task.sample(_data(5), 200)
    for name, variant in task.variants().items():
        trials = variant.sample(_data(5), 200)
        require(variant.description.strip(), f"{name}: has a description")
        require(trials.inputs.shape[-1] == task.input_size, f"{name}: has the task's inputs")
        require(trials.targets.shape[-1] == task.output_size, f"{name}: has the task's outputs")
        require(trials.scored_steps.any(-1).all(), f"{name}: every trial has a scored step")
        require(trials.inputs.isfinite().all() and trials.targets.isfinite().all(), f"{name}: values are finite")
        alike = trials.inputs.shape == trained.inputs.shape and torch.equal(trials.inputs, trained.inputs)
        require(not alike, f"{name}: differs from the training distribution")


def task_probing(task: Task) -> None:
    """Probe trials are of one length; each constant input has a name and, as each pulse, a number per channel."""
    trials = task.probe(_data(0), 5)
    require(trials.valid.all(), "probe trials are of one length: every step is part of the trial")
    require(trials.inputs.shape[-1] == task.input_size, "probe trials have the task's inputs")
    rest, held = task.rest_input(), task.held_inputs()
    require(held, "there is a constant input to search fixed points under")
    for name, values in {**held, **({} if rest is None else {NO_INPUT: rest})}.items():
        require(len(values) == task.input_size, f"input '{name}' has a number per channel")
        require(np.isfinite(values).all(), f"input '{name}' is finite")
        require(name not in ("", MEAN_INPUT) and "/" not in name, f"input '{name}' has a name of its own, without '/'")
    for values in task.pulses():
        require(len(values) == task.input_size, "each pulse has a number per channel")
        require(np.isfinite(values).all(), "each pulse is finite")
    require(task.pulse_steps >= 1, "a pulse lasts a step or more")
    if NO_INPUT in held:
        require(rest is not None and tuple(rest) == tuple(held[NO_INPUT]), f"input '{NO_INPUT}' is the rest input")


TASK_CLAIMS: dict[str, Callable[[Task], None]] = {
    "form": task_form,
    "solver": task_solver,
    "causal": task_causal,
    "chance": task_chance,
    "member_streams": task_member_streams,
    "no_global_randomness": task_no_global_randomness,
    "device": task_device,
    "variants": task_variants,
    "probing": task_probing,
}


@ordinary_state()
def check_task(task: Task) -> None:
    """All claims of a task.

    Raises:
        CheckFailed: one that does not hold.
    """
    for claim in TASK_CLAIMS.values():
        claim(task)
