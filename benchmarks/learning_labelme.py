"""Votes with features: which method finds LabelMe's classes, knows when it is sure, and teaches?

    python -m benchmarks.learning_labelme [--seeds 5]

1,000 images with given features (512 numbers), 59 real workers, 2.5 votes an image, 8 classes;
1,188 other images to test on. Consensus is the share of right labels of the 1,000, AUROC that of
the confidence in telling right labels from wrong ones, test the accuracy of the classifier that
comes out (for methods of votes alone: a logistic regression on their posteriors). Peers (cleanlab's
CROWDLAB, crowd-kit's CrowdLayer and CoNAL) run in `.venv-peers` where that exists, with the same
logistic regression, or the same perceptron as our networks.

Worker models, the power of the classifier (1) and its settings were fixed by reasons given in the
docstrings. All their variants that were looked at with truth are rows of this table.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.pipeline import folder
from benchmarks.truth_sets import cell, load
from crowdlearn.aggregators import aggregator
from crowdlearn.learning import (
    Conal,
    CrowdLayer,
    FeatureAware,
    NetworkClassifier,
    SklearnClassifier,
    classifier,
)
from crowdlearn.votes import Votes

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"


def smooth() -> SklearnClassifier:
    """Logistic regression with ten times the penalty."""
    from sklearn.linear_model import LogisticRegression

    return SklearnClassifier(estimator=LogisticRegression(C=0.1, max_iter=1000))


def network(seed: int) -> NetworkClassifier:
    return NetworkClassifier(seed=seed, dropout=0.5)


def ours(votes: Votes, x: np.ndarray, x_test: np.ndarray, seed: int) -> dict[str, Any]:
    """Probabilities of items and test items, and seconds, by method."""
    made: dict[str, Any] = {}
    for name in ("majority", "dawid-skene", "bcc", "calibrated"):
        started = time.perf_counter()
        tau = aggregator(name, seed=seed).fit(votes).posterior
        said = classifier("logistic").fit(x, tau).predict_proba(x_test)
        made[name] = (tau, said, time.perf_counter() - started)
    for workers in ("one-coin", "per-class", "full"):
        for title, by, retrain in (
            ("logistic", classifier("logistic"), 0.01),
            ("logistic, C = 0.1", smooth(), 0.01),
            ("network", network(seed), 0.01),
            ("network, to 0.002", network(seed), 0.002),
        ):
            started = time.perf_counter()
            method = FeatureAware(workers=workers, classifier=by, retrain_above=retrain, seed=seed)
            fit = method.fit(votes, x)
            said = fit.classifier.predict_proba(x_test)
            took = time.perf_counter() - started
            made[f"feature-aware, {workers}, {title}"] = (fit.aggregation.posterior, said, took)
    for network_method in (CrowdLayer(seed=seed), Conal(seed=seed)):
        started = time.perf_counter()
        fitted = network_method.fit(votes, x)
        pair = fitted.predict_proba(x), fitted.predict_proba(x_test)
        made[network_method.name] = (*pair, time.perf_counter() - started)
    return made


def peers(votes: Votes, x: np.ndarray, x_test: np.ndarray, seed: int) -> dict[str, Any]:
    """The same by the peers; nothing where their environment is not there."""
    if not PEERS.exists():
        return {}
    with tempfile.TemporaryDirectory() as place:
        inner, out = Path(place) / "votes.npz", Path(place) / "out.npz"
        np.savez(inner, item=votes.item, worker=votes.worker, label=votes.label,
                 n_classes=votes.n_classes, features=x, test_features=x_test)  # fmt: skip
        subprocess.run(
            [PEERS, "-m", "benchmarks.peers.run_features", "--votes", inner, "--out", out,
             "--seed", str(seed)], check=True, cwd=Path(__file__).parents[1],
        )  # fmt: skip
        found = dict(np.load(out))
    names = dict.fromkeys(key.rsplit(" ", 1)[0] for key in found)
    return {name: (found[f"{name} items"], found[f"{name} test"], None) for name in names}


def auroc(confidence: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right label is given more confidence than a wrong one."""
    rank = rankdata(confidence)
    n_right, n_wrong = right.sum(), (~right).sum()
    return float((rank[right].sum() - n_right * (n_right + 1) / 2) / (n_right * n_wrong))


def rows_of(seed: int) -> list[dict[str, Any]]:
    votes, truth = load("labelme")
    data = np.load(folder() / "labelme" / "features.npz")
    x = data["x_train"][[int(n) for n in votes.items.to_pylist()]].astype(float)
    x_test = data["x_test"].astype(float)
    code = {name: k for k, name in enumerate(votes.classes)}
    t_test = np.array([code[str(y)] for y in data["y_test"]])
    rng, rows = np.random.default_rng(seed), []
    for name, (tau, said, took) in (
        ours(votes, x, x_test, seed) | peers(votes, x, x_test, seed)
    ).items():
        label = (tau + 1e-9 * rng.random(tau.shape)).argmax(axis=1)  # ties drawn
        right = label == truth
        rows.append({
            "method": name, "seed": seed, "consensus": 100 * float(right.mean()),
            "auroc": auroc(tau.max(axis=1), right), "seconds": took,
            "test": 100 * float((said.argmax(axis=1) == t_test).mean()),
        })  # fmt: skip
    return rows


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; {result['machine']['cores']} cores of {result['machine']['cpu']}; "
        f"seeds {result['seeds']}; ± is the standard deviation over seeds.*\n",
        "| method | consensus, % | AUROC | test, % | seconds |",
        "|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["method"] for row in result["rows"]):
        of = [row for row in result["rows"] if row["method"] == name]
        took = "" if of[0]["seconds"] is None else f"{np.mean([r['seconds'] for r in of]):.1f}"
        cells = [cell([r[k] for r in of], d)
                 for k, d in (("consensus", 1), ("auroc", 3), ("test", 1))]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} | {took} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    folder()
    warnings.simplefilter("ignore")
    result = record(__doc__.strip().splitlines()[0], list(seeds))
    result["rows"] = [row for seed in seeds for row in rows_of(seed)]
    write_json(RESULTS / "learning_labelme.json", result)
    text = markdown(result)
    (RESULTS / "learning_labelme.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
