"""Do EM, VB, Gibbs, NUTS and SVI agree on one story, and what does each cost?

    python -m benchmarks.bayes [--quick] [--parts anesthesia ess svi]

anesthesia   the votes of Dawid and Skene (1979), beside what they print (`bayes_anesthesia`)
ess          effective samples per CPU second, at 10^4 and 10^5 votes (`bayes_ess`)
svi          minibatch SVI of 10^6 votes of 10 classes beside VB (`bayes_svi`)

Parts that are left out keep what an earlier run measured. `--quick` is a rehearsal of a few minutes
with short chains and small sets, written into build/benchmarks: its figures say little. Calibration
by simulation is in `benchmarks.bayes_sbc`, intervals against truth in `benchmarks.bayes_coverage`.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

from benchmarks import bayes_anesthesia, bayes_ess, bayes_svi
from benchmarks.machine import RESULTS, record, write_json
from benchmarks.sweep_cost import run_json
from benchmarks.synthetic import CACHE

PARTS = ("anesthesia", "ess", "svi")
WORLDS = {
    (10**4, 2): ["gibbs", "engine", "nuts", "discrete", "mixed"],
    (10**4, 10): ["gibbs", "engine", "nuts", "discrete", "mixed"],
    (10**5, 2): ["gibbs", "engine", "nuts", "discrete", "mixed"],
}
"""Votes and classes -> the samplers that are tried."""
QUICK_WORLDS = {(10**4, 2): WORLDS[10**4, 2], (10**4, 10): ["gibbs", "engine"]}
SIZES, QUICK_SIZES = (10**5, 10**6), (10**5,)


def measure(part: str, quick: bool, n_seeds: int) -> Any:
    """The result of one part, as plain values."""
    if part == "anesthesia":
        return bayes_anesthesia.measure(quick)
    if part == "svi":
        sizes = QUICK_SIZES if quick else SIZES
        return [run_json([*_module("bayes_svi"), "--votes", str(n)]) for n in sizes]
    worlds = QUICK_WORLDS if quick else WORLDS
    return [
        bayes_ess.measure(n_votes, n_classes, samplers, n_seeds, quick)
        for (n_votes, n_classes), samplers in worlds.items()
    ]


def markdown(result: dict[str, Any]) -> str:
    """The parts' tables under headings."""
    parts = result["parts"]
    lines = [f"# {result['question']}\n", _where(result)]
    if "anesthesia" in parts:
        lines += ["\n## Five anaesthetists, 45 patients\n", ANESTHESIA, ""]
        lines.append(bayes_anesthesia.markdown(parts["anesthesia"]))
    if "ess" in parts:
        lines += ["\n## Effective samples a CPU second\n", ESS, ""]
        lines.append(bayes_ess.markdown(parts["ess"]))
    if "svi" in parts:
        lines += ["\n## Minibatch SVI beside VB\n", SVI, "", bayes_svi.markdown(parts["svi"])]
    return "\n".join(lines) + "\n"


ANESTHESIA = (
    "One story, Dawid-Skene with flat priors. EM has no prior and gives the paper's numbers. The "
    "others average over parameters, so they differ from it, and by much for the few patients of "
    "grades 3 and 4. Gibbs and NUTS draw from the same posterior and may differ by chance alone; "
    "SVI by NumPyro and by Pyro fit the same family. Every draw's grades are named by the votes."
)
ESS = (
    "BCC on simulated votes, five an item; effective samples of the median diagonal entry of a "
    "confusion matrix, over CPU seconds of warm-up and draws, one chain on one core, without "
    "compilation. `bayes` computes in float32, NumPyro's own samplers ran in float64."
)
SVI = (
    "BCC with the same priors on simulated votes of known truth, one core. A ratio of log losses "
    "below 1 means that SVI is the better: it sums the truths out, where VB takes them as "
    "independent of the parameters."
)


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    used = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    quick = " **A rehearsal: short chains, small sets.**" if result["quick"] else ""
    return (
        f"*{result['date']}; {machine['cores']} cores of {machine['cpu']}, load "
        f"{result['load_at_start']} at the start; {used}.*{quick}"
    )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{name}"]


def _before(path: Path) -> dict[str, Any]:
    """The parts that an earlier run measured."""
    parts: dict[str, Any] = json.loads(path.read_text()).get("parts", {}) if path.exists() else {}
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a rehearsal")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="runs of each sampler")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    folder = CACHE if args.quick else RESULTS
    n_seeds = 1 if args.quick else args.seeds
    result = record(__doc__.strip().splitlines()[0], list(range(n_seeds)))
    parts = _before(folder / "bayes.json")
    for part in args.parts:
        parts[part] = measure(part, args.quick, n_seeds)
    result |= {"quick": args.quick, "parts": parts}
    write_json(folder / "bayes.json", result)
    (folder / "bayes.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
