"""`crowdlearn criticise`: is a story any good for these votes?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from crowdlearn.cli.exits import print_json, say
from crowdlearn.cli.fitting import read, read_known
from crowdlearn.cli.options import (
    ClassesOption,
    ColumnsOption,
    DropOption,
    GoldOption,
    JsonOption,
    VotesArgument,
)

if TYPE_CHECKING:
    from crowdlearn.criticism import Check, Loo
    from crowdlearn.votes import Votes

SHOWN = 10  # entries that were least expected


def criticise(
    votes: VotesArgument,
    story: Annotated[
        list[str] | None,
        typer.Option(
            "--story", "-s", help="Name of a story; repeat it to compare.", show_default="bcc"
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of each chain.", min=25)] = 250,
    chains: Annotated[int, typer.Option(help="Chains.", min=1)] = 4,
    warmup: Annotated[int, typer.Option(help="Sweeps of each chain before.", min=0)] = 300,
    replicates: Annotated[int, typer.Option(help="Times the votes are drawn again.", min=20)] = 500,
    gold: GoldOption = None,
    seed: Annotated[int, typer.Option(help="Seed of all that is drawn.")] = 0,
    columns: ColumnsOption = None,
    classes: ClassesOption = None,
    drop_missing: DropOption = False,
    json: JsonOption = False,
) -> None:
    """Check a story against the votes, without truth; compare stories.

    For each story: what it expects before any vote, whether votes drawn again from its fit look
    like the votes, and how well it predicts a vote that is left out (elpd, in nats; larger is
    better). Needs the extra `bayes`.
    """
    read_in = read(votes, columns, classes, drop_missing)
    known = read_known(gold, read_in)
    found = {}
    for name in story or ["bcc"]:
        found[name] = _criticism(name, read_in, known, chains, warmup, draws, replicates, seed)
    ranking = _ranking({name: result["loo"] for name, result in found.items()})
    if json:
        print_json({"stories": {n: _plain(r) for n, r in found.items()}, "ranking": ranking})
        return
    for name, result in found.items():
        _show(name, result)
    _show_ranking(ranking)


def _criticism(
    name: str,
    votes: Votes,
    gold: Any,
    n_chains: int,
    n_warmup: int,
    n_draws: int,
    n_replicates: int,
    seed: int,
) -> dict[str, Any]:
    try:
        from crowdlearn.criticism import check, loo, posterior_draws, prior_predictive
    except ImportError as error:
        raise ImportError("criticism needs NumPyro: pip install 'crowdlearn[bayes]'") from error

    drawn = posterior_draws(
        name, votes, gold=gold, n_chains=n_chains, n_warmup=n_warmup, n_draws=n_draws, seed=seed
    )
    for problem in drawn.problems:
        say(f"warning: {name}: {problem}", "yellow")
    return {
        "prior": prior_predictive(drawn.story, votes, seed=seed).to_table().to_pylist(),
        "checks": check(
            drawn.story, votes, drawn.sites, gold=drawn.gold, n_replicates=n_replicates, seed=seed
        ),
        "loo": loo(drawn.story, votes, drawn.sites, gold=drawn.gold, log_density=drawn.log_density),
        "problems": list(drawn.problems),
    }


def _ranking(results: dict[str, Loo]) -> list[dict[str, Any]]:
    from crowdlearn.criticism import compare

    return compare(results).to_pylist() if len(results) > 1 else []


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    """As JSON values."""
    from crowdlearn.criticism import checks_table

    left_out = result["loo"]
    fields = ("elpd", "se", "p_loo", "n_draws", "good_k", "n_bad", "advice")
    return {
        "prior": result["prior"],
        "checks": [
            {
                "statistic": name,
                "p": c.p_all,
                "misfit": c.misfit,
                "n_entries": len(c.entries),
                "n_outside": c.n_outside,
            }
            for name, c in result["checks"].items()
        ],
        "entries": checks_table(result["checks"]).to_pylist(),
        "loo": {field: getattr(left_out, field) for field in fields},
        "problems": result["problems"],
    }


def _show(name: str, result: dict[str, Any]) -> None:
    from crowdlearn.cli.tables import number, show

    show(
        f"{name}: before any vote",
        ("quantity", "mean", "90 % interval"),
        [
            (r["quantity"], number(r["mean"]), f"{number(r['low'])} to {number(r['high'])}")
            for r in result["prior"]
        ],
    )
    show(
        f"{name}: votes drawn again, against the votes",
        ("statistic", "entries", "outside 90 %", "p"),
        [
            (key, f"{len(c.entries):,}", f"{c.n_outside:,}", number(c.p_all))
            for key, c in result["checks"].items()
        ],
    )
    _show_least_expected(name, result["checks"])
    for c in result["checks"].values():
        if c.misfit:
            typer.echo(f"misfit: {c}")
    left_out = result["loo"]
    typer.echo(f"elpd {left_out.elpd:,.1f} ± {left_out.se:,.1f} nats; {left_out.advice}")


def _show_least_expected(name: str, checks: dict[str, Check]) -> None:
    from crowdlearn.cli.tables import number, show
    from crowdlearn.criticism import checks_table

    rows = sorted(checks_table(checks).to_pylist(), key=lambda row: row["p"])[:SHOWN]
    show(
        f"{name}: least expected",
        ("statistic", "entry", "seen", "predicted", "p"),
        [
            (
                row["statistic"],
                row["entry"],
                number(row["seen"]),
                f"{number(row['low'])} to {number(row['high'])}",
                number(row["p"]),
            )
            for row in rows
        ],
        n_names=2,
    )


def _show_ranking(ranking: list[dict[str, Any]]) -> None:
    from crowdlearn.cli.tables import number, show

    if not ranking:
        return
    show(
        "Predicting a vote that is left out, best first",
        ("story", "elpd", "difference", "its error", "weight", "bad votes"),
        [
            (
                row["story"],
                number(row["elpd"], 1),
                number(row["difference"], 1),
                number(row["difference_se"], 1),
                number(row["weight"], 2),
                f"{row['n_bad']:,}",
            )
            for row in ranking
        ],
    )
