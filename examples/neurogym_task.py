"""A task from neurogym: trained by its cross-entropy on actions, trials of unequal length, measured as any other task.

Run it with `python examples/neurogym_task.py` where neurogym is installed (`pip install neurogym`).
"""

import degeneracy as dg

if __name__ == "__main__":
    task = dg.tasks.from_environment(
        "PerceptualDecisionMakingDelayResponse-v0",
        threshold=0.15,  # of the steps with a choice are wrong; by chance it is half of them
        variants={"noisier": {"sigma": 2.0}},
        held_inputs={"fixation": (1.0, 0.0, 0.0)},
    )
    dg.checks.check_task(task)
    print(f"{task.n_steps} steps at most, {task.input_size} observations, {task.output_size} actions")
    training = dg.Training(learning_rate=0.005, batch_size=32, steps_per_epoch=25, max_epochs=120)
    ensemble = dg.train(task, dg.Network(hidden_size=32, cell="gru"), training, seeds=range(3), progress=False)
    print(ensemble)
    result = dg.measure(ensemble, task, measures=["accuracy", "linear_flow", "procrustes"], probe=dg.Probe(n_trials=32))
    print(result.table[["measure", "variant", "value", "ci_low", "ci_high", "note"]].to_string(index=False))
