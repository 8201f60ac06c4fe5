"""Sections of the report about the fit itself: convergence, diagnostics, settings."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from crowdlearn import __version__, plots
from crowdlearn.aggregation import Aggregation, Draws
from crowdlearn.highlights import (
    counted,
    how_it_ended,
    plain,
    worker_names,
)
from crowdlearn.report.blocks import (
    Items,
    Note,
    Picture,
    Section,
    Table,
    number,
    picture,
)

MAX_CLASSES = 30
PACKAGES = ("numpy", "scipy", "numba", "pyarrow", "matplotlib", "krippendorff")


def convergence(fit: Aggregation) -> Section:
    """How the fit went, and whether chains mixed."""
    blocks: list[Picture | Table | Items | Note] = []
    if fit.history.n_sweeps > 1:
        drawn, (ax,) = plots.figure(7, 2.8)
        plots.convergence(ax, fit.history)
        blocks.append(picture(drawn, f"{fit.history.bound_name or 'change'} after every sweep"))
    if fit.draws is not None:
        blocks.append(_diagnostics(fit, fit.draws))
    return Section("convergence", "Convergence", how_it_ended(fit), tuple(blocks))


def settings(fit: Aggregation) -> Section:
    """What it takes to do it again."""
    chosen = [(name, str(value)) for name, value in fit.settings.items()]
    return Section(
        "settings",
        "Settings and versions",
        "The same votes with the same settings and versions give the same result.",
        (
            Table("Settings", ("setting", "value"), [("method", fit.method), *chosen], 2),
            Table("Versions", ("package", "version"), _versions(), 2),
        ),
    )


def _diagnostics(fit: Aggregation, draws: Draws) -> Table:
    """R-hat and effective sample sizes: log density, class shares, the worst-mixed worker."""
    from crowdlearn.inference.diagnostics import ess_bulk, ess_tail, rhat

    def row(name: str, x: np.ndarray) -> tuple[str, ...]:
        found = float(rhat(x)), float(ess_bulk(x)), float(ess_tail(x))
        return (
            name,
            number(float(x.mean())),
            number(found[0]),
            number(found[1], 0),
            number(found[2], 0),
        )

    rows = [row("log density", draws.log_density)]
    for k in np.argsort(-fit.prior, kind="stable")[:MAX_CLASSES]:
        rows.append(row(f"prior of {plain(fit.votes.classes[k])}", draws.prior[:, :, k]))
    if draws.diagonal.size:
        worst = rhat(draws.diagonal)
        t, k = np.unravel_index(int(np.nanargmax(np.nan_to_num(worst, nan=0))), worst.shape)
        who = worker_names(fit.votes, draws.tracked[t : t + 1])[0]
        rows.append(
            row(
                f"worker {plain(who)} on {plain(fit.votes.classes[k])} (worst)",
                draws.diagonal[..., t, k],
            )
        )
    n_chains, n_draws = draws.log_density.shape
    return Table(
        f"Diagnostics of {counted(n_chains, 'chain')} of {counted(n_draws, 'draw')}. R-hat should "
        "be below 1.01, both sample sizes above 400.",
        ("quantity", "mean", "R-hat", "bulk ESS", "tail ESS"),
        rows,
    )


def _versions() -> list[tuple[str, str]]:
    found = [("crowdlearn", __version__), ("Python", platform.python_version())]
    for package in PACKAGES:
        try:
            found.append((package, version(package)))
        except PackageNotFoundError:
            found.append((package, "not installed"))
    return found
