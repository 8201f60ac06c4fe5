"""Exports of annotation tools: Label Studio and Argilla, classification questions.

Label Studio writes one object a task: `annotations`, each `completed_by` a user, each with a
`result` of regions that carry `from_name` (the question) and `value.choices`. Argilla 2 writes one
object a record: `responses`, by question a list of `value` and `user_id`; flattened, the keys are
`<question>.responses`, `.responses.users` and `.responses.status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from crowdlearn.errors import VotesError
from crowdlearn.reading.parts import Batch, Part
from crowdlearn.reading.records import batched

Numbered = tuple[int, dict[str, Any]]
Answer = tuple[str, Any, list[Any]]
"""Question, user, and the values chosen."""


def export_kind(record: Mapping[str, Any]) -> str | None:
    """Which tool wrote this object, or None for a plain row."""
    if isinstance(record.get("annotations", record.get("completions")), list):
        return "label-studio"
    if isinstance(record.get("responses"), (dict, list)) or _flat_questions(record):
        return "argilla"
    return None


def export_part(
    name: str, kind: str, records: Iterator[Numbered], columns: Mapping[str, str]
) -> Part:
    """An export as a part with one row an answer; rows are numbered by record."""
    roles = {role: columns.get(role, role) for role in ("item", "worker", "label")}

    def batches(wanted: Sequence[str]) -> Iterator[Batch]:
        answers = flattened(name, kind, records, columns)
        renamed = ((row, {roles[r]: v for r, v in vote.items()}) for row, vote in answers)
        yield from batched(name, renamed, wanted)

    return Part(name, tuple(roles.values()), batches)


def export_table_part(part: Part, columns: Mapping[str, str]) -> Part:
    """A part whose columns are those of a flattened Argilla export, with one row an answer."""
    records = (
        (row, {name: values[at] for name, values in plain.items()})
        for batch in part.batches(part.columns)
        for plain in [{name: column.to_pylist() for name, column in batch.columns.items()}]
        for at, row in enumerate(batch.rows)
    )
    return export_part(part.name, "argilla", records, columns)


def flattened(
    name: str, kind: str, records: Iterator[Numbered], columns: Mapping[str, str]
) -> Iterator[Numbered]:
    """Every answer as {item, worker, label} with its record's number.

    `columns["label"]` names the question where there are several, `columns["item"]` the field of a
    record that names the item (its id, if not given). Skipped, cancelled and discarded answers are
    no votes. Raises VotesError for several questions, and for several choices at once.
    """
    answers = _label_studio if kind == "label-studio" else _argilla
    question = columns.get("label")
    seen: set[str] = set()
    for row, record in records:
        item = _item(name, row, record, columns.get("item"))
        for asked, user, values in answers(record):
            seen.add(asked)
            if question is not None and asked != question:
                continue
            if len(seen) > 1 and question is None:
                raise VotesError(_several(name, row, seen))
            label = _one(name, row, asked, values)
            yield row, {"item": item, "worker": user, "label": label}
    if question is not None and question not in seen:
        raise VotesError(
            f"{name}: no answer to {question!r}; answered are {', '.join(sorted(seen))}"
        )


def _several(name: str, row: int, seen: set[str]) -> str:
    both = " and ".join(map(repr, sorted(seen)))
    choice = f'columns={{"label": {sorted(seen)[0]!r}}}'
    return f"{name}, row {row}: there are several questions, {both}: choose one with {choice}"


def _one(name: str, row: int, question: str, values: list[Any]) -> Any:
    if len(values) != 1 or isinstance(values[0], (dict, list)):
        raise VotesError(
            f"{name}, row {row}: the answer {str(values)[:60]} to {question!r} is not one class; "
            "only questions with a single choice can be read"
        )
    return values[0]


def _item(name: str, row: int, record: Mapping[str, Any], field: str | None) -> Any:
    places = [record, record.get("data"), record.get("fields"), record.get("metadata")]
    for key in [field] if field else ["id", "external_id", "_server_id"]:
        for place in places:
            if isinstance(place, dict) and place.get(key) is not None:
                return place[key]
    raise VotesError(
        f"{name}, row {row}: has no {field or 'id'!r}; name the field that tells items apart with "
        'columns={"item": ...}'
    )


def _label_studio(task: Mapping[str, Any]) -> Iterator[Answer]:
    for annotation in task.get("annotations", task.get("completions")) or []:
        if annotation.get("was_cancelled") or annotation.get("skipped"):
            continue
        by = annotation.get("completed_by")
        user = by.get("email") or by.get("id") if isinstance(by, dict) else by
        for region in annotation.get("result") or []:
            value = region.get("value") or {}
            for kind in ("choices", "rating"):
                if kind in value:
                    chosen = value[kind]
                    values = chosen if isinstance(chosen, list) else [chosen]
                    yield str(region.get("from_name")), user, values


def _argilla(record: Mapping[str, Any]) -> Iterator[Answer]:
    responses = record.get("responses")
    if isinstance(responses, dict):
        for question, given in responses.items():
            for one in given or []:
                if one.get("status") in (None, "submitted"):
                    yield question, one.get("user_id"), _values(one.get("value"))
    elif isinstance(responses, list):
        for one in responses:
            if one.get("status") in (None, "submitted"):
                for question, given in (one.get("values") or {}).items():
                    value = given.get("value") if isinstance(given, dict) else given
                    yield question, one.get("user_id"), _values(value)
    for question in _flat_questions(record):
        values = record[f"{question}.responses"] or []
        users = record.get(f"{question}.responses.users") or [None] * len(values)
        states = record.get(f"{question}.responses.status") or [None] * len(values)
        for value, user, status in zip(values, users, states, strict=True):
            if status in (None, "submitted"):
                yield question, user, _values(value)


def _values(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _flat_questions(record: Mapping[str, Any]) -> list[str]:
    ending = ".responses"
    return [key.removesuffix(ending) for key in record if key.endswith(ending)]
