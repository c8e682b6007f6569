"""A study result with plausible numbers, made in milliseconds, for tests of what is drawn and written from one."""

import numpy as np
import torch

from degeneracy.analysis.measure import Finding, Measured
from degeneracy.analysis.statistics import by_name
from degeneracy.analysis.statistics.jackknife import constant, member_cv, member_mean, member_sd, pair_mean
from degeneracy.core.streams import Streams
from degeneracy.measuring.results import Examples, MemberSummary, Result
from degeneracy.studies.study_result import StudyResult
from degeneracy.tasks import FlipFlop

LEVELS = {
    "ood_log_error_sd": "behavior",
    "ood_error_cv": "behavior",
    "output_distance": "behavior",
    "linear_flow": "dynamics",
    "procrustes": "dynamics",
    "fixed_points": "dynamics",
    "signed_pif": "weights",
    "weight_change": "learning",
}


def study(n_members: int = 12, channels: tuple[int, ...] = (2, 3, 4)) -> StudyResult:
    """A study of the flip-flop with its number of channels varied; two members of the last condition fail."""
    results = tuple(condition(n_members, c, n_failed=2 if c == channels[-1] and n_members > 5 else 0) for c in channels)
    return StudyResult(
        name="flip-flop channels",
        description="Flip-flop networks with 2 to 4 channels.",
        results=results,
        provenance={"degeneracy": "0.1.0", "torch": "2.13.0", "device": "cpu", "wall_time_s": 812.4},
    )


def condition(n_members: int = 12, channels: int = 3, n_failed: int = 0) -> Result:
    """One condition with all kinds of findings: with and without floor, reference, interval, distances."""
    rng = np.random.default_rng(channels)
    labels = tuple(str(k) for k in range(n_members))
    converged = labels[: n_members - n_failed]
    n = len(converged)
    task = FlipFlop(channels=channels, n_steps=50)
    return Result(
        condition=f"condition_{channels}",
        factors={"task.channels": channels},
        spec={
            "task": {"name": "flip_flop", **task.model_dump(mode="json")},
            "loss": {"label": "mean squared error", "unit": "squared output unit"},
            "stop": {"by": "loss", "under": task.threshold},
            "network": {"name": "tanh", "hidden_size": 24},
            "variants": {"length_2x": "100 steps instead of 50; the same rule throughout"},
            "training": {"learning_rate": 0.001, "batch_size": 64},
        },
        members=tuple(_member(rng, label, channels, failed=label not in converged) for label in labels),
        measured_members=converged,
        levels=LEVELS | {"pif": "weights"},
        measured=_measured(rng, n, channels),
        missing={"pif": "needs weights, which were not given"},
        examples=_examples(rng, task, converged[:3]),
        provenance={"seeds": f"0-{n_members - 1}", "numeric_path": "manual"},
    )


def _member(rng: np.random.Generator, label: str, channels: int, *, failed: bool) -> MemberSummary:
    n_epochs = 30 if failed else int(12 + 3 * channels + rng.integers(-2, 3))
    epochs = np.arange(1, n_epochs + 1)
    loss = 0.8 * np.exp(-epochs * (0.05 if failed else 7.0 / n_epochs)) * np.exp(0.08 * rng.normal(size=n_epochs))
    return MemberSummary(
        label=label,
        status="not converged" if failed else "converged",
        n_updates=64 * n_epochs,
        seconds=3.1 * n_epochs,
        epoch_loss=loss,
        learning_rate=np.full(n_epochs, 1e-3),
        steps_per_epoch=64,
    )


def _points(rng: np.random.Generator, n: int, scale: float, n_groups: int = 1, dimension: int = 6) -> np.ndarray:
    """Distances between n points in one or two clouds."""
    x = rng.normal(size=(n, dimension))
    x[:, 0] += 30.0 * (np.arange(n) % n_groups)
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    return scale * d / max(d.mean(), 1e-9)


def _pairwise(variant: str, d: np.ndarray, floor: float | None, reference: float | None, unit: str = "") -> Finding:
    n = len(d)
    jitter = 0.02 * np.cos(np.arange(n))  # members differ a little, in no random way
    return Finding(
        variant=variant,
        value=pair_mean(d),
        statistic="pair_mean",
        of=variant,
        floor=None if floor is None else member_mean(floor * (1 + jitter)),
        reference=None if reference is None else member_mean(reference * (1 + jitter)),
        unit=unit,
    )


