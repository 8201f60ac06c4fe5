"""Make the picture of the README from the bundled votes.

python docs/make_images.py        writes docs/images/anesthesia.png
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from crowdlearn import aggregator, datasets, plots  # noqa: E402


def main() -> None:
    votes = datasets.load("anesthesia")
    fit = aggregator("bcc-gibbs", seed=0).fit(votes)
    order = fit.worker_accuracy.mean.argsort()[::-1]
    made, axes = plots.figure(10.5, 3.2, 3)
    accuracy = type(fit.worker_accuracy)(
        mean=fit.worker_accuracy.mean[order],
        low=fit.worker_accuracy.low[order],
        high=fit.worker_accuracy.high[order],
    )
    names = [f"worker {votes.workers[int(w)]}" for w in order]
    plots.worker_ranking(axes[0], names, accuracy, float(fit.prior.max()))
    last = int(order[-1])
    title = f"worker {votes.workers[last]}"
    plots.confusion(axes[1], fit.confusion[last], votes.classes, title)
    plots.certainty(axes[2], fit.confidence, votes.n_classes)
    axes[0].set_title("how good each worker is", fontsize=9, pad=14)
    axes[2].set_title("how sure each label is", fontsize=9)
    made.savefig(ROOT / "docs" / "images" / "anesthesia.png", dpi=110)


if __name__ == "__main__":
    main()
