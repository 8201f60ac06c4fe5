"""Clients side by side are clients one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedsec.errors import SettingsError
from fedsec.inversion.attack import Search
from fedsec.inversion.attacks.knowing import told_noise
from fedsec.inversion.denoiser import extra_of
from fedsec.inversion.distances import cosine, squared
from fedsec.inversion.each import invert_each
from fedsec.inversion.optimisers import Adam
from fedsec.inversion.priors import total_variation
from tests.fedsec.inversion.cases import generator
from tests.fedsec.inversion.denoisers import client_of, small_victim

VICTIM = small_victim()
CLIENTS = [client_of([t], victim=VICTIM, images=[k], seed=k) for k, t in enumerate((2, 9, 13))]
CASES = [one.case(one.facts) for one in CLIENTS]
GIVEN = [told_noise(case, "a test") for case in CASES]
SEARCH = Search(
    distance=squared, optimiser=Adam(lr=0.05, milestones=()), iterations=8, restarts=2, box=False
)


@pytest.mark.parametrize("distance", [squared, cosine])
def test_clients_at_once_are_clients_alone(distance) -> None:  # type: ignore[no-untyped-def]
    search = replace(SEARCH, distance=distance, priors=(total_variation(1e-3),))
    starts = [
        {"x": torch.rand(2, 1, 1, 8, 8, generator=generator(k), dtype=torch.float64)}
        for k in range(3)
    ]
    told = {"extra": extra_of, "generator": generator()}
    at_once = invert_each(CASES, search, given=GIVEN, starts=starts, **told)
    for case, given, start, found in zip(CASES, GIVEN, starts, at_once, strict=True):
        (alone,) = invert_each([case], search, given=[given], starts=[start], **told)
        np.testing.assert_allclose(found.history, alone.history, rtol=1e-6)
        torch.testing.assert_close(found.candidates, alone.candidates, rtol=1e-5, atol=1e-7)
        assert found.best == alone.best and found.evaluations == alone.evaluations == 16
        assert found.loss == pytest.approx(alone.loss)


def test_starts_are_left_alone() -> None:
    starts = [{"x": torch.zeros(2, 1, 1, 8, 8, dtype=torch.float64)} for _ in CASES]
    invert_each(CASES, SEARCH, extra=extra_of, given=GIVEN, starts=starts, generator=generator())
    assert all(not bool(one["x"].any()) for one in starts)


def test_what_else_is_learnt_is_told_for_every_restart() -> None:
    """Noise that is moved comes back with the images that it was moved with."""
    eps = [{"eps": torch.randn(2, *c.noise.shape, generator=generator(7), dtype=torch.float64)}
           for c in CASES]  # fmt: skip
    times = [{"t": one["t"]} for one in GIVEN]
    found = invert_each(
        CASES, SEARCH, extra=extra_of, given=times, starts=eps, generator=generator()
    )
    for one, begin in zip(found, eps, strict=True):
        assert one.learnt["eps"].shape == (2, 1, 1, 8, 8)
        assert not torch.equal(one.learnt["eps"], begin["eps"])


def test_unlike_cases_are_refused() -> None:
    told = {"extra": extra_of, "generator": generator()}
    other = client_of([3]).case(client_of([3]).facts)
    two = client_of([3, 4], victim=VICTIM)
    for case, said in (
        (other, "case 1 is of another victim"),
        (two.case(two.facts), "asks for 2 images"),
        (replace(CASES[1], observed=CASES[1].observed * 2), "observed in 2 rounds"),
    ):
        with pytest.raises(SettingsError, match=said):
            invert_each([CASES[0], case], SEARCH, given=[{}, {}], **told)
    with pytest.raises(SettingsError, match="no case"):
        invert_each([], SEARCH, given=[], **told)