def _measured(rng: np.random.Generator, n: int, channels: int) -> dict[str, Measured]:
    variants = ("in_distribution", "length_2x", "input_noise", "amplitude", "state_kick", "lesion")
    errors = {v: np.exp(rng.normal(-6.5 + k, 0.3 + 0.1 * k, n)) for k, v in enumerate(variants)}
    driven = _points(rng, n, 0.6 + 0.05 * channels, n_groups=2 if channels == 3 else 1)
    autonomous = _points(rng, n, 0.8)
    shape, wiring, outputs = _points(rng, n, 0.9), _points(rng, n, 7.0), _points(rng, n, 0.05)
    change = rng.normal(4 + channels, 0.3, n)
    return {
        "ood_log_error_sd": Measured(
            findings=tuple(
                Finding(
                    variant=v,
                    value=member_sd(np.log(e)),
                    floor=constant(0.05, n),
                    scale="log",
                    unit="natural-log units",
                    statistic="sd_of_logarithms",
                    of=f"errors/{v}",
                )
                for v, e in errors.items()
            ),
            arrays={f"errors/{v}": e for v, e in errors.items()},
        ),
        "ood_error_cv": Measured(findings=tuple(Finding(variant=v, value=member_cv(e)) for v, e in errors.items())),
        "output_distance": Measured(
            findings=(_pairwise("length_2x", outputs, 0.01, 0.7, "output unit"),),
            distances={"length_2x": outputs},
        ),
        "linear_flow": Measured(
            findings=(
                _pairwise("driven", driven, 0.12, 1.3, "rad"),
                _pairwise("autonomous", autonomous, 0.1, 0.85, "rad"),
            ),
            distances={"driven": driven, "autonomous": autonomous},
        ),
        "procrustes": Measured(findings=(_pairwise("driven", shape, 0.0, 1.0, "rad"),), distances={"driven": shape}),
        "fixed_points": _fixed_points(rng, n, channels),
        "signed_pif": Measured(findings=(_pairwise("recurrent", wiring, 0.3, 8.1),), distances={"recurrent": wiring}),
        "weight_change": Measured(
            findings=(by_name.finding("absolute", "mean", change, of="absolute"),), arrays={"absolute": change}
        ),
    }


def _fixed_points(rng: np.random.Generator, n: int, channels: int) -> Measured:
    """The corners, edges and centre of a cube, as in trained flip-flops: index = number of undecided channels."""
    corners = np.stack(np.meshgrid(*[(-1.0, 0.0, 1.0)] * channels, indexing="ij"), -1).reshape(-1, channels)
    index = (corners == 0).sum(-1)
    position = np.concatenate([np.tanh(1.2 * corners @ _mixing(channels, k)) for k in range(n)])
    counts = np.full(n, float((index == 0).sum()))
    census = _points(rng, n, 1.0) > 1.1
    return Measured(
        findings=(
            Finding(variant="n_stable", value=member_mean(counts)),
            _pairwise("census_distance", census.astype(float), 0.0, None),
        ),
        distances={"census_distance": census.astype(float)},
        arrays={
            "position": position,
            "speed": np.full(len(position), 1e-13),
            "index": np.tile(index, n).astype(float),
            "member": np.repeat(np.arange(n), len(corners)).astype(float),
        },
    )


def _mixing(channels: int, member: int) -> np.ndarray:
    return np.random.default_rng(100 * channels + member).normal(size=(channels, 24)) / np.sqrt(channels)


def _examples(rng: np.random.Generator, task: FlipFlop, members: tuple[str, ...]) -> Examples:
    trials = task.sample(Streams((0,), "probe"), 4)
    inputs, targets = trials.inputs[0].double().numpy(), trials.targets[0].double().numpy()
    outputs = np.stack([targets * 0.97 + 0.06 * rng.normal(size=targets.shape) for _ in members])
    states = np.stack([np.tanh(1.2 * out @ _mixing(task.channels, k)) for k, out in enumerate(outputs)])
    scored = trials.scored[0].numpy() & (torch.arange(task.n_steps) >= 3).numpy()
    return Examples(inputs=inputs, targets=targets, scored=scored, outputs=outputs, states=states, members=members)
