"""What `fedsec steal` does is what the library does; what it is given badly, it names."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from safetensors import safe_open
from safetensors.torch import save_file

from fedsec.cli.steal import DEFENCES_SAID, METHODS_SAID, NETS_SAID, TRANSFERS_SAID
from fedsec.core.functional import load_state, state_of
from fedsec.core.record import Result, read_results
from fedsec.data.images import ImageData
from fedsec.inversion.files import read_state
from fedsec.nets import NETS, make_net
from fedsec.stealing.lineup import LINEUP, Stake, method_for
from fedsec.stealing.oracle import ModelOracle
from fedsec.stealing.perturbations import PERTURBATIONS
from fedsec.stealing.victims import Recipe, train_victim
from tests.fedsec.cli.commands import done, refused, run, started

QUICK = ("--budget", 600, "--passes", 1, "--batch", 64, "--substitute", "linear")
ALWAYS = {"results.jsonl", "curves.jsonl", "settings.json", "curves.png", "checkpoints"}
TOLD = """
import fedsec.cli.bars as bars
from contextlib import contextmanager
@contextmanager
def told(*given):
    yield lambda *_: print("playing", flush=True)
bars.moving_bar = told
"""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, digits: ImageData) -> Path:
    """A file as `fedsec train` writes it."""
    _, state = train_victim(digits, 0, Recipe(net="linear", steps=200, lr=1e-2))
    path = tmp_path_factory.mktemp("victim") / "victim.safetensors"
    save_file(
        dict(state.parameters), path,
        metadata={"fedsec": json.dumps({"net": "linear", "data": "digits"})},
    )  # fmt: skip
    return path


def results(*words: object) -> dict[str, Result]:
    """The results of a command, by method and seed."""
    lines = done("steal", *QUICK, *words, "--json").stdout.splitlines()
    found = [Result.from_json(line) for line in lines]
    return {f"{one.settings['method']} {one.seed}": one for one in found}


def curves_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def test_the_copy_that_is_written_is_that_of_the_library(
    victim: Path, digits: ImageData, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    said = done("steal", "--victim", victim, "--method", "dfme", *QUICK, "--out", out).stdout
    found = {one.settings["method"]: one for one in read_results(out / "results.jsonl")}
    assert list(found) == ["dfme", "noise"]
    assert {path.name for path in out.iterdir()} == ALWAYS | {
        "copy.safetensors", "copy-noise-0.safetensors", "classes-dfme.png", "classes-noise.png"
    }  # fmt: skip
    net = make_net("linear", digits, 0)
    oracle = ModelOracle(net, read_state(victim, net), (1, 8, 8), 10, budget=600)
    stake = Stake(budget=600, mode="labels", shape=(1, 8, 8), n_classes=10, passes=1, batch=64)
    copy = make_net("linear", digits, 1_000_003)
    stolen = method_for("dfme", stake)(oracle, copy, seed=0)
    # records are where the best copy is chosen, so both look at the last one too
    kept = read_state(out / "copy.safetensors", copy)
    measures = found["dfme"].measures
    assert measures["queries"] == stolen.queries == 600
    assert measures["steps"] == stolen.substitute_steps
    with torch.no_grad():
        labels = load_state(copy, kept)(digits.test.x).argmax(dim=1)
        victims = load_state(net, read_state(victim, net))(digits.test.x).argmax(dim=1)
    assert_allclose(measures["accuracy"], (labels == digits.test.y).double().mean())
    assert_allclose(measures["agreement"], (labels == victims).double().mean())
    assert_allclose(measures["victim_accuracy"], (victims == digits.test.y).double().mean())
    assert f"{100 * measures['agreement']:.1f}" in said and f"written to {out}" in said
    assert "For 600 labels anybody gets" in said
    curve = [one for one in curves_in(out) if one["method"] == "dfme"]
    assert curve[-1]["queries"] == 600 and sum(curve[-1]["histogram"]) > 0
    assert_allclose(curve[-1]["accuracy"], measures["last_accuracy"])
    with safe_open(out / "copy.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["fedsec"]) == {"net": "linear", "data": "digits"}


def test_a_victim_is_trained_and_its_file_is_taken_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--method", "noise", "--data", "digits")
    trained = results(
        "--train-victim", "--net", "linear", "--limit", 300, *words, "--out", out
    )["noise 0"]  # fmt: skip
    again = results("--victim", out / "victim.safetensors", *words)["noise 0"]
    assert trained.measures == again.measures
    assert trained.measures["victim_accuracy"] > 0.5


def test_seeds_probabilities_and_transfer(victim: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = results(
        "--victim", victim, "--method", "mega", "--mode", "probabilities", "--seeds", 2,
        "--transfer", "fgsm", "--transfer", "pgd", "--eps", "0,0.3", "--target", "1", "--out", out,
        "--set", "mega.lr_g=1e-3",
    )  # fmt: skip
    assert set(found) == {"mega 0", "mega 1", "noise 0", "noise 1"}
    one = found["mega 1"]
    assert one.settings["attack"]["lr_g"] == 1e-3 and one.settings["mode"] == "probabilities"
    rows = one.measures["transfer"]
    assert [(row["attack"], row["eps"]) for row in rows] == [
        ("fgsm", 0), ("fgsm", 0.3), ("pgd", 0), ("pgd", 0.3)
    ]  # fmt: skip
    assert all(row["target"] == 1 for row in rows)
    assert rows[0]["success"] == rows[2]["success"] == 0  # nothing moves at eps 0
    assert rows[1]["largest"] <= 0.3 + 1e-6
    assert {"copy-mega-0.safetensors", "copy-noise-1.safetensors", "transfer-fgsm.png"} <= {
        path.name for path in out.iterdir()
    }


def test_answers_are_defended_and_what_that_costs_is_said(victim: Path) -> None:
    words = ("--victim", victim, "--method", "noise")
    flips = ("--defence", "label-flips:share=0.5,secret=3")
    found = results(*words, *flips, "--defence", "detector:threshold=0.9")["noise 0"]
    plain = results(*words)["noise 0"].measures
    measures = found.measures
    assert plain["defended_accuracy"] is None
    assert plain["victim_accuracy"] == measures["victim_accuracy"]
    assert_allclose(measures["defended_accuracy"], measures["victim_accuracy"] / 2, atol=0.08)
    assert measures["agreement"] != plain["agreement"]
    assert 0 < measures["detector"]["score"] <= 1
    assert [one["is"] for one in found.settings["defences"]] == ["label-flips", "detector"]
    limited = results(*words, "--defence", "rate-limit:images=100,window=60")["noise 0"].measures
    assert limited["stopped"] == "refused" and limited["queries"] <= 100
    assert limited["rate_limit"]["seconds"] == 300
    said = done("steal", *words, *QUICK, *flips).stdout
    assert "as its answers leave the API" in said


def test_the_same_folder_goes_on_with_what_it_holds(victim: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("--victim", victim, "--method", "noise", "--out", out)
    first = results(*words)["noise 0"]
    more = results(*words, "--seeds", 2)
    assert more["noise 0"].measures == first.measures
    assert more["noise 0"].seconds == first.seconds  # it was not run again
    assert "also has noise-1, which was not asked for" in refused("steal", *QUICK, *words)
    other = (*QUICK[2:], "--budget", 700)
    assert "was made with budget 600, and 700 is asked for" in refused("steal", *other, *words)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "mine.txt").write_text("mine")
    words = ("--victim", victim, "--out", strange)
    assert "is not empty: choose a new folder" in refused("steal", *QUICK, *words)


def test_ctrl_c_keeps_a_checkpoint_and_the_rest_is_as_if_never_stopped(
    victim: Path, tmp_path: Path
) -> None:
    # small batches: many iterations, so that it is stopped in the middle of one method
    words = (
        "--victim", victim, "--method", "tandemgan", "--budget", 5_000, "--passes", 3, "--batch",
        64, "--substitute", "linear",
    )  # fmt: skip
    out = tmp_path / "out"
    process = started(TOLD, "steal", *words, "--out", out)
    assert process.stdout is not None
    for _ in range(3):
        assert process.stdout.readline() == "playing\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said and "the same command goes on from it" in said
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"tandemgan-0.safetensors"}
    assert not (out / "results.jsonl").exists()
    done("steal", *words, "--out", out)
    done("steal", *words, "--out", tmp_path / "whole")
    first, whole = (
        [one.measures for one in read_results(folder / "results.jsonl")]
        for folder in (out, tmp_path / "whole")
    )
    assert first == whole


@pytest.fixture
def server(victim: Path, digits: ImageData) -> Iterator[tuple[str, list[int]]]:
    """A URL that answers as the victim, and how many images each request had."""
    net = make_net("linear", digits, 0)
    load_state(net, read_state(victim, net))
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.headers["X-Key"] != "mine":
                self.send_response(403)
                self.end_headers()
                return
            asked.append(len(body["images"]))
            with torch.no_grad():
                labels = net(torch.tensor(body["images"])).argmax(dim=1).tolist()
            content = json.dumps({"labels": labels}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}/", asked
    serving.shutdown()
    serving.server_close()
    thread.join()


def test_a_url_gives_what_the_file_gives_and_is_asked_no_more_than_said(
    victim: Path, server: tuple[str, list[int]], tmp_path: Path
) -> None:
    url, asked = server
    words = ("--method", "noise", "--test-limit", 50, "--transfer", "fgsm", "--eps", "0.2")
    out = tmp_path / "out"
    key = ("--header", "X-Key: mine")
    remote = results("--url", url, *key, *words, "--out", out)["noise 0"]
    local = results("--victim", victim, *words)["noise 0"]
    assert remote.measures == local.measures
    right = remote.measures["transfer"][0]["n"]
    assert sum(asked) == 600 + 50 + 50 + right  # the attack; owner: labels, transfer before, after
    asked.clear()
    done("steal", *QUICK, "--url", url, *key, *words, "--out", out)
    assert asked == []  # all of it is in the journals
    assert "status 403" in refused("steal", *QUICK, "--url", url, *words)


def test_the_help_names_what_the_tables_hold() -> None:
    from fedsec.cli.answering import KINDS

    assert METHODS_SAID.replace(", or all", "").split(", ") == [*LINEUP]
    assert DEFENCES_SAID.split(", ") == [*KINDS]
    assert TRANSFERS_SAID.split(", ") == [*PERTURBATIONS]
    assert NETS_SAID.split(", ") == [*NETS]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "whose model? Give --victim FILE, --url ADDRESS, or --train-victim"),
        (("--train-victim", "--url", "http://x"), "--train-victim and --url: give one of them"),
        (("--train-victim", "--method", "magic"), "'magic' is not one of mega, mega+"),
        (("--train-victim", "--budget", 0), "--budget is 0: give at least 1"),
        (("--train-victim", "--mode", "logits"), "'logits' is not one of labels, probabilities"),
        (("--train-victim", "--substitute", "vgg"), "'vgg' is not one of linear"),
        (("--train-victim", "--defence", "walls"), "'walls' is not one of label-flips"),
        (("--train-victim", "--defence", "label-flips"), "needs share, as label-flips:share"),
        (("--train-victim", "--defence", "label-flips:share=2"), "share = 2.0: give a number"),
        (("--train-victim", "--defence", "rounded:digits=2"), "no such setting as 'digits'"),
        (("--train-victim", "--transfer", "magic"), "'magic' is not one of fgsm"),
        (("--train-victim", "--eps", "0.1"), "--eps has no effect here"),
        (("--train-victim", "--transfer", "bim", "--eps", "0.3,0.1"), "from 0 to 1, rising"),
        (("--train-victim", "--transfer", "bim", "--target", "cat"), "'cat' is no class"),
        (("--train-victim", "--set", "mega.lr_g=1"), "'mega' is not one of mega+, noise"),
        (("--train-victim", "--set", "noise.colour=1"), "no such setting of noise"),
        (("--train-victim", "--set", "noise.pool=much"), "'much' is not a whole number"),
        (("--train-victim", "--set", "noise.pool=0"), "pool = 0: give at least 1"),
        (("--train-victim", "--model", "mine:net"), "--model has no effect here"),
        (("--url", "http://x", "--defence", "top-one"), "--defence has no effect here"),
        (("--url", "http://x", "--header", "key"), "write 'NAME: VALUE'"),
        (("--victim", "gone.safetensors"), "there is no such file"),
        (("--victim", "model.pt"), "a pickle can run code"),
        (("--victim", "x.safetensors", "--limit", 5), "--limit has no effect here"),
        (("--train-victim", "--surrogate", "mnist"), "--surrogate has no effect here"),
        (("--train-victim", "--method", "knockoff", "--surrogate", "digits"), "the victim's own"),
    ],
)
def test_what_is_given_badly_is_named(words: tuple[object, ...], said: str) -> None:
    assert said in refused("steal", *words)


def test_a_file_of_another_network_or_that_names_none_is_refused(
    victim: Path, digits: ImageData, tmp_path: Path
) -> None:
    assert "is it of another network" in refused("steal", "--victim", victim, "--net", "cnn")
    nameless = tmp_path / "nameless.safetensors"
    save_file(dict(state_of(make_net("linear", digits, 0)).parameters), nameless)
    assert "does not say which network it is of: give --net" in refused(
        "steal", "--victim", nameless
    )
    found = run("steal", "--victim", nameless, "--net", "linear", "--method", "noise", *QUICK)
    assert found.exit_code == 0


def test_images_that_fit_no_generator_are_refused(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "odd.npz"
    x, y = np.zeros((20, 10, 10), dtype=np.uint8), np.arange(20) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y)
    words = ("--train-victim", "--net", "linear", "--data", path, "--method", "mega", *QUICK)
    assert "images of 10 x 10" in refused("steal", *words)
