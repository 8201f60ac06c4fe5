"""SFDDM: the student's chain is the teacher's, the time-remapped teacher is the minimum."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import add_noise, target
from fedsec.diffusion.samplers import ddim_sample
from fedsec.diffusion.schedule import NoiseSchedule, noise_schedule, sub_schedule
from fedsec.diffusion.semantics import images_of_noise
from fedsec.diffusion.single_fold import (
    DISTANCES,
    SingleFold,
    TimeRemap,
    distill,
    mse,
    posterior_weight,
    single_fold_parts,
)
from fedsec.diffusion.students import RELEASED, on_steps
from fedsec.diffusion.subsequence import leading, trailing
from fedsec.diffusion.train import TrainSettings, TrainWatch
from fedsec.errors import SettingsError
from tests.fedsec.diffusion.gaussian import Normal
from tests.fedsec.diffusion.small import images, rng, teacher_of

SEQUENCES = {
    "leading": leading(24, 6),
    "trailing": trailing(24, 6),
    "irregular": torch.tensor([0, 3, 4, 11, 12, 20]),
}
every_sequence = pytest.mark.parametrize("indices", SEQUENCES.values(), ids=SEQUENCES)


def chain(schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Mean (over x_0 = 1) and covariance of x_0 .. x_{T-1} given the image, step by step."""
    steps = schedule.steps
    mean = torch.zeros(steps, dtype=torch.float64)
    cov = torch.zeros(steps, steps, dtype=torch.float64)
    before = torch.ones((), dtype=torch.float64)
    for t, alpha in enumerate(schedule.alpha):
        mean[t] = alpha.sqrt() * before
        before = mean[t]
        if t:
            cov[t, :t] = cov[:t, t] = alpha.sqrt() * cov[t - 1, :t]
        cov[t, t] = (alpha * cov[t - 1, t - 1] if t else 0.0) + 1 - alpha
    return mean, cov


@every_sequence
def test_the_students_chain_is_the_teachers(indices: Tensor) -> None:
    """Marginals, transitions and posteriors, against conditioning of the whole chain."""
    teacher = noise_schedule("cosine", 24)
    student = sub_schedule(teacher, indices)
    assert torch.equal(student.alpha_bar, teacher.alpha_bar[indices])
    mean, cov = chain(teacher)
    for k, phi in enumerate(indices.tolist()):
        low = -1 if k == 0 else int(indices[k - 1])
        product = teacher.alpha[low + 1 : phi + 1].prod()
        assert abs(student.alpha[k] - product) < 1e-12
        assert abs(student.alpha_bar[k] - mean[phi] ** 2) < 1e-12
        assert abs(1 - student.alpha_bar[k] - cov[phi, phi]) < 1e-12
        if k:
            gain = cov[low, phi] / cov[phi, phi]
            assert abs(student.posterior_mean_xt[k] - gain) < 1e-12
            of_image = mean[low] - gain * mean[phi]
            assert abs(student.posterior_mean_x0[k] - of_image) < 1e-12
            variance = cov[low, low] - gain * cov[low, phi]
            assert abs(student.posterior_variance[k] - variance) < 1e-12


@every_sequence
def test_the_students_input_is_the_teachers_to_the_bit(indices: Tensor) -> None:
    teacher = noise_schedule("sigmoid", 24)
    x0, eps = torch.randn(2, 6, 1, 3, 3, generator=rng())
    k = torch.arange(6)
    ours = add_noise(sub_schedule(teacher, indices), x0, k, eps)
    assert ours.dtype == torch.float32
    assert torch.equal(ours, add_noise(teacher, x0, indices[k], eps))


