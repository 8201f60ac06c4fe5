"""What do CROWDLAB and crowd-kit networks answer on votes with features? In the peers' environment.

    .venv-peers/bin/python -m benchmarks.peers.run_features --votes V.npz --out O.npz --seed 0

V has item, worker, label (codes), n_classes, features, test_features. O gets, for every method, the
probabilities of the items (`NAME items`) and of the test items (`NAME test`). CROWDLAB: cleanlab's
`get_label_quality_multiannotator` with out-of-fold probabilities (5 folds) of a logistic regression
(penalty 1, and 10 as in one of our rows) trained on the majority; "twice" trains it on the first
consensus and runs again; the classifier of the test items is trained on the consensus. The networks
of crowd-kit: one hidden layer of 128, dropout 0.5, Adam at 1e-3, batches of 64 votes, 50 epochs.
"""

from __future__ import annotations

import argparse
import sys
import types
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from cleanlab.multiannotator import get_label_quality_multiannotator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

# crowdkit.learning imports transformers for text summaries alone, which are not used here.
sys.modules["transformers"] = types.ModuleType("transformers")
sys.modules["transformers"].PreTrainedModel = object  # type: ignore[attr-defined]
sys.modules["transformers"].PreTrainedTokenizer = object  # type: ignore[attr-defined]
from crowdkit.learning import CoNAL, CrowdLayer  # noqa: E402


def crowdlab(
    data: Any, seed: int, rounds: int, penalty: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Consensus of cleanlab's CROWDLAB; the quality of an item is what its label is given."""
    n_items, n_classes = len(data["features"]), int(data["n_classes"])
    table = np.full((n_items, data["worker"].max() + 1), np.nan)
    table[data["item"], data["worker"]] = data["label"]
    counts = np.zeros((n_items, n_classes))
    np.add.at(counts, (data["item"], data["label"]), 1)
    consensus = counts.argmax(axis=1)
    model = LogisticRegression(C=1 / penalty, max_iter=1000)
    for _ in range(rounds):
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        said = cross_val_predict(
            model, data["features"], consensus, cv=folds, method="predict_proba"
        )
        found = get_label_quality_multiannotator(pd.DataFrame(table), said, verbose=False)
        of = found["label_quality"]
        consensus = of["consensus_label"].to_numpy().astype(int)
    quality = of["consensus_quality_score"].to_numpy()
    items = np.tile(((1 - quality) / (n_classes - 1))[:, None], (1, n_classes))
    items[np.arange(n_items), consensus] = quality
    fitted = model.fit(data["features"], consensus)
    test = np.zeros((len(data["test_features"]), n_classes))
    test[:, fitted.classes_] = fitted.predict_proba(data["test_features"])
    return items, test


def network(data: Any, seed: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """crowd-kit's layer on a perceptron."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    scale = np.where(data["features"].std(axis=0) > 0, data["features"].std(axis=0), 1)
    x, x_test = (
        torch.as_tensor((data[k] - data["features"].mean(axis=0)) / scale, dtype=torch.float32)
        for k in ("features", "test_features")
    )
    n_classes, n_workers = int(data["n_classes"]), int(data["worker"].max() + 1)
    body = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 128), torch.nn.ReLU(), torch.nn.Dropout(0.5),
        torch.nn.Linear(128, n_classes),
    )  # fmt: skip
    head = CrowdLayer(n_classes, n_workers) if name == "CrowdLayer" else CoNAL(n_classes, n_workers)
    item, worker, label = (torch.as_tensor(data[k].astype(np.int64))
                           for k in ("item", "worker", "label"))  # fmt: skip
    if name == "CoNAL":  # its lazy layer gets its size from a first pass
        head(x[item[:2]], body(x[item[:2]]), worker[:2])
    adam = torch.optim.Adam([*body.parameters(), *head.parameters()], lr=1e-3)
    for _ in range(50):
        for rows in torch.split(torch.as_tensor(rng.permutation(len(item))), 64):
            logits = body(x[item[rows]])
            if name == "CrowdLayer":
                said = head(logits, worker[rows])
            else:
                said = head(x[item[rows]], logits, worker[rows])
            loss = torch.nn.functional.cross_entropy(said, label[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
    body.eval()
    with torch.no_grad():
        return tuple(torch.softmax(body(part), dim=1).numpy() for part in (x, x_test))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    data = dict(np.load(args.votes))
    found = {
        "CROWDLAB, once": crowdlab(data, args.seed, 1),
        "CROWDLAB, twice": crowdlab(data, args.seed, 2),
        "CROWDLAB, twice, C = 0.1": crowdlab(data, args.seed, 2, penalty=10.0),
        "crowd-kit CrowdLayer": network(data, args.seed, "CrowdLayer"),
        "crowd-kit CoNAL": network(data, args.seed, "CoNAL"),
    }
    np.savez(args.out, **{f"{k} {part}": v for k, pair in found.items()
                          for part, v in zip(("items", "test"), pair, strict=True)})  # fmt: skip


if __name__ == "__main__":
    main()
