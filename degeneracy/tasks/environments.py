"""Tasks that were made elsewhere, as environments in neurogym's form: trials with observations and right actions.

An environment has `seed(number)`, `new_trial()`, and after it `ob` (time, in) and `gt` (time,) or (time, out), the
observations of one trial and what is right at each step; `action_space.n` says how many actions there are, where they
are discrete. That is all that is asked of it, so that whatever acts like neurogym's `TrialEnv` will do. neurogym itself
is needed for environments that it knows by name alone.
"""

import importlib
import json
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray

from degeneracy.core.errors import UserError
from degeneracy.core.registry import look_up
from degeneracy.core.streams import Streams
from degeneracy.tasks.losses import CROSS_ENTROPY, MSE, Loss
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials

N_SEEN = 512  # trials by which lengths and chance are known
ROOM = 1.25  # times the longest of these is the most steps of a trial; longer ones are drawn again
MOST_DRAWS = 200  # trials drawn per trial that is wanted, before there is said to be none such
Trial = tuple[NDArray[np.float32], NDArray[Any]]  # observations (time, in), what is right (time,) or (time, out)


class EnvironmentTask(Task):
    """The trials of an environment; what is right at each of their steps is to be given as output there.

    Every member has its own trials, seeded by its stream. Trials end at different steps: what follows is no part of
    them. States are recorded on trials of the commonest length. Here stands what environments with discrete actions and
    others have in common; `from_environment` chooses.
    """

    summary: ClassVar[str] = "trials of an environment made elsewhere"
    citation: ClassVar[str] = "the environment's own; form of Molano-Mazon et al. (2022), neurogym"
    difficulty_fields: ClassVar[tuple[str, ...]] = ()
    training_defaults: ClassVar[Mapping[str, Any]] = {}

    environment: str = pydantic.Field(description="a name that neurogym knows, or module:Name of a class or function")
    options: Mapping[str, Any] = pydantic.Field(default_factory=dict, description="what it is made with")
    elsewhere: Mapping[str, Mapping[str, Any]] = pydantic.Field(
        default_factory=dict, description="variants: options that are set otherwise, by the variant's name"
    )
    rest: tuple[float, ...] | None = pydantic.Field(None, description="the input that means rest, where one does")
    held: Mapping[str, tuple[float, ...]] = pydantic.Field(
        default_factory=dict, description="constant inputs by name, under which fixed points are searched"
    )
    n_steps: int = pydantic.Field(0, ge=0, description="the most steps of a trial; 0 for a quarter more than is seen")

    @pydantic.model_validator(mode="after")
    def _seen(self) -> "EnvironmentTask":
        if not self.n_steps:
            object.__setattr__(self, "n_steps", math.ceil(ROOM * max(self._lengths)))
        return self

    @property
    def _key(self) -> tuple[str, str]:
        return self.environment, json.dumps(dict(self.options), sort_keys=True)

    @property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(len(ob) for ob, _ in seen(*self._key))

    @property
    def input_size(self) -> int:
        """Numbers of an observation."""
        return seen(*self._key)[0][0].shape[1]

    def _trials(self, member: int, streams: Streams) -> Iterator[Trial]:
        """A member's trials, one after the other without end."""
        seed = int(streams.select([member]).integers((1,), 0, 2**31 - 1))
        return trials_of(made(*self._key), seed)

    def _drawn(self, streams: Streams, n_trials: int, fits: Callable[[int], bool]) -> list[list[Trial]]:
        """Trials of lengths that fit, of each member."""
        drawn = []
        for member in range(len(streams)):
            kept: list[Trial] = []
            for k, trial in enumerate(self._trials(member, streams)):
                if fits(len(trial[0])):
                    kept.append(trial)
                if len(kept) == n_trials:
                    break
                if k > MOST_DRAWS * n_trials:
                    raise UserError(f"environment '{self.environment}': of {k} trials {len(kept)} fit n_steps")
            drawn.append(kept)
        return drawn

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials, of `n_steps` with what is no part of them."""
        return self._padded(self._drawn(streams, n_trials, lambda n: n <= self.n_steps), self.n_steps, streams)

    def probe(self, streams: Streams, n_trials: int) -> Trials:
        """Trials of the commonest length."""
        lengths = [n for n in self._lengths if n <= self.n_steps]
        common = max(sorted(set(lengths)), key=lengths.count)
        return self._padded(self._drawn(streams, n_trials, lambda n: n == common), common, streams)

    def _padded(self, drawn: Sequence[Sequence[Trial]], n_steps: int, streams: Streams) -> Trials:
        shape = len(drawn), len(drawn[0]), n_steps
        inputs = np.zeros((*shape, self.input_size), np.float32)
        targets = np.zeros((*shape, self.output_size), np.float32)
        valid, scored = np.zeros(shape, bool), np.zeros(shape, bool)
        for k, trials in enumerate(drawn):
            for i, (ob, gt) in enumerate(trials):
                at = k, i, slice(len(ob))
                inputs[at], targets[at], scored[at], valid[at] = ob, self.right(gt), self.judged_steps(gt), True
        arrays = {"inputs": inputs, "targets": targets, "valid": valid, "scored": scored}
        arrays["loss_weights"] = self.weighed(scored) * valid
        return Trials(**{name: torch.from_numpy(value).to(streams.device) for name, value in arrays.items()})

    @abstractmethod
    def right(self, gt: NDArray[Any]) -> NDArray[np.float32]:
        """What is right at each step, as targets (time, out)."""

    @abstractmethod
    def judged_steps(self, gt: NDArray[Any]) -> NDArray[np.bool_]:
        """The steps on which behavior is judged, (time,)."""

    def weighed(self, scored: NDArray[np.bool_]) -> NDArray[np.float32]:
        """How much each step counts in the loss."""
        return np.ones(scored.shape, np.float32)

    def variants(self) -> Mapping[str, Variant]:
        """The environment with other options."""
        found = {}
        for name, options in self.elsewhere.items():
            other = self.replace(options={**self.options, **options}, elsewhere={}, n_steps=0)
            said = ", ".join(f"{key} = {value}" for key, value in options.items())
            found[name] = Variant(description=f"the environment with {said}", sample=other.sample)
        return found

    def rest_input(self) -> tuple[float, ...] | None:
        """What was said to mean rest."""
        return self.rest

    def held_inputs(self) -> Mapping[str, Sequence[float]]:
        """Those that were named, and rest."""
        return {**({} if self.rest is None else {"none": self.rest}), **self.held}

    def _weighed_targets(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Targets and weights of the trials that were seen, one row per step."""
        fitting = [gt for ob, gt in seen(*self._key) if len(ob) <= self.n_steps]
        targets = np.concatenate([self.right(gt) for gt in fitting]).astype(np.float64)
        weights = np.concatenate([self.weighed(self.judged_steps(gt)) for gt in fitting]).astype(np.float64)
        return targets, weights / weights.sum()


