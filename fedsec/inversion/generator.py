"""Images of a trained diffusion model as a differentiable function of its noise.

Story       an attacker who has a model of such images looks for the noise z that the model makes
            the client's image of: G(z) is DDIM without noise of its own, and its derivative goes
            through every step. Of a model of many steps some even ones are taken.
Clipping    DDIM holds the image in [-1, 1] at each step. A plain clamp has no slope where a pixel
            is saturated, and the background of digits is exactly -1: no latent would ever move it.
            So "straight-through" (clamp, with the slope of none) is the default here; the released
            code of GIDM has "hard".
Memory      grows with the steps; `checkpoint` keeps one step and computes the others again.
"""

from __future__ import annotations

import copy

from torch import Tensor

from fedsec.core.functional import double_backward
from fedsec.diffusion.model import DiffusionModel
from fedsec.diffusion.objectives import to_pixels
from fedsec.diffusion.samplers import ddim_sample, time_list
from fedsec.inversion.attack import ImageOf

STEPS = 16  # the released code of GIDM has a model of 16
LARGE = 64 * 64  # pixels of an image, above which steps are computed again


def ddim_images(
    prior: DiffusionModel,
    *,
    clip: str = "straight-through",
    sampling: int = STEPS,
    checkpoint: bool | None = None,
) -> ImageOf:
    """G: noise (sample, channel, height, width) -> images in pixels, in [0, 1] but for clip "none".

    sampling    steps of DDIM, where the model has more
    checkpoint  None: where images have more than 64 x 64 pixels

    The prior is copied and never trained. Raises SettingsError, when it is called, for a clip that
    there is not.
    """
    net = copy.deepcopy(prior.net).eval().requires_grad_(False)
    times = time_list(prior.schedule.steps, min(prior.schedule.steps, sampling))
    again = prior.shape[1] * prior.shape[2] > LARGE if checkpoint is None else checkpoint

    def predict(x: Tensor, t: Tensor) -> Tensor:
        with double_backward():
            output: Tensor = net(x, t)
        return output

    def images(z: Tensor) -> Tensor:
        made = ddim_sample(
            predict, prior.schedule, prior.objective, z, times=times, clip=clip,
            time_map=prior.time_map, checkpoint=again,
        )  # fmt: skip
        return to_pixels(made)

    return images
