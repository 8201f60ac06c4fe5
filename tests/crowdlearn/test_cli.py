"""Commands do what the library does, fail in one line, and leave whole results or none."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

import crowdlearn
from crowdlearn import Aggregation, aggregator, read_truth, read_votes
from crowdlearn.cli import app
from crowdlearn.cli.options import classes_of, columns_of, make_method, title_of, typed
from crowdlearn.errors import ConvergenceWarning, SettingsError, VotesError
from crowdlearn.evaluation import ece, error, log_loss

ROOT = Path(crowdlearn.__file__).parents[1]
FILES = {"labels.csv", "workers.csv", "posterior.parquet", "summary.json", "report.html"}

SLOW = """
import sys, time
from crowdlearn.aggregators import DawidSkene
fast = DawidSkene.fit
def fit(self, votes, *, gold=None, on_sweep=None):
    def slowly(sweep):
        print("sweeping", flush=True)
        time.sleep({pause} if sweep.number >= 3 else 0)
        return on_sweep(sweep)
    return fast(self, votes, gold=gold, on_sweep=slowly)
DawidSkene.fit = fit
from crowdlearn.cli import main
main()
"""


def run(*words: object, stdin: bytes | None = None) -> Result:
    """A command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], input=stdin)


def error_of(*words: object) -> str:
    """The one line on stderr of a command that is refused."""
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.stderr.rstrip("\n")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with labels.csv, truth.csv and more from a simulated world."""
    folder = tmp_path_factory.mktemp("data") / "world"
    done = run("simulate", "dawid-skene", "--out", folder, "--items", 150, "--workers", 15)
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def saved(data) -> Path:
    """The folder that aggregate wrote of it."""
    out = data.parent / "result"
    words = ("aggregate", data / "labels.csv", "--method", "dawid-skene", "--out", out)
    assert run(*words, "--truth", data / "truth.csv", "--set", "pseudocount=0.5").exit_code == 0
    return out


# --- aggregate


def test_aggregate_writes_what_the_library_gives(data, saved):
    votes = read_votes(data / "labels.csv")
    fit = aggregator("dawid-skene", pseudocount=0.5).fit(votes)
    loaded = Aggregation.load(saved)
    np.testing.assert_allclose(loaded.posterior, fit.posterior)
    assert loaded.settings == fit.settings
    labels = pyarrow.csv.read_csv(saved / "labels.csv").to_pydict()
    assert [str(label) for label in labels["label"]] == fit.label_names().to_pylist()
    assert [str(task) for task in labels["task"]] == votes.items.to_pylist()
    workers = pyarrow.csv.read_csv(saved / "workers.csv")
    np.testing.assert_allclose(workers["accuracy"].to_numpy(), fit.worker_accuracy.mean)
    posterior = pyarrow.parquet.read_table(saved / "posterior.parquet")
    np.testing.assert_allclose(posterior["confidence"].to_numpy(), fit.confidence)
    assert set(os.listdir(saved)) >= FILES


def test_aggregate_scores_against_the_truth(data, saved):
    votes = read_votes(data / "labels.csv")
    truth = read_truth(data / "truth.csv", votes)
    fit = Aggregation.load(saved)
    found = json.loads((saved / "summary.json").read_text())["evaluation"]
    assert found["error"] == pytest.approx(error(fit.posterior, truth))
    assert found["log_loss"] == pytest.approx(log_loss(fit.posterior, truth))
    assert found["ece"] == pytest.approx(ece(fit.posterior, truth))
    assert "Against the truth" in (saved / "report.html").read_text()


def test_aggregate_keeps_gold_answers(data, tmp_path):
    gold = tmp_path / "gold.csv"
    names = pyarrow.csv.read_csv(data / "labels.csv")["task"].unique().to_pylist()[:3]
    gold.write_text("task,label\n" + "".join(f"{name},1\n" for name in names))
    out = tmp_path / "out"
    words = ("aggregate", data / "labels.csv", "--method", "bcc", "--gold", gold, "--out", out)
    assert run(*words).exit_code == 0
    fit = Aggregation.load(out)
    assert (fit.gold >= 0).sum() == 3
    assert all(fit.labels[fit.votes.item_code(name)] == 1 for name in names)


def test_aggregate_prints_tables_without_out(data):
    done = run("aggregate", data / "labels.csv", "--method", "dawid-skene")
    assert done.exit_code == 0
    for words in ("Classes", "most contested items", "most accurate first", "The fit settled"):
        assert words in done.stdout
    assert done.stderr == ""


def test_aggregate_prints_one_json_object(data):
    done = run("aggregate", data / "labels.csv", "--method", "one-coin", "--json")
    assert done.stdout.count("\n") == 1
    found = json.loads(done.stdout)
    assert (found["method"], found["n_items"], found["out"]) == ("one-coin", 150, None)


def test_quiet_prints_nothing(data):
    done = run("aggregate", data / "labels.csv", "--method", "majority", "--quiet")
    assert (done.exit_code, done.output) == (0, "")


def test_several_files_globs_and_standard_input_are_one_input(data, tmp_path):
    head, *rows = (data / "labels.csv").read_text().splitlines(keepends=True)
    for place in range(3):
        (tmp_path / f"part{place}.csv").write_text(head + "".join(rows[place * 250 :][:250]))
    whole = run("aggregate", data / "labels.csv", "-m", "majority", "--json")
    parts = [tmp_path / f"part{place}.csv" for place in range(3)]
    expected = {**json.loads(whole.stdout), "seconds": 0}
    for words in (parts, [tmp_path / "part*.csv"]):
        found = json.loads(run("aggregate", *words, "-m", "majority", "--json").stdout)
        assert {**found, "seconds": 0} == expected
    stdin = (data / "labels.csv").read_bytes()
    piped = run("aggregate", "-", "-m", "majority", "--json", stdin=stdin)
    assert {**json.loads(piped.stdout), "seconds": 0} == expected


def test_columns_and_classes_are_passed_on(tmp_path):
    path = tmp_path / "v.csv"
    path.write_text("doc,rater,says\na,w,yes\na,v,no\n")
    columns = "item=doc, worker=rater, label=says"
    words = ("aggregate", path, "-m", "majority", "--json", "--columns", columns)
    found = json.loads(run(*words, "--classes", 'yes,"well, maybe",no').stdout)
    assert found["classes"] == ["yes", "well, maybe", "no"]


# --- refusals: one line, exit code 2, nothing written


def test_bad_rows_are_refused_with_the_words_of_the_library(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("task,worker,label\na,w1,cat\na,w2,\n")
    out = tmp_path / "out"
    said = error_of("aggregate", path, "--out", out)
    assert said.startswith(f"{path}, row 3, column 'label': ")
    with pytest.raises(VotesError) as raised:
        read_votes(path)
    assert said == str(raised.value)
    assert not out.exists()


def test_missing_values_can_be_left_out_with_a_warning(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("task,worker,label\na,w1,cat\na,w2,dog\nb,w2,\n")
    done = run("aggregate", path, "-m", "majority", "--drop-missing", "-q")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "warning: 1 of 3 rows left out: 1 without label\n"


def test_convergence_is_warned_of_in_one_line(data):
    done = run("aggregate", data / "labels.csv", "-m", "dawid-skene", "--max-sweeps", 2, "-q")
    assert done.exit_code == 0
    assert done.stderr.startswith("warning: dawid-skene: not converged after 2 sweeps")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "magic"], "method 'magic' is not one of majority, wawa, dawid-skene, "),
        (["-m", "majority", "--max-sweeps", "3"], "majority has no setting 'max_sweeps'; its set"),
        (["-m", "majority", "--set", "x=1"], "majority has no setting 'x'; its settings are seed"),
        (["--set", "max_sweeps=ten"], "--set max_sweeps=ten: 'ten' is not a whole number"),
        (["--set", "tolerance=low"], "--set tolerance=low: 'low' is not a number"),
        (["--set", "start=best"], "--set start=best: choose from soft-majority, hard-majority"),
        (["--set", "tolerance"], "--set tolerance: write it as pseudocount=0.1"),
        (["--tolerance", "-1"], "tolerance must be at least 0, not -1.0"),
        (["--columns", "task"], "--columns task: write it as item=doc,worker=rater,label=vote"),
    ],
)
def test_bad_settings_are_refused(data, words, said):
    assert error_of("aggregate", data / "labels.csv", *words).startswith(said)


def test_a_missing_file_is_refused(tmp_path):
    assert f"{tmp_path / 'no.csv'}: there is no such file" in error_of(
        "aggregate", tmp_path / "no.csv"
    )


def test_a_folder_of_other_things_is_not_overwritten(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    said = error_of("aggregate", data / "labels.csv", "-m", "majority", "--out", tmp_path)
    assert said.startswith(f"{tmp_path}: holds other files")
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_an_earlier_result_is_replaced_as_a_whole(data, tmp_path):
    for method in ("dawid-skene", "majority"):
        words = ("aggregate", data / "labels.csv", "-m", method, "--out", tmp_path / "out")
        assert run(*words).exit_code == 0
    assert Aggregation.load(tmp_path / "out").method == "majority"
    assert os.listdir(tmp_path) == ["out"]


def test_a_place_that_cannot_be_written_is_refused(data):
    said = error_of("aggregate", data / "labels.csv", "-m", "majority", "--out", "/proc/out")
    assert said.startswith("/proc/out: was not written: ")


def test_a_full_disk_is_refused_and_left_empty(data, tmp_path):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(mounted, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a small file system")
    try:
        out = tmp_path / "out"
        said = error_of("aggregate", data / "labels.csv", "-m", "majority", "--out", out)
        assert said.startswith(f"{out}: was not written: the disk is full")
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_bug_is_not_dressed_up_as_bad_input(data, monkeypatch):
    def broken(self, votes, **_):
        raise ZeroDivisionError

    monkeypatch.setattr("crowdlearn.aggregators.MajorityVote.fit", broken)
    done = run("aggregate", data / "labels.csv", "-m", "majority")
    assert isinstance(done.exception, ZeroDivisionError)


# --- Ctrl-C


def slow_command(out: Path, data: Path, pause: float) -> subprocess.Popen[str]:
    words = ["aggregate", data / "labels.csv", "-m", "dawid-skene", "--tolerance", "0"]
    words += ["--max-sweeps", "100000", "--out", out]
    started = subprocess.Popen(
        [sys.executable, "-c", SLOW.format(pause=pause), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert started.stdout is not None
    for _ in range(3):
        assert started.stdout.readline() == "sweeping\n"
    return started


def test_ctrl_c_keeps_the_result_so_far(data, tmp_path):
    started = slow_command(tmp_path / "out", data, 0.05)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=120)
    assert started.returncode == 130
    assert "stopping after this sweep" in said and "interrupted: the result after" in said
    assert "Traceback" not in said
    fit = Aggregation.load(tmp_path / "out")
    assert fit.history.stopped and 3 <= fit.history.n_sweeps < 1000
    assert set(os.listdir(tmp_path / "out")) >= FILES


def test_a_second_ctrl_c_leaves_at_once_and_writes_nothing(data, tmp_path):
    started = slow_command(tmp_path / "out", data, 20)
    for _ in range(2):
        started.send_signal(signal.SIGINT)
        time.sleep(1)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert said.splitlines()[-1] == "interrupted: nothing was written"
    assert os.listdir(tmp_path) == []


def test_resume_adds_draws_to_an_earlier_result(data, tmp_path):
    short = ("--method", "bcc-gibbs", "--set", "n_warmup=5", "--set", "n_draws=20")
    first = ("aggregate", data / "labels.csv", *short, "--out", tmp_path / "first", "--quiet")
    assert run(*first).exit_code == 0
    done = run(*first, "--resume", tmp_path / "first")
    assert done.exit_code == 0, done.stderr
    fit = Aggregation.load(tmp_path / "first")
    assert fit.draws.log_density.shape[1] == 40
    whole = aggregator("bcc-gibbs", n_warmup=5, n_draws=40)
    with pytest.warns(ConvergenceWarning):
        expected = whole.fit(read_votes(data / "labels.csv")).draws.log_density
    np.testing.assert_array_equal(fit.draws.log_density, expected)
    refused = error_of("aggregate", data / "labels.csv", "--resume", tmp_path / "first")
    assert refused == "--resume: bcc draws nothing that could be added to"


# --- the other commands


def test_compare_gives_one_object_a_method(data):
    words = ("compare", data / "labels.csv", "--truth", data / "truth.csv", "--seeds", 2)
    done = run(*words, "--methods", "majority,dawid-skene,bcc-gibbs", "--json")
    rows = {row["method"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert set(rows) == {"majority", "dawid-skene", "bcc-gibbs"}
    votes = read_votes(data / "labels.csv")
    truth = read_truth(data / "truth.csv", votes)
    expected = error(aggregator("dawid-skene").fit(votes).posterior, truth)
    assert rows["dawid-skene"]["error"] == pytest.approx(expected)
    assert {"log_loss", "ece", "seconds", "error_spread"} <= set(rows["majority"])
    assert [rows[m]["n_runs"] for m in ("majority", "bcc-gibbs")] == [1, 2]
    assert rows["majority"]["error_spread"] is None
    assert min(row["error_difference"] for row in rows.values()) == 0


def test_compare_prints_a_table(data):
    words = ("compare", data / "labels.csv", "--truth", data / "truth.csv")
    done = run(*words, "--methods", "majority,wawa")
    assert done.exit_code == 0
    assert "majority" in done.stdout and "wawa" in done.stdout


def test_ctrl_c_in_a_comparison_shows_the_runs_that_are_done(data, monkeypatch):
    from crowdlearn.evaluation import comparison

    whole = comparison.compare

    def cut_short(votes, truth, methods, seeds, on_done):
        whole(votes, truth, ["majority"], seeds, on_done)
        raise KeyboardInterrupt

    monkeypatch.setattr(comparison, "compare", cut_short)
    done = run("compare", data / "labels.csv", "--truth", data / "truth.csv", "--json")
    assert done.exit_code == 130
    assert [json.loads(line)["method"] for line in done.stdout.splitlines()] == ["majority"]
    assert done.stderr == "interrupted: shown are the runs that were finished (1)\n"


def test_ctrl_c_before_the_fit_leaves_nothing(data, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("crowdlearn.io.read_votes", interrupted)
    done = run("aggregate", data / "labels.csv", "--out", tmp_path / "out")
    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr == "interrupted: nothing was written\n"
    assert os.listdir(tmp_path) == []


def test_messages_hold_no_control_characters(tmp_path):
    said = error_of("aggregate", tmp_path / "a\x1b[31m\nb.csv")
    assert said.isprintable()


def test_compare_refuses_an_unknown_method(data):
    words = ("compare", data / "labels.csv", "--truth", data / "truth.csv")
    assert error_of(*words, "--methods", "majority,magic").startswith(
        "method 'magic' is not one of"
    )


def test_workers_ranks_them(data, saved):
    shown = run("workers", saved)
    assert shown.exit_code == 0 and "most accurate first" in shown.stdout
    found = json.loads(run("workers", saved, "--json").stdout)
    assert len(found["workers"]) == 15
    fitted = run("workers", data / "labels.csv", "-m", "dawid-skene", "--set", "pseudocount=0.5")
    assert fitted.stdout == shown.stdout


def test_a_saved_result_is_not_fitted_again(saved):
    said = error_of("workers", saved, "--method", "bcc")
    assert said.startswith(f"{saved}: is a saved result, fitted already")


def test_explain_prints_the_explanation(data, saved):
    fit = Aggregation.load(saved)
    name = fit.votes.items[4].as_py()
    assert run("explain", saved, name).stdout == f"{fit.explain(name)}\n"
    found = json.loads(run("explain", saved, name, "--json").stdout)
    assert found["label"] == fit.explain(name).label
    assert len(found["votes"]) == fit.votes.votes_per_item[4]


def test_explain_refuses_an_unknown_item(saved):
    assert error_of("explain", saved, "nobody") == "there is no item 'nobody' among the 150 items"


def test_agreement_is_that_of_the_library(data):
    from crowdlearn.evaluation.agreement import krippendorff_alpha, percent_agreement

    votes = read_votes(data / "labels.csv")
    done = run("agreement", data / "labels.csv", "--level", "ordinal", "--pairs", 3, "--json")
    found = json.loads(done.stdout)
    assert found["alpha"]["alpha"] == krippendorff_alpha(votes, "ordinal").alpha
    assert found["percent_agreement"] == percent_agreement(votes)
    assert len(found["pairs"]) == 3
    shown = run("agreement", data / "labels.csv", "--pairs", 3)
    assert "Krippendorff's alpha" in shown.stdout and "Cohen's kappa" in shown.stdout


def test_agreement_refuses_another_level(data):
    said = error_of("agreement", data / "labels.csv", "--level", "ratio")
    assert "nominal, ordinal or interval" in said


def test_simulate_writes_the_world_of_the_library(tmp_path):
    from crowdlearn import simulate

    words = ("simulate", "one-coin", "--items", 40, "--workers", 6, "--classes", 2, "--seed", 3)
    done = run(*words, "--set", "a=4", "--votes-per-item", 2, "--out", tmp_path / "w", "--json")
    assert json.loads(done.stdout)["n_votes"] == 80
    world = simulate.one_coin(40, 6, 2, a=4.0, assign=simulate.fixed_per_item(2), seed=3)
    votes = read_votes(tmp_path / "w" / "labels.csv")
    assert votes.to_table().to_pydict() == world.votes.to_table().to_pydict()
    np.testing.assert_array_equal(read_truth(tmp_path / "w" / "truth.csv", votes), world.truth)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["atlantis"], "there is no world 'atlantis': choose from dawid-skene, "),
        (
            ["bcc", "--set", "x=1"],
            "this world has no setting 'x'; its settings are alpha, off, diag",
        ),
        (["colluding", "--set", "accuracy=1"], "--set accuracy 1: write it as 0.5,0.9"),
    ],
)
def test_simulate_refuses_what_is_not_there(tmp_path, words, said):
    assert error_of("simulate", *words, "--out", tmp_path / "w").startswith(said)
    assert not (tmp_path / "w").exists()


def test_every_world_is_in_the_help():
    from crowdlearn.simulate import WORLDS

    text = get_command(app).commands["simulate"].help.replace("\n", " ")
    assert text.split("Stories: ")[1].rstrip(".").split(", ") == list(WORLDS)


def test_datasets_are_listed():
    from crowdlearn.datasets import NAMES

    found = [json.loads(line) for line in run("datasets", "list", "--json").stdout.splitlines()]
    assert [row["name"] for row in found] == list(NAMES)
    assert "anesthesia" in run("datasets", "list").stdout


def test_datasets_fetch_knows_what_ships_with_the_package():
    assert "ships with the package" in run("datasets", "fetch", "anesthesia").stdout
    assert error_of("datasets", "fetch", "atlantis").startswith("there is no data set 'atlantis'")


def test_demo_prints_a_table_and_writes_a_report(tmp_path):
    out = tmp_path / "demo"
    done = run("demo", "--out", out)
    assert done.exit_code == 0, done.output
    for words in ("majority", "dawid-skene", "bcc-gibbs", "idbla", "Next: open"):
        assert words in done.stdout
    assert set(os.listdir(out)) >= FILES
    fit = Aggregation.load(out)
    assert (fit.method, fit.votes.n_items, fit.votes.n_votes) == ("dawid-skene", 45, 315)


# --- help, version, pieces


def test_help_is_the_docstring():
    commands = get_command(app).commands
    assert set(commands) == {
        "demo", "aggregate", "compare", "workers", "agreement", "explain", "criticise", "twins",
        "simulate", "datasets", "stream", "pipeline", "review", "serve", "store", "shards",
    }  # fmt: skip
    for name, command in commands.items():
        assert command.help, name
        assert run(name, "--help").exit_code == 0


def test_every_option_says_what_it_does():
    for name, command in get_command(app).commands.items():
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_version():
    assert run("--version").stdout == f"crowdlearn {crowdlearn.__version__}\n"


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "crowdlearn", "--version"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == f"crowdlearn {crowdlearn.__version__}\n"


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("0.5", "float", 0.5),
        ("3", "int", 3),
        ("True", "bool", True),
        ("cpu", "str", "cpu"),
        ("0.2,0.9", "tuple[float, float]", (0.2, 0.9)),
    ],
)
def test_values_are_read_by_type(text, kind, value):
    assert typed("x", text, kind) == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [("yes", "bool"), ("1.5", "int"), ("a", "float"), ("1", "np.ndarray"), ("1", "Start")],
)
def test_values_of_another_type_are_refused(text, kind):
    with pytest.raises(SettingsError):
        typed("x", text, kind)


def test_settings_reach_the_method():
    from crowdlearn.inference.starts import hard_majority

    method = make_method("dawid-skene", {"seed": 4, "tolerance": None}, ["start=hard-majority"])
    assert method == aggregator("dawid-skene", seed=4, start=hard_majority)
    assert make_method("majority", {"device": "auto"}, None) == aggregator("majority")


def test_names_of_columns_and_classes():
    assert columns_of("item=doc,label=says") == {"item": "doc", "label": "says"}
    assert classes_of('a, "b, c"') == ["a", "b, c"]
    assert columns_of(None) is None and classes_of(None) is None


def test_title_names_files_without_folders():
    assert title_of(["/secret/a.csv", "-"]) == "From votes to truth: a.csv, standard input"
    assert title_of(list("abcde")) == "From votes to truth: a, b, c and 2 more"