@every_sequence
@pytest.mark.parametrize("distance", DISTANCES)
def test_the_teacher_told_other_numbers_has_loss_0(indices: Tensor, distance: str) -> None:
    teacher = teacher_of(24)
    schedule = sub_schedule(teacher.schedule, indices)
    x0, eps = torch.randn(2, 6, 1, 4, 4, generator=rng())
    parts = single_fold_parts(
        TimeRemap(teacher.net, indices), teacher.net, schedule, indices, x0, torch.arange(6), eps,
        distance=DISTANCES[distance],
    )  # fmt: skip
    assert parts.output.item() == 0 and parts.hidden.item() == 0


@every_sequence
def test_its_samples_are_the_teachers_ddim_on_those_steps(indices: Tensor) -> None:
    teacher = teacher_of(24)
    schedule = sub_schedule(teacher.schedule, indices)
    z = torch.randn(5, 1, 4, 4, generator=rng())
    with torch.no_grad():
        ours = ddim_sample(TimeRemap(teacher.net, indices), schedule, "v", z)
        theirs = ddim_sample(teacher.net, teacher.schedule, "v", z, times=indices.flip(0))
    assert torch.equal(ours, theirs)
    again = images_of_noise(on_steps(teacher, indices), z)
    assert torch.equal(again, images_of_noise(teacher, z, times=indices.flip(0)))


def test_a_teachers_answer_is_a_quieter_target_than_noise() -> None:
    """E|eps - s|^2 = E|eps_T - s|^2 + E|eps - eps_T|^2 for the ideal teacher eps_T, so the
    gradient is the same on average, with less variance: the whole gain of distilling here.
    """
    schedule = noise_schedule("cosine", 8)
    data = Normal(schedule, torch.full((1, 1, 1), 0.2).double(), torch.tensor(0.3).double())
    n, t = 200_000, torch.tensor([2])
    x0 = data.draw(n, rng(1))
    eps = torch.randn(x0.shape, generator=rng(2), dtype=torch.float64)
    x = add_noise(schedule, x0, t.expand(n), eps)
    signal, spread = schedule.signal[2], schedule.noise[2]
    of_teacher = (x - signal * data.image(x, t)) / spread
    answer = 0.4 * x  # a student with one weight
    total, distilled = ((one - answer).square().mean() for one in (eps, of_teacher))
    left = (eps - of_teacher).square().mean()
    assert abs(total - distilled - left) < 0.01 * total
    slopes = [2 * (answer - one) * x for one in (eps, of_teacher)]
    means, variances = zip(*((one.mean(), one.var()) for one in slopes), strict=True)
    error = (variances[0] / n).sqrt()
    assert abs(means[0] - means[1]) < 5 * error
    assert variances[1] < 0.7 * variances[0]


@pytest.mark.parametrize("objective", ["eps", "v", "x0"])
def test_the_weight_is_the_divergence_of_reverse_kernels(objective: str) -> None:
    """KL of N(mu, beta) with mu by two answers, from the posterior's mean itself."""
    schedule = sub_schedule(noise_schedule("sigmoid", 24), SEQUENCES["irregular"])
    x0, other, eps = torch.randn(3, 6, 1, 1, 1, generator=rng(), dtype=torch.float64)
    k = torch.arange(6)
    x = add_noise(schedule, x0, k, eps)
    signal, spread = (one.view(-1, 1, 1, 1) for one in (schedule.signal, schedule.noise))
    answers = [
        target(schedule, objective, image, k, (x - signal * image) / spread)
        for image in (x0, other)
    ]
    mu = [
        schedule.posterior_mean_x0.view(-1, 1, 1, 1) * image
        + schedule.posterior_mean_xt.view(-1, 1, 1, 1) * x
        for image in (x0, other)
    ]
    divergence = (mu[0] - mu[1]).square().flatten() / (2 * schedule.beta)
    found = posterior_weight(schedule, objective) * mse(*answers)
    torch.testing.assert_close(found, divergence, rtol=1e-9, atol=0)


