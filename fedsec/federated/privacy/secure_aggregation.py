"""Secure aggregation: the server learns the weighted mean of the updates, and no single one.

Story   Every client writes its weighted update in fixed point, as integers mod 2^32. Each pair of
        clients shares a key that the server does not know, and expands it to a mask as long as the
        update; the lower id adds it, the higher one subtracts it. A masked update is uniform to
        whoever lacks the keys; in the sum the masks cancel, exactly, and the mean is left.
Paper   Bonawitz et al. (2017), Practical secure aggregation for privacy-preserving machine
        learning, CCS, section 4.0.1 ("masking with one-time pads"). Keys by X25519 (RFC 7748) and
        HKDF-SHA-256 (RFC 5869), masks by ChaCha20 (RFC 8439), all from `cryptography`.
Departures  Dropouts are not recovered. Bonawitz et al. share the keys in secret so that the server
        can remove the masks of a client that vanished, which takes a second mask and more
        exchanges to stay safe. Here `add_up` names who is missing, and the round is repeated
        without it; keys depend on who takes part, so no mask is used twice.

Who is trusted
    The server is honest but curious: it does what it should, and looks at all it gets. It hands
    the public keys around. Nothing here authenticates them, so a server that lies can put its own
    in their place and read everything; a deployment needs signed keys against that.
    A client is hidden among those who do not collude with the server: if all others do, they
    subtract theirs. With two clients, each learns the other's update from the mean.
    A client can send anything within the range: nobody can look at its update to reject it.
    A round repeated with the same clients and other updates would use a mask twice: number it anew.
What a sum still reveals
    The mean itself, to everybody. It is not private: gradients summed over few or similar clients
    can be inverted, membership can be tested, and sums of rounds that differ by one client differ
    by its update. Only noise bounds that: `GaussianNoise` before `SecureAggregation`, accounted for
    by `accounting.aggregate_multiplier`. The numbers of samples are public, as weights.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
import torch
from jaxtyping import UInt32

from fedsec.core.functional import Parameters, flatten, unflatten
from fedsec.core.record import Update
from fedsec.errors import SettingsError, UpdateError
from fedsec.federated.privacy.defence import without_buffers

NEEDS = "secure aggregation needs cryptography: pip install 'crowdlearn[dp]'"


@dataclass(frozen=True, eq=False)
class Masked:
    """What a client sends: its weighted update in fixed point, plus its masks, mod 2^32."""

    client: int
    round: int
    entries: UInt32[np.ndarray, " entry"]


@dataclass(frozen=True, kw_only=True)
class SecureAggregation:
    """The fixed point that updates are written in, and a whole round of the protocol.

    bits   after the binary point: a step is 2^-bits. 0 to 30
    range  an entry of an update is in [-range, range], or the update is refused. One bit is kept
           for the rounding of the sum, so range * 2^bits is at most 2^30

    Each client rounds once, so the mean is off by at most half a step for each client.
    """

    bits: int = 24
    range: float = 64.0

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= 30:
            raise SettingsError(f"secure aggregation: {self.bits} bits; 0 to 30 are possible")
        if not 0 < self.range <= 2.0 ** (30 - self.bits):
            raise SettingsError(
                f"secure aggregation: range {self.range} with {self.bits} bits after the point does"
                f" not fit 32 bits; the range must be in (0, {2.0 ** (30 - self.bits)}]"
            )

    @property
    def step(self) -> float:
        """The distance of neighbouring values."""
        return 2.0**-self.bits

    def mean(self, updates: Sequence[Update], rng: np.random.Generator) -> Parameters:
        """The mean of the updates weighted by `n`, by the protocol, on one machine.

        The keys come from `rng`; the mean does not depend on them. Raises UpdateError where an
        update has a value out of range, is not finite, has buffers or does not fit the others.
        """
        _refuse_unlike(updates)
        secrets = {update.client: rng.bytes(32) for update in updates}
        public = {client: public_key(secret) for client, secret in secrets.items()}
        n_total = sum(update.n for update in updates)
        messages = [
            self.masked(update, update.n / n_total, secrets[update.client], public)
            for update in updates
        ]
        return self.decode(add_up(messages, public, updates[0].round), updates[0].tensors)

    def masked(
        self, update: Update, weight: float, secret: bytes, public: Mapping[int, bytes]
    ) -> Masked:
        """The client's part: encode its weighted update, and add its masks."""
        entries = self.encode(update, weight)
        masks = pair_masks(update.client, secret, public, update.round, len(entries))
        return Masked(update.client, update.round, entries + masks)

    def encode(self, update: Update, weight: float) -> UInt32[np.ndarray, " entry"]:
        """weight * update in fixed point, negative numbers from 2^32 down.

        `weight` is in [0, 1], and those of all clients sum to 1: so the sum cannot overflow. Raises
        UpdateError, naming the client, where an entry of the update is out of range.
        """
        if not 0 <= weight <= 1:
            raise SettingsError(f"client {update.client}: weight {weight} is not in [0, 1]")
        for name, value in without_buffers(update.checked(), "secure aggregation").tensors.items():
            found = float(value.abs().max()) if value.numel() else 0.0
            if found > self.range:
                raise UpdateError(
                    f"client {update.client}, round {update.round}: an entry of {name!r} has"
                    f" magnitude {found:.4g}, out of the range {self.range:g}; clip the update, or"
                    " take fewer bits and a larger range"
                )
        exact = flatten(update.tensors).detach().cpu().double().numpy() * (weight / self.step)
        return np.rint(exact).astype(np.int32).view(np.uint32)

    def decode(self, total: UInt32[np.ndarray, " entry"], like: Parameters) -> Parameters:
        """What a sum stands for, as tensors with the names, shapes, dtypes and device of `like`."""
        values = torch.from_numpy(total.view(np.int32).astype(np.float64) * self.step)
        return {name: value.to(like[name]) for name, value in unflatten(values, like).items()}


