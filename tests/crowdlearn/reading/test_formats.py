"""Exports of annotation tools hold the votes that people gave, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crowdlearn.errors import VotesError
from crowdlearn.io import read_votes
from crowdlearn.votes import Votes


def rows(votes: Votes) -> list[tuple[str, str, str]]:
    return sorted(tuple(map(str, row.values())) for row in votes.to_table().to_pylist())


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    if path.suffix == ".json":
        path.write_text(json.dumps(records, indent=1))
    else:
        path.write_text("\n".join(map(json.dumps, records)))
    return path


def annotation(user: Any, *choices: str, question: str = "mood", **more: Any) -> dict[str, Any]:
    """As Label Studio writes one."""
    region = {
        "id": "r1",
        "from_name": question,
        "to_name": "text",
        "type": "choices",
        "value": {"choices": list(choices)},
    }
    return {"id": 1, "completed_by": user, "result": [region], "was_cancelled": False, **more}


TASKS = [
    {
        "id": 11,
        "data": {"text": "so so", "key": "t-11"},
        "annotations": [annotation(1, "good"), annotation({"id": 2, "email": "b@x.org"}, "bad")],
        "predictions": [{"result": [], "model_version": "m"}],
    },
    {"id": 12, "data": {"key": "t-12"}, "annotations": []},
    {
        "id": 13,
        "data": {"key": "t-13"},
        "annotations": [
            annotation(1, "bad"),
            annotation(3, "good", was_cancelled=True),
            {"completed_by": 4, "result": []},
        ],
    },
]


@pytest.mark.parametrize("name", ["export.json", "export.jsonl"])
def test_label_studio_annotations_are_votes(name: str, tmp_path: Path) -> None:
    votes = read_votes(write(tmp_path / name, TASKS))
    assert rows(votes) == [("11", "1", "good"), ("11", "b@x.org", "bad"), ("13", "1", "bad")]
    by_key = read_votes(tmp_path / name, columns={"item": "key"})
    assert by_key.items.to_pylist() == ["t-11", "t-13"]


def test_ratings_and_old_completions_are_votes(tmp_path: Path) -> None:
    stars = {"from_name": "stars", "type": "rating", "value": {"rating": 4}}
    tasks = [
        {"id": 1, "completions": [{"completed_by": "u", "result": [stars]}]},
        {"id": 2, "completions": [annotation("u", "5", question="stars")]},
    ]
    assert rows(read_votes(write(tmp_path / "old.json", tasks))) == [
        ("1", "u", "4"),
        ("2", "u", "5"),
    ]


def test_one_of_several_questions_is_chosen_by_name(tmp_path: Path) -> None:
    tasks = [
        {"id": i, "annotations": [annotation(1, "x"), annotation(1, mood, question="tone")]}
        for i, mood in enumerate(["y", "z"])
    ]
    path = write(tmp_path / "two.json", tasks)
    with pytest.raises(VotesError, match=r"row 1: there are several questions, 'mood' and 'tone'"):
        read_votes(path)
    assert rows(read_votes(path, columns={"label": "tone"})) == [("0", "1", "y"), ("1", "1", "z")]
    with pytest.raises(VotesError, match="no answer to 'size'; answered are mood, tone"):
        read_votes(path, columns={"label": "size"})


def test_several_choices_at_once_are_refused_by_task(tmp_path: Path) -> None:
    tasks = [TASKS[0], {"id": 14, "annotations": [annotation(1, "good", "bad")]}]
    with pytest.raises(VotesError, match=r"row 2: .*'mood' is not one class; only .*single choice"):
        read_votes(write(tmp_path / "multi.json", tasks))
    with pytest.raises(VotesError, match=r"row 1: has no 'id'; name the field .*columns="):
        read_votes(write(tmp_path / "bare.json", [{"annotations": [annotation(1, "good")]}]))
    with pytest.raises(VotesError, match="holds no votes"):
        read_votes(write(tmp_path / "none.json", [{"id": 1, "annotations": []}]))


def test_errors_count_tasks_not_answers(tmp_path: Path) -> None:
    answers = [annotation(1, "good"), annotation(2, "bad")]
    tasks = [
        {"id": 1, "annotations": answers},
        {"id": 2, "annotations": []},
        {"id": 3, "annotations": [annotation(1, "ugly")]},
    ]
    with pytest.raises(VotesError, match=r"row 3, column 'label': 'ugly' is not one of good, bad"):
        read_votes(write(tmp_path / "export.json", tasks), classes=["good", "bad"])


def test_a_vote_without_a_worker_is_refused(tmp_path: Path) -> None:
    tasks = [{"id": 1, "annotations": [annotation(None, "good")]}]
    with pytest.raises(VotesError, match=r"row 1, column 'worker': no worker"):
        read_votes(write(tmp_path / "anonymous.json", tasks))


RECORDS = [
    {
        "id": "r1",
        "fields": {"text": "so so"},
        "metadata": {"doc": "d1"},
        "suggestions": {"mood": {"value": "good", "score": None, "agent": "m"}},
        "responses": {
            "mood": [{"value": "good", "user_id": "u1"}, {"value": "bad", "user_id": "u2"}]
        },
        "status": "completed",
        "_server_id": "s1",
    },
    {"id": "r2", "fields": {}, "metadata": {"doc": "d2"}, "responses": {}},
    {
        "id": "r3",
        "fields": {},
        "metadata": {"doc": "d3"},
        "responses": {
            "mood": [
                {"value": "bad", "user_id": "u1", "status": "submitted"},
                {"value": "good", "user_id": "u3", "status": "discarded"},
            ]
        },
    },
]
EXPECTED = [("r1", "u1", "good"), ("r1", "u2", "bad"), ("r3", "u1", "bad")]


@pytest.mark.parametrize("name", ["records.json", "records.jsonl"])
def test_argilla_responses_are_votes(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, RECORDS)
    assert rows(read_votes(path)) == EXPECTED
    assert rows(read_votes(path, format="argilla", columns={"label": "mood"})) == EXPECTED
    assert read_votes(path, columns={"item": "doc"}).items.to_pylist() == ["d1", "d3"]


def test_argilla_responses_by_user_are_votes(tmp_path: Path) -> None:
    records = [
        {
            "id": "r1",
            "responses": [
                {"user_id": "u1", "status": "submitted", "values": {"mood": {"value": "good"}}},
                {"user_id": "u2", "status": "submitted", "values": {"mood": {"value": "bad"}}},
                {"user_id": "u3", "status": "draft", "values": {"mood": {"value": "bad"}}},
            ],
        },
        {
            "id": "r3",
            "responses": [{"user_id": "u1", "status": None, "values": {"mood": {"value": "bad"}}}],
        },
    ]
    assert rows(read_votes(write(tmp_path / "users.json", records))) == EXPECTED


FLAT = [
    {
        "id": "r1",
        "text": "so so",
        "mood.responses": ["good", "bad"],
        "mood.responses.users": ["u1", "u2"],
        "mood.responses.status": ["submitted", "submitted"],
    },
    {"id": "r2", "text": "", **dict.fromkeys(["mood.responses", "mood.responses.users"], None)},
    {
        "id": "r3",
        "text": "",
        "mood.responses": ["bad", "good"],
        "mood.responses.users": ["u1", "u3"],
        "mood.responses.status": ["submitted", "discarded"],
    },
]


@pytest.mark.parametrize("kind", ["json", "parquet", "table"])
def test_flattened_argilla_records_are_votes(kind: str, tmp_path: Path) -> None:
    source: Any = write(tmp_path / "flat.json", FLAT)
    if kind != "json":
        source = pa.Table.from_pylist(FLAT)
    if kind == "parquet":
        pq.write_table(source, tmp_path / "flat.parquet")
        source = tmp_path / "flat.parquet"
    assert rows(read_votes(source)) == EXPECTED
