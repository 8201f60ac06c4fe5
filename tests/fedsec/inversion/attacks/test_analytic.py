"""One image is exact, whatever its steps; of batches, those images that a unit has alone."""

import pytest
import torch
from torch import nn

from fedsec.core.functional import Parameters
from fedsec.errors import SettingsError
from fedsec.inversion.attacks.analytic import (
    Analytic,
    agreeing,
    first_layer_images,
    first_linear,
    independent,
    likeliest,
)
from tests.fedsec.inversion.cases import (
    SHAPE,
    digits,
    generator,
    of_gradient,
    of_local_steps,
    smooth_net,
)


def dense(hidden: int, seed: int = 0, activation: nn.Module | None = None) -> nn.Sequential:
    """One hidden layer, in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, hidden), activation or nn.ReLU(), nn.Linear(hidden, 10)
        ).double()


def planted(shares: torch.Tensor, images: torch.Tensor) -> Parameters:
    """The gradient of a first layer to which image j sends back shares[i, j] at unit i."""
    return {"1.weight": shares @ images.flatten(1), "1.bias": shares.sum(dim=1)}


def test_one_image_is_exact():
    for seed in range(5):
        images = digits([seed])
        case = of_gradient(dense(32, seed), images, known=False)
        found = Analytic()(case, generator=generator())
        torch.testing.assert_close(found.x, images.x)
        assert found.loss < 1e-10 and found.labels is None and found.stopped == "done"


def test_one_image_is_exact_after_local_steps_of_any_rate():
    images = digits([3])
    case = of_local_steps(dense(32), images, 0.5, [[0]] * 4)
    torch.testing.assert_close(Analytic()(case, generator=generator()).x, images.x)


def test_noise_is_averaged_over_the_units():
    case = of_gradient(dense(256), digits([3]))
    sent, rng = case.observed[0].update.tensors, generator()
    noisy = {
        name: value + 1e-3 * torch.randn(value.shape, generator=rng, dtype=value.dtype)
        for name, value in sent.items()
    }
    best = noisy["1.bias"].abs().argmax()
    single = (noisy["1.weight"][best] / noisy["1.bias"][best]).view(SHAPE)
    pooled = first_layer_images(noisy, case.victim.net, SHAPE).x[0]
    truth = digits([3]).x[0]
    assert (pooled - truth).square().mean() < (single - truth).square().mean() / 4


def test_images_that_a_unit_has_alone_are_found():
    images = digits([0, 1, 2]).x
    shares = torch.tensor(
        [
            [1, 0, 0],
            [-2, 0, 0],
            [0, 3, 0],
            [0, 1, 0],
            [0, 0, 0.5],
            [1, 1, 0],
            [1, -2, 3],
            [0, 0, 0],
        ],
        dtype=torch.float64,
    )
    found = first_layer_images(planted(shares, images), dense(8), SHAPE, n=3)
    assert found.n_units.tolist() == [2, 2, 1]
    nearest = torch.cdist(images.flatten(1), found.x.flatten(1)).min(dim=1).values
    assert float(nearest.max()) < 1e-6
    assert found.unexplained < 1e-7


def test_a_mixture_of_images_found_does_not_crowd_out_another_image():
    images = digits([0, 1, 2]).x
    shares = torch.tensor(
        [[1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 2, 0], [1, 1, 0], [3, 3, 0], [5, 5, 0], [0, 0, 1]],
        dtype=torch.float64,
    )
    found = first_layer_images(planted(shares, images), dense(8), SHAPE, n=3)
    explained = torch.cat([found.x.flatten(1), torch.ones(3, 1, dtype=torch.float64)], dim=1)
    assert torch.linalg.matrix_rank(explained) == 3
    assert float(torch.cdist(images[2:].flatten(1), found.x.flatten(1)).min()) < 1e-6


def test_wide_relu_layers_show_a_batch():
    images = digits([0, 1, 2, 3])
    found = Analytic()(of_gradient(dense(1024), images), generator=generator())
    nearest = torch.cdist(images.x.flatten(1), found.x.flatten(1)).min(dim=1).values
    assert float(nearest.max()) < 1e-5


def test_a_smooth_layer_explains_a_batch_and_does_not_show_it():
    images = digits([0, 1, 2, 3])
    case = of_gradient(dense(256, activation=nn.Sigmoid()), images)
    found = first_layer_images(case.observed[0].update.tensors, case.victim.net, SHAPE, n=4)
    assert found.unexplained < 1e-6
    nearest = torch.cdist(images.x.flatten(1), found.x.flatten(1)).min(dim=1).values
    assert float(nearest.min()) > 0.1


def test_where_units_are_off_nothing_is_found_and_grey_is_answered():
    net = dense(4)
    with torch.no_grad():
        net[1].bias.fill_(-100)
    for n in (1, 2):
        found = Analytic()(of_gradient(net, digits(range(n))), generator=generator())
        assert (found.x == 0.5).all() and found.loss == 1.0 and len(found.x) == n


def test_groups_take_in_what_is_near_their_strongest_unit():
    ratio = torch.tensor([[0.0], [0.05], [1.0], [1.02]])
    found = agreeing(ratio, torch.tensor([1.0, 2.0, 4.0, 3.0]), 0.1)
    assert found.tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_the_likeliest_come_first():
    x = torch.tensor([[3.0], [0.5], [1.1], [-5.0]])
    assert likeliest(x, torch.tensor([1, 1, 1, 2])).tolist() == [3, 1, 2, 0]


def test_mixtures_of_those_before_are_left_out():
    x = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0.25, 0, 0.75], [2, 0, -1], [0, 1, 0]])
    assert independent(x, 3, 1e-4).tolist() == [0, 1, 4]
    assert independent(x, 2, 1e-4).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (smooth_net(), "'0' is Conv2d"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False)), "'1' is a Linear without"),
        (nn.Sequential(nn.ReflectionPad2d((1, 0, 0, 0)), nn.Flatten(), nn.Linear(72, 10)),
         "something comes before"),
        (nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(64, 10)), "something comes before"),
        (nn.Sequential(nn.Flatten(), nn.Linear(63, 10)), "1 x 8 x 8 do not pass"),
    ],
)  # fmt: skip
def test_another_first_layer_is_refused_by_name(net, said):
    with pytest.raises(SettingsError, match=said):
        first_linear(net, SHAPE)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_that_is_not_positive_is_refused(tolerance):
    with pytest.raises(SettingsError, match="tolerance"):
        Analytic(tolerance=tolerance)
