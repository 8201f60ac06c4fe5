"""Is it as quick and as small as it should be? Asks all questions of speed, one after another.

    python -m benchmarks.speed [--only startup ess] [--small] [--report]

    startup  import and help text              benchmarks.startup
    sweeps   a sweep beside crowd-kit's        benchmarks.speed_sweeps
    chains   chains side by side               benchmarks.speed_chains
    ess      effective samples beside NUTS's   benchmarks.speed_ess
    scale    10^8 votes                        benchmarks.scale_1e8
    gpu      where JAX sees one                benchmarks.speed_gpu

Each writes results/<its name>.json; results/speed.md puts them beside their bars. Run it on a quiet
machine: everything at full size takes about an hour, most of it crowd-kit's and the 10^8 votes.
`--small` rehearses at sizes that say nothing, into build/benchmarks; `--report` only rewrites the
table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.machine import RESULTS, ROOT
from benchmarks.speed_gpu import SAME
from benchmarks.speed_sweeps import AT_LEAST, BARS

REHEARSAL = ROOT / "build" / "benchmarks" / "rehearsal"
Result = dict[str, Any]


class Line(NamedTuple):
    """One row of the table; `bar` is None where there is none."""

    what: str
    found: float
    unit: str
    bar: float | None = None
    at_least: bool = False

    def shown(self) -> str:
        if self.bar is None:
            return f"| {self.what} | {self.found:,.3g} {self.unit} | - | - |"
        met = self.found >= self.bar if self.at_least else self.found <= self.bar
        bar = f"{'at least' if self.at_least else 'at most'} {self.bar:,.3g}"
        verdict = "yes" if met else "**no**"
        return f"| {self.what} | {self.found:,.3g} {self.unit} | {bar} | {verdict} |"


class Question(NamedTuple):
    """A benchmark: its module (and result file), arguments of a rehearsal, and its lines."""

    module: str
    small: list[str]
    lines: Callable[[Result], Iterator[Line]]


def startup_lines(result: Result) -> Iterator[Line]:
    for name, row in result["commands"].items():
        yield Line(f"`{name}`", row["seconds"], "CPU s", row.get("bar"))


def sweeps_lines(result: Result) -> Iterator[Line]:
    for size in result["sizes"]:
        for name, of in size["costs"].items():
            what = f"{name}, {size['votes']:,} votes, a sweep"
            yield Line(what, 1e3 * of["cpu_seconds"], "ms CPU")
            yield Line(what, 1e3 * of["wall_seconds"], "ms wall")
            if of["extra_mib"] is not None:
                yield Line(
                    what.removesuffix(", a sweep") + ", extra memory", of["extra_mib"], "MiB"
                )
        for name, value in size["ratios"].items():
            bar = BARS[name].get(size["votes"])
            unit = "MiB" if name == "extra MiB" else "x"
            yield Line(f"{name}, {size['votes']:,} votes", value, unit, bar, name in AT_LEAST)


def chains_lines(result: Result) -> Iterator[Line]:
    yield Line("4 Gibbs chains, 2 threads to 1", result["speed_up"], "x")


def ess_lines(result: Result) -> Iterator[Line]:
    for of in result["sets"]:
        what = f"{of['votes']:,} votes, {of['classes']} classes"
        for name, rate in of["ess_per_second"].items():
            yield Line(f"{name}, {what}, effective samples", rate["mean"], "a CPU s")
        yield Line(f"Gibbs / NUTS, {what}", of["ratio"], "x", of["bar"], True)
        yield Line(f"Gibbs / NUTS, {what}, draws alone", of["ratio_of_draws"], "x")


def scale_lines(result: Result) -> Iterator[Line]:
    what = f"{result['votes']:,} votes"
    yield Line(f"{what}, peak memory", result["peak_mib"], "MiB", result["bar_mib"])
    yield Line(f"{what}, reading", result["read_seconds"], "s wall")
    yield Line(f"{what}, a Dawid-Skene sweep", result["sweep_wall_seconds"], "s wall")
    yield Line(f"{what}, {result['sweeps']} sweeps and result", result["fit_seconds"], "s wall")


def gpu_lines(result: Result) -> Iterator[Line]:
    for size in result["sizes"]:
        for name, walls in size["sweep_wall_seconds"].items():
            for device, seconds in walls.items():
                yield Line(f"{name} on {device}, {size['votes']:,} votes", 1e3 * seconds, "ms wall")
        what = f"largest difference of posteriors, {size['votes']:,} votes"
        yield Line(what, size["largest_difference"], "", SAME)


QUESTIONS = {
    "startup": Question("startup", [], startup_lines),
    "sweeps": Question("speed_sweeps", ["--sizes", "100000", "--rounds", "1"], sweeps_lines),
    "chains": Question("speed_chains", ["--votes", "100000", "--rounds", "1"], chains_lines),
    "ess": Question("speed_ess", ["--votes", "2000", "--classes", "2", "--seeds", "1"], ess_lines),
    "scale": Question("scale_1e8", ["--votes", "1000000", "--sweeps", "3"], scale_lines),
    "gpu": Question("speed_gpu", ["--sizes", "100000"], gpu_lines),
}


def markdown(results: Path) -> str:
    """Every result that is there, beside its bar."""
    parts = ["# Speed and memory\n"]
    for name, question in QUESTIONS.items():
        path = results / f"{question.module}.json"
        if not path.exists():
            parts.append(f"## {name}\n\nNot measured.\n")
            continue
        result = json.loads(path.read_text())
        machine = result["machine"]
        parts += [
            f"## {name}: {result['question']}\n",
            f"`python -m benchmarks.{question.module}`, {result['date']}; {machine['cores']} cores "
            f"of {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}, load "
            f"{result['load_at_start']} at the start.\n",
            "| what | found | bar | met |\n|---|---|---|---|",
            *(line.shown() for line in question.lines(result)),
            "",
        ]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--small", action="store_true", help="rehearse at tiny sizes")
    parser.add_argument("--report", action="store_true", help="rewrite the table, run nothing")
    args = parser.parse_args()
    results = REHEARSAL if args.small else RESULTS
    results.mkdir(parents=True, exist_ok=True)
    for name in () if args.report else args.only:
        module, small, _ = QUESTIONS[name]
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{module}", *(small if args.small else [])]
        environment = {**os.environ, "BENCHMARK_RESULTS": str(results)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
    (results / "speed.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
