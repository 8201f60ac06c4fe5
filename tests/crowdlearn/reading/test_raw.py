"""Small samples, written by hand in the layouts of the sources, and what they must give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from crowdlearn.reading.public import DATASETS
from crowdlearn.reading.raw import LAYOUTS, Truths, Votes

SAMPLES: dict[str, tuple[dict[str, str], Votes, Truths]] = {
    "snow": (
        {
            "a.tsv": "!amt_annotation_ids\t!amt_worker_ids\torig_id\tresponse\tgold\n"
            "1\tW1\t4:2\t1\t0\n2\tW2\t4:2\t0\t0\n3\tW1\t5:1\t1\t1\n"
        },
        [("4:2", "W1", "1"), ("4:2", "W2", "0"), ("5:1", "W1", "1")],
        [("4:2", "0"), ("5:1", "1")],
    ),
    "survey": (
        {
            "answer.csv": "question,worker,answer\r\n7,W1,1\r\n7,W2,0\r\n",
            "truth.csv": "question,truth\r\n7,1\r\n9,0\r\n",
        },
        [("7", "W1", "1"), ("7", "W2", "0")],
        [("7", "1"), ("9", "0")],
    ),
    "scale": (
        {"label.csv": "item,worker,label\n0,5,4\n1,5,0\n", "truth.csv": "item,truth\n0,4\n"},
        [("0", "5", "4"), ("1", "5", "0")],
        [("0", "4")],
    ),
    "scale-with-truth": (
        {"label.csv": "item,worker,label\n0,5,4\n1,5,0\n", "truth.csv": "item,truth\n0,4\n"},
        [("0", "5", "4")],
        [("0", "4")],
    ),
    "toolkit": (
        {"ms.csv": "W1,x.mp3,1,2\nW2,x.mp3,2,2,31\n\nW1,y.mp3,3,3,4\n"},
        [("x.mp3", "W1", "1"), ("x.mp3", "W2", "2"), ("y.mp3", "W1", "3")],
        [("x.mp3", "2"), ("y.mp3", "3")],
    ),
    "matrix": (
        {"answers.txt": "-1 3 -1\n0 -1 2\n", "z.txt": "3\n0\n"},
        [("0", "1", "3"), ("1", "0", "0"), ("1", "2", "2")],
        [("0", "3"), ("1", "0")],
    ),
    "lewidi": (
        {
            "X_train.json": json.dumps(
                {"1": {"text": "a", "annotators": "Ann1,Ann2", "annotations": "0,1"}}
            ),
            "X_dev.json": json.dumps(
                {"1": {"text": "b", "annotators": "Ann1, Ann2", "annotations": "1, 1"}}
            ),
        },
        [
            ("train_1", "Ann1", "0"),
            ("train_1", "Ann2", "1"),
            ("dev_1", "Ann1", "1"),
            ("dev_1", "Ann2", "1"),
        ],
        [],
    ),
    "popquorn": (
        {
            "raw.csv": "instance_id,user_id,text,offensiveness,gender\n"
            '5,0,"a ""b"", c",1.0,x\n6,0,d,5.0,x\n'
        },
        [("5", "0", "1"), ("6", "0", "5")],
        [],
    ),
}


@pytest.mark.parametrize("layout", SAMPLES)
def test_a_sample_gives_its_rows(layout: str, tmp_path: Path) -> None:
    files, votes, truths = SAMPLES[layout]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode())
    assert LAYOUTS[layout]([tmp_path / name for name in files]) == (votes, truths)


def test_one_hot_blocks_are_votes(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 1, 0]], dtype=np.float64)
    np.savez(
        tmp_path / "f.npz",
        user_labels=labels,
        true_labels=np.array([[0], [1]]),
        category_num=2,
        source_num=3,
    )
    votes, truths = LAYOUTS["one-hot"]([tmp_path / "f.npz"])
    assert votes == [("0", "0", "0"), ("0", "2", "1"), ("1", "1", "1"), ("1", "2", "0")]
    assert truths == [("0", "0"), ("1", "1")]


def test_every_fetched_set_has_a_layout_and_a_pinned_source() -> None:
    for name, dataset in DATASETS.items():
        if dataset.files:
            assert dataset.layout in LAYOUTS, name
            repository, commit = dataset.source.split("@")
            assert repository.count("/") == 1 and len(commit) in (12, 40), name
        assert dataset.citation and dataset.note, name
