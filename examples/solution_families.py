"""How networks hold a cue: which attractors they have, what leads from which to which, how many families they form.

Small networks and a short delay, so that it takes seconds; the task's own delay of 100 ms is `DelayedCue()`.
"""

import degeneracy as dg


def main():
    """Train a few networks, print which cue leads from which attractor to which, and the families of solutions."""
    task = dg.tasks.DelayedCue(delay_steps=10)
    network = dg.Network(hidden_size=32, cell="leaky_tanh", cell_options={"dt_ms": 5, "tau_ms": 10})
    training = dg.Training(learning_rate=5e-3, batch_size=16, steps_per_epoch=25, max_epochs=100)
    ensemble = dg.train(task, network, training, seeds=range(6))
    measures = ["fixed_point_graph", "linear_flow"]
    options = {"fixed_point_graph": {"n_starts": 16}, "linear_flow": {"rank": 10}}
    probe = dg.Probe(n_trials=16, n_dynamics_trials=256)
    result = dg.measure(ensemble, task, measures=measures, options=options, probe=probe)
    print(result.transitions.to_string(index=False))  # "(+0 00 0+ 00)" is a cycle on which either cue is answered
    print(result.table[["measure", "variant", "value", "floor"]].to_string(index=False))
    families = dg.solution_families(result)
    print(
        f"{families.n_families} families: {dict(zip(result.measured_members, families.labels.tolist(), strict=True))}"
    )


if __name__ == "__main__":
    main()
