"""The networks on torch: images by convolution, sizes, seeds, and a GPU where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from crowdlearn.errors import SettingsError

torch = pytest.importorskip("torch")

from crowdlearn.learning import NetworkClassifier, convolutional  # noqa: E402


def bars(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """8 x 8 pictures of a bar, upright or flat, anywhere, in noise; which is the class."""
    rng = np.random.default_rng(seed)
    kind, place = rng.integers(0, 2, n), rng.integers(0, 8, n)
    pictures = 0.3 * rng.normal(size=(n, 8, 8))
    for picture, upright, at in zip(pictures, kind, place, strict=True):
        if upright:
            picture[:, at] += 1
        else:
            picture[at, :] += 1
    return pictures.reshape(n, 64), kind


def test_convolutions_see_shapes_wherever_they_are() -> None:
    x, kind = bars(400, 0)
    x_new, kind_new = bars(400, 1)
    method = NetworkClassifier(body=convolutional(1, 8, 8, 8), max_epochs=30, device="cpu")
    found = method.fit(x, np.eye(2)[kind]).predict_proba(x_new)
    assert_allclose(found.sum(axis=1), 1)
    assert (found.argmax(axis=1) == kind_new).mean() > 0.95
    assert_array_equal(found, method.fit(x, np.eye(2)[kind]).predict_proba(x_new))


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(SettingsError, match="64 features are no image of 3 x 8 x 8"):
        NetworkClassifier(body=convolutional(3, 8, 8)).fit(*bars_target(20))


def bars_target(n: int) -> tuple[np.ndarray, np.ndarray]:
    x, kind = bars(n, 0)
    return x, np.eye(2)[kind]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("body", [None, convolutional(1, 8, 8, 8)])
def test_a_gpu_learns_the_same(body: object) -> None:
    x, target = bars_target(400)
    x_new, kind_new = bars(400, 1)
    for device in ("cpu", "gpu"):
        method = NetworkClassifier(body=body, device=device, max_epochs=30)  # type: ignore[arg-type]
        found = method.fit(x, target).predict_proba(x_new)
        assert (found.argmax(axis=1) == kind_new).mean() > (0.7 if body is None else 0.95)


def test_without_a_gpu_asking_for_one_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU")
    with pytest.raises(SettingsError, match="torch sees no GPU"):
        NetworkClassifier(device="gpu").fit(*bars_target(20))
