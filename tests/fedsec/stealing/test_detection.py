"""PRADA's test against its own loop over images, and on queries of two kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import shapiro
from torch import Tensor

from fedsec.errors import SettingsError
from fedsec.stealing.detection import Detector
from fedsec.stealing.oracle import QueriesRefused


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=seeded(seed))


def law(n: int, n_classes: int = 5, seed: int = 1) -> Tensor:
    return torch.randn(n, n_classes, generator=seeded(seed)).softmax(dim=1)


def test_the_distances_are_those_of_a_loop_over_images() -> None:
    """The rule of the paper, image by image, without a limit on what is kept."""
    x, p = images(400, 5), law(400, 3, seed=6)
    detector = Detector(window=5000, kept=5000)
    for rows in torch.arange(400).split(37):
        assert detector(p[rows], x[rows]) is not None
    kept: dict[int, list[np.ndarray]] = {}
    known: dict[int, list[float]] = {}
    expected = []
    for image, label in zip(x.double().flatten(1).numpy(), p.argmax(dim=1).tolist(), strict=True):
        images_of, distances = kept.setdefault(label, []), known.setdefault(label, [])
        if not images_of:
            images_of.append(image)
            continue
        nearest = min(float(np.linalg.norm(image - other)) for other in images_of)
        expected.append(nearest)
        if not distances or nearest > np.mean(distances) - np.std(distances):
            images_of.append(image)
            distances.append(nearest)
    within = np.array(expected)
    within = within[np.abs(within - within.mean()) <= 3 * within.std()]
    assert detector.score() == pytest.approx(shapiro(within).statistic, abs=1e-6)


def test_distances_of_two_kinds_raise_the_alarm() -> None:
    """Far images, then near copies of one of them: no one normal law has such distances."""
    far = torch.rand(300, 1, 8, 8, generator=seeded(7))
    near = (far[:1] + 0.01 * torch.randn(far.shape, generator=seeded(8))).clamp(0, 1)
    p = torch.tensor([[0.1, 0.9]]).expand(300, 2)
    watching, refusing = Detector(), Detector(refuse=True)
    for detector in (watching, refusing):
        detector(p, far)
        assert detector.score() > 0.95 and detector.first_alarm is None
        detector(p, near)
        assert detector.score() < 0.9 and detector.first_alarm == 600
    assert watching(p, far) is p
    with pytest.raises(QueriesRefused, match="queries look made up: score below 0.95"):
        refusing(p, far)


def test_few_queries_and_equal_ones_have_no_score() -> None:
    detector = Detector()
    detector(law(90, 2), images(90))
    assert detector.score() == 1.0
    same = Detector()
    same(law(200, 2), images(1).expand(200, 1, 4, 4))
    assert same.score() == 1.0 and same.first_alarm is None


def test_what_is_kept_has_an_end() -> None:
    detector = Detector(window=150, kept=20)
    for seed in range(5):
        detector(law(100, 2), images(100, seed))
    assert detector.asked == 500 and len(detector._distances) == 150
    assert all(len(seen.points) <= 20 for seen in detector._classes.values())


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(SettingsError, match="threshold = 2"):
        Detector(threshold=2)
    with pytest.raises(SettingsError, match="window = 6000"):
        Detector(window=6000)
