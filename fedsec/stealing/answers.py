"""Defences of a prediction API: what happens to an answer before it leaves.

Each is called by the oracle as `answer(probabilities, x) -> probabilities`; several are called one
after the other. Where the API answers labels, the label is the largest of what is
left. A rule that refuses raises `QueriesRefused`, and then nothing is answered or counted.

    LabelFlips   another label for a share of the images, the same one each time
    Rounded      fewer decimals
    TopOne       certainty of the first class alone
    RateLimit    so many images in a window of time; it remembers, so make one for each attack
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from fedsec.errors import SettingsError
from fedsec.stealing.oracle import QueriesRefused

LEVELS = 255  # an image file has so many steps above black


class RateLimited(QueriesRefused):
    """The API does not answer now; after `seconds` it would."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@dataclass(frozen=True, kw_only=True)
class LabelFlips:
    """A share of all images gets another class, whose probability changes places with the first's.

    share   of the images, in [0, 1]; each of the other classes is as likely
    secret  who knows it knows which images

    Whether and to what an image flips is a keyed hash of its pixels in 256 steps, so asking twice
    gives the same answer and no majority tells more. Over images the hash is as a fair draw: each
    flips with probability `share`, independently.
    """

    share: float | int
    secret: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SettingsError(f"share = {self.share}: give a number from 0 to 1")

    def __call__(
        self,
        probabilities: Float[Tensor, "sample class"],
        x: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, "sample class"]:
        """With the two classes of the flipped images changed over."""
        n, n_classes = probabilities.shape
        if n_classes < 2 or not n:
            return probabilities
        chance, place = _hashed(x, self.secret)
        flips = torch.from_numpy(chance < self.share).to(probabilities.device)
        first = probabilities.argmax(dim=1)
        step = 1 + torch.from_numpy((place * (n_classes - 1)).astype(np.int64)).to(first.device)
        other = (first + step) % n_classes
        rows = torch.arange(n, device=first.device)
        flipped = probabilities.clone()
        flipped[rows, first], flipped[rows, other] = (
            probabilities[rows, other], probabilities[rows, first],
        )  # fmt: skip
        return torch.where(flips[:, None], flipped, probabilities)


@dataclass(frozen=True, kw_only=True)
class Rounded:
    """Probabilities in so many decimals, scaled to sum to one again; the first class stays first.

    Labels do not change, so this defends nothing where only they are answered.
    """

    decimals: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= 6:
            raise SettingsError(f"decimals = {self.decimals}: give a number from 0 to 6")

    def __call__(
        self,
        probabilities: Float[Tensor, "sample class"],
        x: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, "sample class"]:
        """A row that rounds to nothing is certain of its first class."""
        first = one_hot(probabilities.argmax(dim=1), probabilities.shape[1]).to(probabilities)
        kept = probabilities.round(decimals=self.decimals) + 1e-6 * first  # breaks a tie
        return kept / kept.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class TopOne:
    """All probability on the first class: what an API tells that answers a label alone."""

    def __call__(
        self,
        probabilities: Float[Tensor, "sample class"],
        x: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, "sample class"]:
        """One 1 a row."""
        return one_hot(probabilities.argmax(dim=1), probabilities.shape[1]).to(probabilities)


@dataclass(kw_only=True)
class RateLimit:
    """So many images in any window of time; a batch that goes over is refused as a whole.

    images  per window, 1 or more
    window  seconds
    clock   gives the time in seconds
    """

    images: int
    window: float | int
    clock: Callable[[], float] = time.monotonic
    _times: deque[tuple[float, int]] = field(default_factory=deque, repr=False)

    def __post_init__(self) -> None:
        if self.images < 1 or not 0 < self.window < float("inf"):
            raise SettingsError(
                f"images = {self.images} in window = {self.window}: give at least 1 in some seconds"
            )

    def __call__(
        self,
        probabilities: Float[Tensor, "sample class"],
        x: Float[Tensor, "sample channel height width"],
    ) -> Float[Tensor, "sample class"]:
        """As they are. Raises RateLimited, which says when to come back."""
        now, n = self.clock(), len(x)
        while self._times and self._times[0][0] <= now - self.window:
            self._times.popleft()
        seen = sum(images for _, images in self._times)
        if seen + n > self.images:
            wait = self._times[0][0] + self.window - now if self._times else float("inf")
            raise RateLimited(
                f"{n} images after {seen} in {self.window:g} s: the limit is {self.images}", wait
            )
        self._times.append((now, n))
        return probabilities

    def seconds_for(self, queries: int) -> float:
        """The least time in which so many images can be asked about."""
        return float(max(0, -(-queries // self.images) - 1) * self.window)


def _hashed(x: Tensor, secret: int) -> tuple[np.ndarray, np.ndarray]:
    """Two numbers in [0, 1) for each image, from its pixels in 256 steps and a secret."""
    pixels = (x.detach().clamp(0, 1) * LEVELS).round().to(torch.uint8).cpu().contiguous()
    key = hashlib.blake2b(str(secret).encode(), digest_size=32).digest()
    words = [
        hashlib.blake2b(row.tobytes(), key=key, digest_size=16).digest()
        for row in pixels.flatten(1).numpy()
    ]
    drawn = np.frombuffer(b"".join(words), dtype=np.uint64).reshape(-1, 2) >> np.uint64(11)
    chance, place = (drawn / 2.0**53).T
    return chance, place
