"""What every defence promises, over the table; and their composition."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from fedsec.core.record import Update
from fedsec.core.rng import torch_stream
from fedsec.errors import UpdateError
from fedsec.federated.privacy import DEFENCES, Clip, Quantise, TopK, apply_defences


@pytest.fixture
def update() -> Update:
    """Two tensors, of 12 and 5 entries, in single and double precision."""
    generator = torch_stream(0, "test")
    tensors = {
        "weight": torch.randn(3, 4, generator=generator),
        "bias": torch.randn(5, generator=generator, dtype=torch.float64),
    }
    return Update("delta", tensors, round=3, client=7, n=20)


@pytest.mark.parametrize("make", DEFENCES.values(), ids=DEFENCES)
class TestEveryDefence:
    def test_keeps_all_but_the_values(self, make, update):
        sent = make()(update, torch_stream(1, "defence"))
        assert list(sent.tensors) == list(update.tensors)
        for name, value in update.tensors.items():
            assert (sent.tensors[name].shape, sent.tensors[name].dtype) == (
                value.shape,
                value.dtype,
            )
        assert (sent.kind, sent.round, sent.client, sent.n) == ("delta", 3, 7, 20)

    def test_leaves_its_input_alone(self, make, update):
        before = {name: value.clone() for name, value in update.tensors.items()}
        make()(update, torch_stream(1, "defence"))
        assert all(torch.equal(update.tensors[name], value) for name, value in before.items())

    def test_the_same_stream_gives_the_same_bits(self, make, update):
        first, second = (make()(update, torch_stream(1, "defence")) for _ in range(2))
        assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_an_update_that_is_not_finite_is_refused_by_name(self, make, update, bad):
        update.tensors["bias"][2] = bad
        with pytest.raises(UpdateError, match=r"client 7, round 3: 1 of 5 entries of 'bias'"):
            make()(update, torch_stream(1, "defence"))

    def test_settings_are_frozen(self, make, update):
        defence = make()
        with pytest.raises(FrozenInstanceError):
            defence.norm = 2.0


def test_defences_apply_in_turn(update):
    stream = torch_stream(1, "defence")
    by_hand = Quantise(bits=4)(TopK(share=0.5)(Clip(norm=0.5)(update, stream), stream), stream)
    defences = [Clip(norm=0.5), TopK(share=0.5), Quantise(bits=4)]
    sent = apply_defences(update, defences, torch_stream(1, "defence"))
    assert all(torch.equal(sent.tensors[name], by_hand.tensors[name]) for name in sent.tensors)


def test_no_defence_sends_the_update_itself(update):
    assert apply_defences(update, [], torch_stream(1, "defence")) is update


def test_a_function_is_a_defence_too(update):
    def hide(update: Update, generator: torch.Generator) -> Update:
        return replace(update, tensors={k: 0 * v for k, v in update.tensors.items()})

    sent = apply_defences(update, [hide, Clip(norm=1.0)], torch_stream(1, "defence"))
    assert all((value == 0).all() for value in sent.tensors.values())
