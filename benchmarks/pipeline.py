"""Does an expert's tenth of the labels clean the rest, and what classifier comes out?

    python -m benchmarks.pipeline [--seeds 10] [--real-seeds 5] [--parts digits labelme ...]

digits: scikit-learn's 8x8 digits, 1,200 training items in chunks of 100, 597 test items; 10
simulated workers, 10 % of labels missing, the noise of each worker uniform in the noise +- 0.2 (odd
seeds mirror the draw of the even one before, so that no luck is left in the mean), six settings.
Label errors of the majority, streaming BCC and streaming BiLA; after an expert answered a tenth,
chosen by CENT or at random (BCC, answers fed back); test accuracies of an RBF SVM (C = 1, gamma =
scale, standardised) on each. As the paper has it every chunk is settled once; "settled
anew" is our default: all items are settled again whenever the votes have doubled, and at the end.
`independent` are the figures of another program at the same settings and 5 other seeds, known
before this was written; with 5 draws of the workers' noise its means are uncertain by half the
spread given here.

labelme: real workers, 1,000 items with given features, logistic regression. cifar10n: 5,000 items
of real human labels (3 a slot), features are 50 principal components of raw pixels, which carry
little. dnn: the same items as images in chunks of 2,500, a convolutional network on torch (on a GPU
where there is one). All: training on the majority against the pipeline, at equal expert answers
(none, a tenth); `feature-aware` is `NoisyCrowdPipeline.settle` at the end, one-coin workers.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, record, write_json
from benchmarks.truth_sets import cell, find_data, load
from crowdlearn.evaluation import error
from crowdlearn.learning import Expert, NoisyCrowdPipeline, classifier
from crowdlearn.learning.classifiers import Classifier
from crowdlearn.online import stream
from crowdlearn.simulate import bila_bimodal, bila_uniform
from crowdlearn.votes import Votes

CHUNK, N_TRAIN = 100, 1200
SETTINGS = [(pattern, noise) for pattern in ("uniform", "bimodal") for noise in (0.5, 0.6, 0.7)]
NAMES = (
    "majority", "bcc", "bila", "cent", "random", "bcc, settled anew", "cent, settled anew",
    "random, settled anew",
)  # fmt: skip
INDEPENDENT = {
    ("uniform", 0.5): ((4.9, 5.5, 4.7, 0.4, None), (98.2, 98.1, None, 98.2, 98.0)),
    ("uniform", 0.6): ((12.1, 14.3, 12.7, 6.0, None), (97.5, 97.3, None, 97.5, 97.6)),
    ("uniform", 0.7): ((25.9, 31.4, 27.4, 22.0, None), (96.6, 95.1, None, 96.1, 95.5)),
    ("bimodal", 0.5): ((11.8, 5.6, 8.1, 1.1, None), (96.0, 97.7, None, 98.1, 97.8)),
    ("bimodal", 0.6): ((24.0, 18.9, 17.5, 12.4, None), (90.8, 90.3, None, 91.2, 91.5)),
    ("bimodal", 0.7): ((41.7, 50.3, 33.1, 46.3, None), (62.6, 45.1, None, 48.5, 50.9)),
}
RUNS: dict[str, dict[str, Any]] = {
    "majority": {"aggregator": "majority", "budget": 0.0},
    "bcc": {"aggregator": "bcc", "budget": 0.0},
    "bila": {"aggregator": "bila", "budget": 0.0},
    "cent": {"aggregator": "bcc", "budget": 0.1, "strategy": "cent"},
    "random": {"aggregator": "bcc", "budget": 0.1, "strategy": "random"},
    "entropy": {"aggregator": "bcc", "budget": 0.1, "strategy": "entropy"},
    "majority + expert": {"aggregator": "majority", "budget": 0.1, "strategy": "entropy"},
}
ANEW = ", settled anew"
REAL = (
    "majority", "bcc", "bcc, settled anew", "majority + expert", "cent", "cent, settled anew",
    "entropy, settled anew", "random, settled anew",
)  # fmt: skip
DNN = ("majority", "majority + expert", "cent, settled anew", "entropy, settled anew")


def run(
    name: str,
    votes: Votes,
    truth: np.ndarray,
    features: np.ndarray,
    by: Classifier,
    seed: int,
    chunk: int = CHUNK,
) -> tuple[np.ndarray, Any, Any]:
    """Labels and classifier of one pipeline over all items, in the order given."""
    made = dict(RUNS[name.removesuffix(ANEW)])
    method = NoisyCrowdPipeline(
        aggregator=stream(made.pop("aggregator"), seed=seed), classifier=by, seed=seed,
        resettle=name.endswith(ANEW), **made,
    )  # fmt: skip
    names = [str(n) for n in votes.items.to_pylist()]
    expert = Expert({n: votes.classes[k] for n, k in zip(names, truth, strict=True)})
    state = method.init(votes.classes)
    for first in range(0, votes.n_items, chunk):
        keep = np.zeros(votes.n_items, dtype=bool)
        keep[first : first + chunk] = True
        state, _ = method.step(state, votes.only_items(keep), features[keep], expert)
    if method.resettle:
        state = method.finish(state)
    assert expert.n_calls <= method.budget * votes.n_items
    return state.labels(), state.classifier, (method, state)


def digits(pattern: str, noise: float, seed: int) -> dict[str, Any]:
    """One row of the table of the six settings."""
    from sklearn.datasets import load_digits

    data, rng = load_digits(), np.random.default_rng(seed)
    order = rng.permutation(len(data.target))
    x, t = data.data[order], data.target[order]
    place = np.random.default_rng([seed // 2, 1]).uniform(-1, 1, 10)
    each = noise + 0.2 * (place if seed % 2 == 0 else -place)
    make = bila_uniform if pattern == "uniform" else bila_bimodal
    world = make(noise=each, truth=t[:N_TRAIN], n_items=N_TRAIN, seed=seed)
    row: dict[str, Any] = {"pattern": pattern, "noise": noise, "seed": seed}
    for name in NAMES:
        labels, fitted, _ = run(
            name, world.votes, t[:N_TRAIN], x[:N_TRAIN], classifier("svm"), seed
        )
        row[f"{name} error"] = 100 * float((labels != t[:N_TRAIN]).mean())
        row[f"{name} test"] = accuracy(fitted, x[N_TRAIN:], t[N_TRAIN:])
    clean = classifier("svm").fit(x[:N_TRAIN], np.eye(10)[t[:N_TRAIN]])
    return row | {"truth test": accuracy(clean, x[N_TRAIN:], t[N_TRAIN:])}


def real(name: str, seed: int) -> dict[str, Any]:
    """Majority and pipeline on real workers, without and with a tenth by an expert."""
    votes, truth, x, x_test, t_test = SETS[name](seed)
    row: dict[str, Any] = {"set": name, "seed": seed}
    by = image_network(seed) if name == "dnn" else classifier("logistic")
    for which in DNN if name == "dnn" else REAL:
        labels, fitted, (method, state) = run(
            which, votes, truth, x, by, seed, 2500 if name == "dnn" else CHUNK
        )
        row[f"{which} error"] = 100 * float((labels != truth).mean())
        row[f"{which} test"] = accuracy(fitted, x_test, t_test)
        if name != "dnn" and which in ("bcc", "cent, settled anew"):
            fit, name_of = method.settle(state), dict(zip(state.names, truth, strict=True))
            known = np.array([name_of[n] for n in fit.aggregation.votes.items.to_pylist()])
            title = "feature-aware" + (" + expert" if method.budget else "")
            row[f"{title} error"] = 100 * error(fit.aggregation.posterior, known)
            row[f"{title} test"] = accuracy(fit.classifier, x_test, t_test)
    return row


def image_network(seed: int) -> Classifier:
    """Two convolutions over 32 x 32 pixels in three colours."""
    from crowdlearn.learning import NetworkClassifier, convolutional

    return NetworkClassifier(
        body=convolutional(3, 32, 32, 16), max_epochs=10, patience=3, seed=seed, device="auto"
    )


def accuracy(fitted: Any, features: np.ndarray, truth: np.ndarray) -> float:
    return 100 * float((fitted.predict_proba(features).argmax(axis=1) == truth).mean())


def shuffled(votes: Votes, seed: int) -> tuple[Votes, np.ndarray]:
    """The items in random order, and where each came from."""
    order = np.random.default_rng(seed).permutation(votes.n_items)
    new_code = np.argsort(order)
    return Votes.from_codes(
        new_code[votes.item], votes.worker, votes.label,
        items=[str(votes.items[int(i)].as_py()) for i in order],
        workers=votes.workers, classes=votes.classes,
    ), order  # fmt: skip


def folder() -> Path:
    """Where the data sets lie."""
    find_data()
    return Path(os.environ["CROWDLEARN_DATA"])


def labelme(seed: int) -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Votes, truth, features, test features and test truth of LabelMe."""
    votes, truth = load("labelme")
    data = np.load(folder() / "labelme" / "features.npz")
    mixed, order = shuffled(votes, seed)
    rows = [int(name) for name in mixed.items.to_pylist()]
    code = {name: k for k, name in enumerate(votes.classes)}
    test = np.array([code[str(y)] for y in data["y_test"]])
    return mixed, truth[order], data["x_train"][rows], data["x_test"], test


