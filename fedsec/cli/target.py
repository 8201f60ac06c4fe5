"""The options of `fedsec invert` and `fedsec audit`: which network, which client, which update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fedsec.cli.flags import option

MODEL, DATA = "Network and data", "Network and data"
MADE, UPDATE, RUNNING = "A client that is made", "An update that was sent", "Running"


@dataclass(frozen=True)
class TargetFlags:
    """What is attacked; as given, in the order of the help. None is what was left to defaults."""

    victim: Annotated[
        str,
        option(
            MODEL,
            "What clients train: classifier, or diffusion, a model of images. Of the latter"
            " --weights is a file of 'fedsec diffusion train'; without, an untrained small U-Net"
            " of 16 steps.",
        ),
    ] = "classifier"
    net: Annotated[
        str | None,
        option(
            MODEL,
            "linear, mlp, cnn, cnn-bn, cnn-gn, cnn3, cnn6, lenet-sigmoid, resnet.",
            "by data set",
        ),
    ] = None
    model: Annotated[
        str | None,
        option(
            MODEL,
            "Your own network, in place of --net: MODULE:FUNCTION, a function without arguments in"
            " a module of this folder, which is run and gives a torch.nn.Module.",
            False,
        ),
    ] = None
    weights: Annotated[
        str | None,
        option(
            MODEL, "Its parameters, as sent to the client: .safetensors or .npz.",
            "drawn by the seed",
        ),
    ] = None  # fmt: skip
    batch_statistics: Annotated[
        bool,
        option(
            MODEL,
            "The attacker's batch normalisation goes by the batch, as a client's in training.",
            name="--batch-statistics",
        ),
    ] = False
    prior: Annotated[
        str | None,
        option(
            MODEL,
            "The attacker's own trained diffusion model, of --victim diffusion: a file of 'fedsec"
            " diffusion train'.",
            "the model of --weights",
        ),
    ] = None
    data: Annotated[
        str,
        option(
            DATA,
            "digits, mnist, fashion-mnist, cifar10, or the path of an .npz file: what guesses are"
            " made of, and among which images are re-identified.",
        ),
    ] = "digits"
    data_dir: Annotated[
        str | None, option(DATA, "Folder with the .npz files, in place of FEDSEC_DATA.")
    ] = None

    images: Annotated[
        int | None,
        option(MADE, "Its images, drawn from the data set.", "4; 1 of a diffusion model"),
    ] = None
    t: Annotated[
        str | None,
        option(
            MADE,
            "Time steps of a diffusion client, one an image: 3,7; of an update that was sent: if"
            " known.",
            "drawn",
        ),
    ] = None
    batch: Annotated[
        int | None,
        option(MADE, "Images in a local step; of an update that was sent: as known.", "all"),
    ] = None
    epochs: Annotated[int | None, option(MADE, "Local epochs.", "1")] = None
    lr: Annotated[
        float | None,
        option(MADE, "Local learning rate; of an update that was sent: as known.", "0.01"),
    ] = None
    algorithm: Annotated[
        str | None,
        option(
            MADE,
            "fedavg (local training), or fedsgd (it sends one gradient over all its images).",
            "fedavg",
        ),
    ] = None

    update: Annotated[
        str | None, option(UPDATE, "What a client sent: .safetensors or .npz.", False)
    ] = None
    kind: Annotated[
        str | None,
        option(
            UPDATE,
            "What --update holds: gradient, delta (parameters after minus before), or weights (the"
            " parameters after).",
            "as the file says",
        ),
    ] = None
    recording: Annotated[
        str | None,
        option(UPDATE, "In place of --update: the folder of an UpdateTap of a Flower run.", False),
    ] = None
    round: Annotated[
        list[int] | None,
        option(UPDATE, "Of the recording; repeat it to attack several rounds at once.", "first"),
    ] = None
    client: Annotated[int | None, option(UPDATE, "Of the recording.", "first")] = None
    n: Annotated[
        int | None, option(UPDATE, "Images that the client trained on.", "as recorded")
    ] = None
    labels: Annotated[
        str | None, option(UPDATE, "Their classes, if known: 3,1,4,1.", "recovered")
    ] = None
    steps: Annotated[int | None, option(UPDATE, "Local steps, if known.", False)] = None
    order: Annotated[
        str | None,
        option(UPDATE, "Images in each step, by place, if known: 0,1;2,3.", False),
    ] = None
    noise: Annotated[
        str | None,
        option(
            UPDATE,
            "What a diffusion client added to its images, if known: an .npz file with eps (sample,"
            " channel, height, width).",
            False,
        ),
    ] = None
    truth: Annotated[
        str | None,
        option(
            UPDATE,
            "The client's images, to score against: an .npz file with x (sample, height, width[,"
            " 3]) and, if known, y.",
            False,
        ),
    ] = None

    device: Annotated[str, option(RUNNING, "auto, cpu or cuda.")] = "auto"
    seed: Annotated[int, option(RUNNING, "Of all that is drawn.")] = 0
