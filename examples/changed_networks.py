"""Networks of a finished run: taken out, changed, put back as an ensemble of their own, and compared.

Run it with `python examples/changed_networks.py`. It asks whether the solutions that networks found are more alike when
their recurrent weights are cut to a few ranks.
"""

import tempfile

import torch

import degeneracy as dg

STUDY = dg.Study(
    name="changed",
    seeds=range(4),
    task={"name": "flip_flop", "channels": 1},
    network={"hidden_size": 32},
    training={"learning_rate": 0.003, "max_epochs": 40, "batch_size": 64},
    measures=["procrustes"],
)
PROBE, RANK = dg.Probe(n_trials=64), 2


def cut(weights):
    """The nearest weights of so low a rank."""
    left, sizes, right = torch.linalg.svd(weights)
    return left[:, :RANK] * sizes[:RANK] @ right[:RANK]


def changed(ensemble):
    """The same networks, as PyTorch has them, with other recurrent weights."""
    modules = ensemble.to_modules()
    with torch.no_grad():
        for core, _ in modules:
            core.weight_hh_l0.copy_(cut(core.weight_hh_l0))
    return dg.Ensemble.from_modules(modules, initial=ensemble.to_modules(initial=True))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        dg.run_study(STUDY, out=f"{folder}/run", jobs=1, progress=False)
        run = dg.load_run(f"{folder}/run")
        [condition] = run.ensembles
        trained = run.ensembles[condition].converged
    names = ["ood_error_mean", "procrustes", "effective_rank"]
    before, after = (dg.measure(one, trained.task, measures=names, probe=PROBE) for one in (trained, changed(trained)))
    print(f"{trained}, recurrent weights cut to rank {RANK}")
    compared = dg.compare(before, after)
    print(
        compared[["measure", "variant", "value", "other_value", "difference", "ci_low", "ci_high"]].to_string(
            index=False
        )
    )