def cifar10n(seed: int) -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """5,000 items of CIFAR-10N and 2,000 others to test on; principal components of pixels."""
    from sklearn.decomposition import PCA

    votes, t_train, x, x_test, t_test = images(seed)
    pca = PCA(50, random_state=seed).fit(x)
    return votes, t_train, pca.transform(x), pca.transform(x_test), t_test


def images(seed: int) -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The same items as pixels."""
    votes, truth = load("cifar10n")
    files = np.load(folder().parent / "images" / "cifar10.npz")
    order = np.random.default_rng(seed).permutation(50_000)
    keep = np.zeros(50_000, dtype=bool)
    keep[order[:5000]] = True
    mixed, _ = shuffled(votes.only_items(keep), seed)
    train = [int(name) for name in mixed.items.to_pylist()]
    at = {int(name): i for i, name in enumerate(votes.items.to_pylist())}
    test = order[5000:7000]
    named = [int(votes.items[int(i)].as_py()) for i in test]
    t_train = truth[[at[n] for n in train]]
    return mixed, t_train, pixels(files, train), pixels(files, named), truth[test]


def pixels(files: Any, which: Sequence[int]) -> np.ndarray:
    """Training images as rows of numbers from 0 to 1, in the order colour, height, width."""
    from PIL import Image

    stream_of, starts = files["train_jpeg"], files["train_offsets"]
    parts = [stream_of[starts[i] : starts[i + 1]].tobytes() for i in which]
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(p))) for p in parts])
    return pictures.transpose(0, 3, 1, 2).reshape(len(parts), -1) / 255.0


SETS = {"labelme": labelme, "cifar10n": cifar10n, "dnn": images}


def markdown(result: dict[str, Any]) -> str:
    """Label errors and test accuracies on digits; then real workers."""
    lines = [
        f"# {result['question']}\n",
        f"*{result['date']}; {result['machine']['cores']} cores of {result['machine']['cpu']}; "
        f"{len(result['seeds'])} seeds on digits, {len(result['real_seeds'])} on real workers; "
        "± is the standard deviation over seeds; all in %.*",
    ]
    for title, part, key in (("Label error, digits", 0, "{} error"),
                             ("Test accuracy of the SVM, digits", 1, "{} test")):  # fmt: skip
        last = "cut by bcc" if part == 0 else "truth"
        lines += [f"\n{title}\n", f"| pattern, noise | {' | '.join(NAMES)} | {last} |",
                  "|---" * (len(NAMES) + 2) + "|"]  # fmt: skip
        for pattern, noise in SETTINGS:
            of = [r for r in result["digits"] if (r["pattern"], r["noise"]) == (pattern, noise)]
            if not of:
                continue
            cells = [cell([r[key.format(n)] for r in of]) for n in NAMES]
            end = [r["truth test"] for r in of]
            if part == 0:
                end = [100 * (1 - r["bcc error"] / r["majority error"]) for r in of]
            lines.append(f"| {pattern} {noise} | {' | '.join(cells)} | {cell(end)} |")
            old = ["" if p is None else f"{p:.1f}" for p in INDEPENDENT[pattern, noise][part]]
            lines.append(f"| *independent* | {' | '.join(old)} |" + " |" * 4)
    names = (*REAL, "feature-aware", "feature-aware + expert")
    lines += ["\nReal workers. Label error, then test accuracy.\n",
              f"| set | | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]  # fmt: skip
    for name in SETS:
        of = [r for r in result["real"] if r["set"] == name]
        for title, key in (("label error", "{} error"), ("test accuracy", "{} test")):
            if of:
                cells = [cell([r[key.format(n)] for r in of if key.format(n) in r]) for n in names]
                lines.append(f"| {name} | {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--real-seeds", type=int, default=5)
    parser.add_argument("--parts", nargs="+", default=["digits", *SETS])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if set(args.parts) & set(SETS):
        find_data()
    result = record(__doc__.strip().splitlines()[0], list(range(args.seeds)))
    result |= {"real_seeds": list(range(args.real_seeds)), "digits": [], "real": []}
    if "digits" in args.parts:
        result["digits"] = [digits(*setting, s) for setting in SETTINGS for s in result["seeds"]]
    for name in SETS:
        if name in args.parts:
            result["real"] += [real(name, seed) for seed in result["real_seeds"]]
    before = RESULTS / "pipeline.json"
    if before.exists() and set(args.parts) != {"digits", *SETS}:  # other parts stay as they were
        kept = json.loads(before.read_text(encoding="utf-8"))
        result["real"] += [r for r in kept["real"] if r["set"] not in args.parts]
        if "digits" not in args.parts:
            result |= {"digits": kept["digits"], "seeds": kept["seeds"]}
    write_json(before, result)
    text = markdown(result)
    (RESULTS / "pipeline.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
