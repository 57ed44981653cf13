"""A search for the learning rate and the batch size with Optuna, around `netdsl train --set`.

    python sweep.py FILE.net [--trials N] [--out FOLDER]

Bad trials are pruned by their validation error after each epoch. The trials are in FOLDER/sweep.db: the same line
continues a sweep that was interrupted, and several processes can share it. SQLite does not work on network file
systems; for many nodes, give Optuna the address of a database server. Needs `pip install optuna netdsl`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import optuna

FIGURE = "validation_error"


def objective(trial: optuna.Trial, file: str, folder: Path) -> float:
    """Train once, and return the best validation error of an epoch. Raises TrialPruned."""
    settings = {
        "lr": trial.suggest_float("lr", 1e-3, 1e-1, log=True),
        "batch": trial.suggest_categorical("batch", [32, 64, 128]),
    }
    line = [sys.executable, "-m", "netdsl", "train", file, "--out", str(folder / f"trial-{trial.number}")]
    line += ["--log-format", "json", "--quiet"]
    for name, value in settings.items():
        line += ["--set", f"train.{name}={value}"]
    best = float("inf")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        for text in training.stdout:
            record = json.loads(text)
            if record.get("event") != "epoch":
                continue
            best = min(best, record[FIGURE])
            trial.report(record[FIGURE], int(record["epoch"]))
            if trial.should_prune():
                training.terminate()
                raise optuna.TrialPruned
    if training.returncode:
        raise RuntimeError(f"the training ended with exit code {training.returncode}")
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--trials", type=int, default=20, help="number of finished trials to reach")
    parser.add_argument("--out", type=Path, default=Path("sweep"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name="sweep",
        storage=f"sqlite:///{options.out / 'sweep.db'}",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    finished = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    if len(study.get_trials(states=finished)) < options.trials:
        study.optimize(
            lambda trial: objective(trial, options.file, options.out),
            callbacks=[optuna.study.MaxTrialsCallback(options.trials, states=finished)],
        )
    print(f"best of {len(study.get_trials(states=finished))}: {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