def test_with_the_teachers_weights_and_numbers_nothing_is_left_to_learn() -> None:
    teacher, indices = teacher_of(24), SEQUENCES["irregular"]
    student, history = distill(
        teacher, indices, images(), TrainSettings(steps=3, batch=4, **RELEASED),
        SingleFold(start="teacher", time_index="phi"),
    )  # fmt: skip
    assert not history.loss.any()
    z = torch.randn(3, 1, 4, 4, generator=rng())
    ours = images_of_noise(student, z)
    assert torch.equal(ours, images_of_noise(teacher, z, times=indices.flip(0)))
    again, _ = distill(  # a student teaches in turn: its network is told its own numbers
        student, torch.tensor([1, 4]), images(), TrainSettings(steps=2, batch=4, **RELEASED),
        SingleFold(start="teacher", time_index="phi"),
    )  # fmt: skip
    assert again.time_map is not None and again.time_map.tolist() == [3, 12]


@pytest.mark.parametrize(
    "method",
    [
        SingleFold(),
        SingleFold(start="teacher"),
        SingleFold(distance="mse", posterior=True, hidden_weight=0),
    ],
)
def test_training_brings_the_student_nearer(method: SingleFold) -> None:
    teacher = teacher_of(24)
    settings = TrainSettings(steps=60, batch=16, lr=3e-3, ema=None)
    student, history = distill(teacher, leading(24, 4), images(), settings, method)
    assert history.loss[-10:].mean() < 0.8 * history.loss[:10].mean()
    assert student.schedule.steps == 4 and student.time_map is None
    assert not student.net.training


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    teacher, indices = teacher_of(24), leading(24, 4)
    settings, path = TrainSettings(steps=6, batch=4, **RELEASED), tmp_path / "x.safetensors"
    whole, history = distill(teacher, indices, images(), settings)
    left = iter([False, False, True])
    _, part = distill(
        teacher, indices, images(), settings, checkpoint=path,
        watch=TrainWatch(stop=lambda: next(left)),
    )  # fmt: skip
    assert len(part.loss) == 2
    again, resumed = distill(teacher, indices, images(), settings, checkpoint=path)
    assert (resumed.loss == history.loss).all()
    for one, other in zip(whole.net.parameters(), again.net.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(SettingsError, match="another run"):
        distill(teacher, leading(24, 3), images(), settings, checkpoint=path)
    with pytest.raises(SettingsError, match="another run"):
        distill(teacher, indices, images(), settings, SingleFold(start="teacher"), checkpoint=path)


class Mute(nn.Module):
    """Shows no features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.weight * x


class Narrow(Mute):
    def hidden(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("net", "said"),
    [(Mute(), "Mute does not show its features"), (Narrow(), r"student are \(1, 4, 4\)")],
)
def test_features_that_cannot_be_compared_are_refused(net: nn.Module, said: str) -> None:
    teacher, indices = teacher_of(24), leading(24, 3)
    x0, eps = torch.randn(2, 3, 1, 4, 4, generator=rng())
    given = (net, teacher.net, sub_schedule(teacher.schedule, indices), indices, x0,
             torch.arange(3), eps)  # fmt: skip
    with pytest.raises(SettingsError, match=said):
        single_fold_parts(*given)
    assert single_fold_parts(*given, hidden=False).hidden.item() == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"distance": "odd"}, "distance 'odd' is not one of l1, mse"),
        ({"start": "odd"}, "start 'odd'"),
        ({"time_index": "odd"}, "time_index 'odd' is not one of k, phi"),
        ({"hidden_weight": -1.0}, "hidden_weight = -1.0: give 0 or more"),
        ({"output_weight": 0}, "output_weight is 0"),
        ({"posterior": True}, "posterior goes with distance 'mse'"),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        SingleFold(**given)  # type: ignore[arg-type]


def test_a_model_of_no_sub_sequence_is_refused() -> None:
    teacher: DiffusionModel = teacher_of(24)
    with pytest.raises(SettingsError, match="must rise"):
        distill(teacher, torch.tensor([4, 2]), images(), TrainSettings(steps=1))