def add_up(
    messages: Sequence[Masked], participants: Collection[int], round: int
) -> UInt32[np.ndarray, " entry"]:
    """The server's part: the sum mod 2^32, in which the masks of all participants cancel.

    Raises UpdateError where a participant sent nothing for this round, or somebody sent twice or
    uninvited.
    """
    senders = [message.client for message in messages if message.round == round]
    missing = sorted(set(participants) - set(senders))
    if missing:
        raise UpdateError(
            f"client {', '.join(map(str, missing))}, round {round}: nothing was sent, so the masks"
            " that others share with it do not cancel; repeat the round without it"
        )
    if sorted(senders) != sorted(participants):
        raise UpdateError(
            f"round {round}: clients {sorted(senders)} sent, {sorted(participants)} were to"
        )
    total = np.zeros_like(messages[0].entries)
    for message in messages:
        if message.round == round:
            total += message.entries
    return total


def pair_masks(
    client: int, secret: bytes, public: Mapping[int, bytes], round: int, n_entries: int
) -> UInt32[np.ndarray, " entry"]:
    """All masks of one client, summed mod 2^32. `public`: the key of every participant by id."""
    context = sha256(f"fedsec masks, round {round}, clients {sorted(public)}".encode()).digest()
    total = np.zeros(n_entries, dtype=np.uint32)
    for other, key in public.items():
        if other == client:
            continue
        mask = keystream(pair_key(secret, key, context), n_entries)
        if client < other:
            total += mask
        else:
            total -= mask
    return total


def public_key(secret: bytes) -> bytes:
    """The X25519 public key of 32 secret bytes: `os.urandom(32)` in a deployment."""
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    except ImportError as error:
        raise ImportError(NEEDS) from error
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def pair_key(secret: bytes, other: bytes, context: bytes) -> bytes:
    """The 32-byte key of two clients, the same from either side; another for another context."""
    try:
        from cryptography.hazmat.primitives.asymmetric.x25519 import (
            X25519PrivateKey,
            X25519PublicKey,
        )
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    except ImportError as error:
        raise ImportError(NEEDS) from error
    agreed = X25519PrivateKey.from_private_bytes(secret).exchange(
        X25519PublicKey.from_public_bytes(other)
    )
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=context).derive(agreed)


def keystream(key: bytes, n_entries: int) -> UInt32[np.ndarray, " entry"]:
    """The ChaCha20 stream of a 32-byte key, as words. The nonce is 0: a key is used once."""
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
    except ImportError as error:
        raise ImportError(NEEDS) from error
    cipher = Cipher(ChaCha20(key, nonce=bytes(16)), mode=None).encryptor()
    return np.frombuffer(cipher.update(bytes(4 * n_entries)), dtype="<u4").astype(np.uint32)


def _refuse_unlike(updates: Sequence[Update]) -> None:
    """Raises SettingsError for fewer than two clients, UpdateError where updates do not match."""
    if len(updates) < 2:
        raise SettingsError("secure aggregation: one client cannot hide; at least 2 are needed")
    if len({update.client for update in updates}) < len(updates):
        raise UpdateError(f"a client is there twice: {[update.client for update in updates]}")
    first = updates[0]
    shapes = {name: value.shape for name, value in first.tensors.items()}
    for update in updates:
        same = (update.kind, update.round) == (first.kind, first.round)
        if not same or shapes != {name: value.shape for name, value in update.tensors.items()}:
            raise UpdateError(
                f"client {update.client}, round {update.round}: kind, round, names or shapes of its"
                f" {update.kind} differ from those of client {first.client}"
            )
        if update.n < 1:
            raise UpdateError(f"client {update.client}, round {update.round}: it has no samples")
