"""Several clients of one model at once: the loop of `attack`, with a row for each of them.

Small networks cost a step's overhead and little else, so that eight clients side by side take not
much longer than one. No client's row depends on another's, as no restart's does; what is found is
what `invert` finds of each alone, up to rounding, where both start alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import vmap

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.attack import (
    Adaptation,
    ExtraOf,
    Search,
    Watch,
    descend,
    invert,
    losses_and_slopes,
    rebuilt,
    start_of,
)
from fedsec.inversion.case import Case, Reconstruction, delta_to_gradient
from fedsec.inversion.distances import rows_of
from fedsec.inversion.optimisers import Losses
from fedsec.inversion.trials import Variables, at_start, functional_gradient


def invert_each(
    cases: Sequence[Case],
    search: Search,
    *,
    extra: ExtraOf,
    given: Sequence[Variables],
    generator: torch.Generator,
    starts: Sequence[Variables] | None = None,
    adapt: Adaptation | None = None,
    watch: Watch | None = None,
) -> list[Reconstruction]:
    """What is found of each case.

    extra   what the loss depends on beside parameters and images, of all that is given and learnt
    given   for each case what is known of that, by name; it is not moved
    starts  for each case where its restarts start, by name: (restart, ...)

    Raises SettingsError where the cases are not of one victim and one form, or were observed in
    several rounds.
    """
    begins = [{} for _ in cases] if starts is None else list(starts)
    if len(cases) == 1:
        known = given[0]
        return [
            invert(
                cases[0], search, labels=None, generator=generator, starts=begins[0], adapt=adapt,
                watch=watch, extra=lambda variables: extra({**known, **variables}),
            )
        ]  # fmt: skip
    refuse_unlike(cases)
    n = search.restarts
    rows = [
        start_of(case, search, False, {}, generator) | begin
        for case, begin in zip(cases, begins, strict=True)
    ]
    variables = {name: torch.cat([row[name].detach() for row in rows]) for name in rows[0]}
    target = _repeated([delta_to_gradient(c.observed[0].update, c.knowledge) for c in cases], n)
    known = _repeated(given, n)
    first = cases[0]
    sent = {name: value.detach() for name, value in first.observed[0].parameters.items()}

    against = search.distance(target)

    def one(
        moved: Variables, target: Parameters, known: Variables
    ) -> tuple[Parameters, list[Tensor]]:
        every = {**known, **moved}
        trial = at_start(first.victim.loss, sent, every, extra(every), functional_gradient)
        trial = trial if adapt is None else adapt(trial, target)
        return trial, [prior(moved["x"]) for prior in search.priors]

    at_once = vmap(one)

    def losses(moved: Variables) -> Losses:
        trials, priors = at_once(moved, target, known)
        return sum(priors, start=against(rows_of(trials, target)))

    done = descend(
        search, variables, lambda: losses_and_slopes(losses, search, variables), generator, watch
    )
    return [
        rebuilt(case, search, done, slice(n * place, n * (place + 1)), None, 1)
        for place, case in enumerate(cases)
    ]


def refuse_unlike(cases: Sequence[Case]) -> None:
    """Raises SettingsError where cases cannot be attacked side by side."""
    if not cases:
        raise SettingsError("there is no case to attack")
    first = cases[0]
    for place, case in enumerate(cases):
        if case.victim is not first.victim:
            raise SettingsError(
                f"case {place} is of another victim than the first: attack it alone"
            )
        if (case.n, case.shape) != (first.n, first.shape):
            raise SettingsError(
                f"case {place} asks for {case.n} images of {case.shape}, the first for {first.n} of"
                f" {first.shape}: attack it alone"
            )
        if len(case.observed) != 1:
            raise SettingsError(f"case {place} was observed in {len(case.observed)} rounds: give 1")


def _repeated(of: Sequence[Variables], n: int) -> Variables:
    """Stacked by name, each n times in a row."""
    return {
        name: torch.stack([one[name] for one in of]).repeat_interleave(n, dim=0) for name in of[0]
    }