class DecisionEnvironment(EnvironmentTask):
    """An environment with discrete actions: outputs are their logits, and cost the cross-entropy of the right one.

    Training stops by the share of wrong actions on the judged steps: where most steps are fixation, the mean loss is
    low before anything is decided.
    """

    name: ClassVar[str] = "decision_environment"
    loss: ClassVar[Loss] = CROSS_ENTROPY
    stop: ClassVar[Literal["loss", "wrong"]] = "wrong"

    fixation: int | None = pydantic.Field(0, description="the action that is not judged; None where all are")
    decision_weight: float = pydantic.Field(
        1.0, gt=0, description="how much a step with a judged action counts in the loss, to 1 of the others"
    )

    @property
    def output_size(self) -> int:
        """How many actions there are."""
        return int(made(*self._key).action_space.n)

    def right(self, gt: NDArray[Any]) -> NDArray[np.float32]:
        """1 at the right action."""
        if gt.min() < 0 or gt.max() >= self.output_size:
            raise UserError(
                f"environment '{self.environment}': right are actions from {gt.min()} to {gt.max()}, and there are"
                f" {self.output_size} from 0 on"
            )
        return np.eye(self.output_size, dtype=np.float32)[gt.astype(np.int64)]

    def judged_steps(self, gt: NDArray[Any]) -> NDArray[np.bool_]:
        """Where another action than fixation is right; all steps of a trial without such."""
        decides = gt != self.fixation if self.fixation is not None else np.ones(len(gt), bool)
        return decides if decides.any() else np.ones(len(gt), bool)

    def weighed(self, scored: NDArray[np.bool_]) -> NDArray[np.float32]:
        """More, or less, where a decision is due."""
        return np.where(scored, self.decision_weight, 1.0).astype(np.float32)

    def chance_loss(self) -> float:
        """The cross-entropy of how often each action is right."""
        targets, weights = self._weighed_targets()
        shares = weights @ targets
        return float(-(shares[shares > 0] * np.log(shares[shares > 0])).sum())


class ContinuousEnvironment(EnvironmentTask):
    """An environment with continuous actions: outputs cost their squared difference from the right ones."""

    name: ClassVar[str] = "continuous_environment"
    loss: ClassVar[Loss] = MSE

    @property
    def output_size(self) -> int:
        """Numbers of an action."""
        return int(np.prod(seen(*self._key)[0][1].shape[1:], dtype=int))

    def right(self, gt: NDArray[Any]) -> NDArray[np.float32]:
        """The right actions themselves."""
        return gt.reshape(len(gt), -1).astype(np.float32)

    def judged_steps(self, gt: NDArray[Any]) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(gt), bool)

    def chance_loss(self) -> float:
        """The variance of the right actions."""
        targets, weights = self._weighed_targets()
        return float((weights @ np.square(targets - weights @ targets)).mean())


