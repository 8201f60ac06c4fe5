"""A pool of latent codes whose images the victim puts into all classes, as evenly as it can be had.

Story       a random generator makes a few kinds of images, and random codes fall into few classes.
            So codes are drawn in chunks, their images asked for, and of each class no more than its
            share is kept; what is missing in the end is filled with codes drawn afresh.
Source      authors' code of MEGA (Hong et al. 2022, arXiv 2202.00008)
Departures  the images and answers of the search are kept, so the first training asks nothing again;
            the search ends after `max_rounds` chunks, where the code would go on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from fedsec.errors import SettingsError
from fedsec.stealing.generator_steps import CHUNK
from fedsec.stealing.oracle import Oracle, affordable, ask, labels_of


@dataclass(frozen=True, eq=False)
class Pool:
    """Codes, their images as they were asked, and the answers, all in one shuffled order.

    kept     codes of each class that the search kept; the others are filled in
    queries  asked in all, n_rounds chunks and the filling
    """

    z: Float[Tensor, "code latent"]
    x: Float[Tensor, "code channel height width"]
    answers: Tensor
    kept: Int[Tensor, " class"]
    queries: int
    n_rounds: int


@torch.no_grad()
def balanced_pool(
    generator: nn.Module,
    oracle: Oracle,
    n: int,
    rng: torch.Generator,
    *,
    latent: int,
    chunk: int = CHUNK,
    factor: float | int = 1.0,
    max_rounds: int | None = None,
) -> Pool:
    """`n` codes, at most n / n_classes (rounded up) of each class while searching.

    The generator is in training mode meanwhile, so each chunk has its own batch statistics.

    latent      numbers in a code
    chunk       codes asked at once
    factor      share of `n` to search for; the rest is filled
    max_rounds  chunks at most; None: twice as many as hold `n`
    rng         draws the codes and shuffles, on the generator's device

    Raises SettingsError where a setting is out of range, or the budget leaves less than `n`.
    """
    _check(n, oracle, chunk, factor, max_rounds)
    generator.train()
    share = -(-n // oracle.n_classes)
    wanted = int(factor * n)
    rounds = 2 * -(-n // chunk) if max_rounds is None else max_rounds
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    kept = torch.zeros(oracle.n_classes, dtype=torch.int64, device=rng.device)
    n_kept = asked = made = 0
    while made < rounds and n_kept < wanted:
        # the filling must still be affordable
        if affordable(oracle, chunk + n - n_kept) < chunk + n - n_kept:
            break
        z = _codes(chunk, latent, rng)
        x, answers = ask(oracle, generator(z))
        rows = _within(labels_of(answers), kept, share)[: n - n_kept]
        kept += torch.bincount(labels_of(answers[rows]), minlength=len(kept))
        found.append((z[rows], x[rows], answers[rows]))
        n_kept += len(rows)
        asked, made = asked + chunk, made + 1
    if n_kept < n:
        z = _codes(max(n - n_kept, 2), latent, rng)  # batch statistics need two
        x, answers = ask(oracle, generator(z)[: n - n_kept])
        found.append((z[: n - n_kept], x, answers))
        asked += n - n_kept
    order = torch.randperm(n, generator=rng, device=rng.device)
    z, x, answers = (torch.cat(pieces)[order] for pieces in zip(*found, strict=True))
    return Pool(z, x, answers, kept, asked, made)


def _codes(n: int, latent: int, rng: torch.Generator) -> Tensor:
    return torch.randn((n, latent), generator=rng, device=rng.device)


def _within(labels: Tensor, kept: Tensor, share: int) -> Tensor:
    """The rows, in order, that are among the first of their class until it has its share."""
    one_hot = torch.nn.functional.one_hot(labels, len(kept))
    place = (one_hot.cumsum(dim=0) * one_hot).sum(dim=1) + kept[labels]  # from 1
    return (place <= share).nonzero().flatten()


def _check(n: int, oracle: Oracle, chunk: int, factor: float | int, max_rounds: int | None) -> None:
    if n < 2 or chunk < 2:
        raise SettingsError(f"a pool of {n} in chunks of {chunk}: give at least 2 of each")
    if not 0 <= factor <= 1:
        raise SettingsError(f"factor = {factor}: give a share from 0 to 1")
    if max_rounds is not None and max_rounds < 0:
        raise SettingsError(f"max_rounds = {max_rounds}: give 0 or more")
    if affordable(oracle, n) < n:
        raise SettingsError(
            f"the budget leaves {oracle.remaining()} queries, and the warm start asks at least {n}:"
            " raise the budget, or make the pool smaller"
        )