@lru_cache(maxsize=32)
def made(environment: str, options: str) -> Any:
    """The environment, one per process: it is seeded anew before it is used.

    Raises:
        UserError: neurogym is not installed or does not know it, or it is not of this form.
    """
    given = json.loads(options)
    if ":" in environment:
        make = look_up("environment", environment, {})
    else:
        try:
            make = importlib.import_module("neurogym").make
        except ImportError:
            raise UserError(
                f"environment '{environment}' is a name that neurogym knows: pip install neurogym, or give module:Name"
            ) from None
        make = _by_name(make, environment)
    try:
        found = make(**given)
    except Exception as error:  # of the environment's own code
        reason = next(iter(str(error).splitlines()), "")
        raise UserError(
            f"environment '{environment}' cannot be made with {given} ({type(error).__name__}: {reason})"
        ) from error
    found = getattr(found, "unwrapped", found)
    lacking = [name for name in ("seed", "new_trial", "action_space") if not hasattr(found, name)]
    if lacking:
        said = ", ".join(lacking)
        raise UserError(f"environment '{environment}' has no {said}; needed is what neurogym's TrialEnv has")
    return found


def _by_name(make: Callable[..., Any], name: str) -> Callable[..., Any]:
    def named(**options: Any) -> Any:
        return make(name, **options)

    return named


def trials_of(environment: Any, seed: int) -> Iterator[Trial]:
    """An environment's trials from a seed on, without end."""
    environment.seed(seed)
    while True:
        environment.new_trial()
        if not all(isinstance(getattr(environment, name, None), np.ndarray) for name in ("ob", "gt")):
            raise UserError(
                f"environment {type(environment).__name__} does not say what is right at each step (`ob` and `gt` after"
                " new_trial), as those of rewards do not"
            )
        ob, gt = np.array(environment.ob, dtype=np.float32), np.array(environment.gt)
        if ob.ndim != 2 or len(gt) != len(ob) or not np.isfinite(ob).all():
            raise UserError(
                f"environment {type(environment).__name__}: needed are finite observations (time, in) and what is right"
                f" at each step, got {ob.shape} and {gt.shape}"
            )
        yield ob, gt


@lru_cache(maxsize=32)
def seen(environment: str, options: str) -> tuple[Trial, ...]:
    """The first trials of seed 0, by which lengths and chance are known."""
    trials = trials_of(made(environment, options), 0)
    return tuple(next(trials) for _ in range(N_SEEN))


def from_environment(
    environment: Any,
    *,
    threshold: float,
    options: Mapping[str, Any] | None = None,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    held_inputs: Mapping[str, Sequence[float]] | None = None,
    rest_input: Sequence[float] | None = None,
    n_steps: int = 0,
    **fields: Any,
) -> EnvironmentTask:
    """A task from an environment in the form of neurogym's `TrialEnv`, to train, measure and study networks on.

    Args:
        environment: a name that neurogym knows ("PerceptualDecisionMaking-v0"), a class or function that makes one, or
            its place as "module:Name"; of an object that gymnasium has made, its name and options are taken.
        threshold: training stops under this share of wrong actions on the judged steps (noise may leave some that none
            gets right), of continuous actions under this squared error.
        options: what the environment is made with, such as {"dt": 20}.
        variants: by name, options that are set otherwise, for behavior out of distribution.
        held_inputs: constant observations by name, under which fixed points are searched.
        rest_input: the observation that means rest, if any does.
        n_steps: the most steps of a trial; longer ones are drawn again. A quarter more than in 512 trials by default.
        **fields: of discrete actions `fixation` and `decision_weight` (see `DecisionEnvironment`).

    Raises:
        UserError: an environment that cannot be made or is of another form.
    """
    name, given = _name_of(environment)
    kinds: dict[bool, type[EnvironmentTask]] = {True: DecisionEnvironment, False: ContinuousEnvironment}
    discrete = hasattr(made(name, json.dumps({**given, **(options or {})}, sort_keys=True)).action_space, "n")
    return kinds[discrete](
        environment=name,
        options={**given, **(options or {})},
        threshold=threshold,
        elsewhere=variants or {},
        held={key: tuple(values) for key, values in (held_inputs or {}).items()},
        rest=None if rest_input is None else tuple(rest_input),
        n_steps=n_steps,
        **fields,
    )


def _name_of(environment: Any) -> tuple[str, dict[str, Any]]:
    """What an environment is found again by, and its options."""
    if isinstance(environment, str):
        return environment, {}
    spec = getattr(environment, "spec", None)
    if spec is not None and hasattr(spec, "id"):
        return spec.id, dict(spec.kwargs)
    if callable(environment) and "<" not in getattr(environment, "__qualname__", "<"):
        return f"{environment.__module__}:{environment.__qualname__}", {}
    raise UserError(
        f"from_environment: got {type(environment).__name__}; needed is a name, or the class or function that makes the"
        " environment, so that every process can make it again"
    )
