"""What is sent and answered, with bounds on every text and list; see `routes` for where.

What comes in is taken strictly: no unknown fields, no truth values for numbers, no NaN. JSON has
one kind of number, so 3.0 is the integer 3.
"""

from __future__ import annotations

import base64
import binascii
import math
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)

LARGEST_INT = 2**53 - 1  # that JSON readers agree on
LARGEST_BASE64 = 28 * 2**20


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("holds a NUL character")
    return text


def _json_int(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is not an integer")
    if not math.isfinite(value) or value != int(value):
        raise ValueError("is not an integer")
    return int(value)


def _decoded(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    return text


NoNul = AfterValidator(_without_nul)
Whole = BeforeValidator(_json_int)

ProjectName = Annotated[str, Field(min_length=1, max_length=100), NoNul]
Name = Annotated[str, Field(min_length=1, max_length=500), NoNul]
ClassName = Annotated[str, Field(min_length=1, max_length=200), NoNul]
Short = Annotated[str, Field(min_length=1, max_length=200), NoNul]
Words = Annotated[str, Field(max_length=2000), NoNul]
LongText = Annotated[str, Field(max_length=2**20), NoNul]
Token = Annotated[str, Field(min_length=1, max_length=43), NoNul]
Base64 = Annotated[
    str,
    Field(max_length=LARGEST_BASE64, json_schema_extra={"contentEncoding": "base64"}),
    AfterValidator(_decoded),
]
Number = Annotated[
    int,
    Field(ge=0, le=LARGEST_INT),
    Whole,
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": LARGEST_INT}),
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Cost = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]

Role = Literal["annotator", "tool", "reviewer", "admin"]
State = Literal["open", "answered", "flagged", "accepted"]
Method = Literal[
    "majority", "wawa", "dawid-skene", "one-coin", "bcc", "ebcc", "idbla", "glad", "mace",
    "zencrowd", "hierarchical",
]  # fmt: skip


class In(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Out(BaseModel):
    """What goes out."""

    model_config = ConfigDict(from_attributes=True)


@cache
def field_names() -> frozenset[str]:
    """The names of all fields that may come in."""
    return frozenset(name for kind in In.__subclasses__() for name in kind.model_fields)


class SettingsIn(In):
    """Settings to change; what is left out stays."""

    method: Literal["bcc", "idbla"] | None = None
    strategy: (
        Literal["entropy", "margin", "least-confident", "information", "error-reduction", "random"]
        | None
    ) = None
    redundancy: (
        Annotated[
            int,
            Field(ge=1, le=1000),
            Whole,
            WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000}),
        ]
        | None
    ) = None
    target: Share | None = None
    lease_seconds: (
        Annotated[
            int,
            Field(ge=5, le=86400),
            Whole,
            WithJsonSchema({"type": "integer", "minimum": 5, "maximum": 86400}),
        ]
        | None
    ) = None
    vote_cost: Cost | None = None
    answer_cost: Cost | None = None
    blind: bool | None = None


class NewProjectIn(In):
    """A project to make."""

    name: ProjectName
    classes: Annotated[list[ClassName], Field(min_length=2, max_length=1000)]
    guideline: LongText = ""
    settings: SettingsIn = Field(default_factory=SettingsIn)
    simulated: bool = False


class ProjectChangeIn(In):
    """What to change of a project."""

    guideline: LongText | None = None
    settings: SettingsIn | None = None
    add_classes: Annotated[list[ClassName], Field(max_length=1000)] = Field(default_factory=list)


class SettingsOut(Out):
    """The settings of a project."""

    method: str
    strategy: str
    redundancy: int
    target: float
    lease_seconds: int
    vote_cost: float
    answer_cost: float
    blind: bool


class ProjectOut(Out):
    """A project, and the role in it of who asks."""

    name: str
    classes: list[str]
    guideline: str
    guideline_version: int
    settings: SettingsOut
    simulated: bool
    n_items: int
    n_workers: int
    n_events: int
    n_votes: int
    n_answers: int
    created_at: int
    role: str


class NewItemIn(In):
    """An item to add: `payload` for text, json and url, `content` (base64) for image and audio."""

    name: Name
    kind: Literal["none", "text", "json", "url", "image", "audio"] = "none"
    payload: LongText | None = None
    content: Base64 | None = None


class NewItemsIn(In):
    """Items to add, all or none."""

    items: Annotated[list[NewItemIn], Field(min_length=1, max_length=1000)]


class AddedOut(Out):
    """How many items were new."""

    n_new: int
    n_known: int


class ItemOut(Out):
    """An item as it stands; what is null is hidden from a reviewer who decides blindly."""

    number: int
    name: str
    payload_kind: str
    payload: str | None
    state: str
    n_votes: int
    label: str | None
    decided: bool
    confidence: float | None
    posterior: dict[str, float] | None


class ItemsOut(Out):
    """A page of items; `cursor` asks for the next one."""

    items: list[ItemOut]
    cursor: str | None


class PosteriorOut(Out):
    """What is known of an item's class."""

    item: str
    n_votes: int
    label: str | None
    decided: bool
    confidence: float | None
    posterior: dict[str, float] | None


class PosteriorsOut(Out):
    """A page of posteriors; `cursor` asks for the next one."""

    posteriors: list[PosteriorOut]
    cursor: str | None


class SeenVoteOut(Out):
    """A vote, with what is known of its worker; `weight` in nats for the label."""

    worker: str
    label: str
    at: int
    n_votes: int
    accuracy: float | None
    low: float | None
    high: float | None
    flag: str | None
    weight: float | None


class VoteWeightOut(Out):
    """A vote that an explanation names."""

    worker: str
    label: str
    weight: float
    worker_accuracy: float


class ExplanationOut(Out):
    """Why an item got its label, and the least that would have changed it."""

    label: str
    runner_up: str
    posterior: dict[str, float]
    votes: list[VoteWeightOut]
    flip_by_removing: list[VoteWeightOut]
    flip_by_changing: list[VoteWeightOut]
    gold: bool


class ItemViewOut(Out):
    """An item with all that was said of it; send `seen` with an answer."""

    item: ItemOut
    votes: list[SeenVoteOut]
    n_votes: int
    explanation: ExplanationOut | None
    history: list[dict[str, Any]]
    seen: int
    decided_by: str | None


class VoteIn(In):
    """One worker's label for one item; the same `key` twice is one vote."""

    item: Name
    worker: Name
    label: ClassName
    key: Short | None = None


class VotesIn(In):
    """Votes to append, all or none; `token` ends the loan that they were given on."""

    votes: Annotated[list[VoteIn], Field(min_length=1, max_length=10_000)]
    token: Token | None = None


class AppendedOut(Out):
    """How many votes were new, and how many were known by their keys."""

    n_new: int
    n_duplicates: int
    n_new_items: int
    n_new_workers: int


class AnswerIn(In):
    """An expert's decision; `seen` is the number of the decision on the screen (0: none)."""

    item: Name
    label: ClassName
    seen: Number = 0
    token: Token | None = None
    key: Short | None = None
    note: Words | None = None
    shown: Annotated[dict[ClassName, Share], Field(max_length=1000)] | None = None


class ItemIn(In):
    """An item."""

    item: Name


class CommentIn(In):
    """An item, and why."""

    item: Name
    reason: Words | None = None


class NoteIn(In):
    """A remark on an item."""

    item: Name
    text: Annotated[Words, Field(min_length=1)]


class UndoIn(In):
    """The decision to take back: event `seq`, or the caller's last one."""

    seq: Number | None = None


class AcceptIn(In):
    """Which labels to accept as they are."""

    at_least: Share
    label: ClassName | None = None


class SaidOut(Out):
    """The number of the event; `duplicate` if it was there under its key already."""

    seq: int
    duplicate: bool


class UndoneOut(Out):
    """The number of the event, and the item whose decision was taken back."""

    seq: int
    item: str


class AcceptableOut(Out):
    """What accepting would do; `expected_error` is a share."""

    n_items: int
    expected_error: float | None


class AcceptedOut(Out):
    """How many labels were accepted."""

    n_items: int


class NextIn(In):
    """What to lend: an item to `vote` on (for `worker`, if a tool asks), or to `answer`."""

    purpose: Literal["vote", "answer"]
    session: Annotated[str, Field(max_length=100), NoNul] = ""
    worker: Annotated[str, Field(min_length=1, max_length=100), NoNul] | None = None


class TokenIn(In):
    """A loan."""

    token: Token


class LentItemOut(Out):
    """What there is to judge."""

    name: str
    payload_kind: str
    payload: str | None


class LoanOut(Out):
    """An item lent until `until` (microseconds since 1970); send `token` and `seen` with what
    comes of it."""

    item: LentItemOut
    purpose: str
    token: str
    until: int
    seen: int
    again: bool


class ReleasedOut(Out):
    """Whether the item was still held."""

    released: bool


class RenewedOut(Out):
    """Until when the item is held; null where it is held no more."""

    until: int | None


class WorkerOut(Out):
    """A worker as of the last fold, with a 90 % interval of the accuracy."""

    number: int
    name: str
    flag: str | None
    n_votes: int
    accuracy: float | None
    low: float | None
    high: float | None


class WorkersOut(Out):
    """A page of workers."""

    workers: list[WorkerOut]


class WindowOut(Out):
    """How right a worker's votes were in a while that ended at `at`."""

    at: int
    n_votes: int
    right: float
    low: float
    high: float


class WorkerViewOut(Out):
    """A worker, their confusion matrix [truth, label], and how right they were over time."""

    worker: WorkerOut
    classes: list[str]
    confusion: list[list[float]] | None
    drift: list[WindowOut]


class FlagIn(In):
    """What to do about a worker; null lets them work again."""

    name: Name
    flag: Literal["blocked", "retrain"] | None
    reason: Words = ""


class ProgressOut(Out):
    """Where a project stands."""

    n_items: int
    n_votes: int
    n_workers: int
    n_open: int
    n_answered: int
    n_accepted: int
    n_flagged: int
    expected_error: float | None
    target: float
    reached: bool
    n_stopped: int
    votes_saved: int
    cost: float
    n_pending: int
    classes: dict[str, int]


class PointOut(Out):
    """A point of the progress."""

    at: int
    n_votes: int
    n_answers: int
    expected_error: float
    n_stopped: int
    cost: float


class AgreementOut(Out):
    """How alike workers vote; Krippendorff's alpha with its 95 % interval."""

    percent: float | None
    alpha: float | None
    low: float | None
    high: float | None
    n_items: int


class FitOut(Out):
    """A fit that was kept."""

    id: int
    kind: str
    method: dict[str, Any]
    fold: int
    upto: int
    seconds: float
    summary: dict[str, Any]
    at: int


class ComparisonIn(In):
    """The methods to compare."""

    methods: Annotated[list[Method], Field(min_length=1, max_length=11)]


class ComparedOut(Out):
    """How a method does; errors against experts' answers are null without any."""

    method: str
    n_items: int
    n_answers: int
    error: float | None
    low: float | None
    high: float | None
    log_loss: float | None
    expected_error: float
    differs: int
    seconds: float
    note: str


class ComparisonOut(Out):
    """Methods side by side, and some of the items that they disagree on."""

    methods: list[ComparedOut]
    torn: list[str]


class ImportOut(Out):
    """What an import would do or, if `done`, did."""

    done: bool
    kind: str
    n_rows: int
    n_new: int
    n_known: int
    n_new_items: int
    n_new_workers: int
    unknown_classes: list[str]
    sample: list[dict[str, str | None]]
    problem: str | None


class MemberIn(In):
    """A user's place in a project."""

    name: Short
    role: Role


class MemberOut(Out):
    """A user's place in a project."""

    name: str
    role: str


class NewKeyIn(In):
    """An API key to make; without `days` it does not end."""

    name: Short
    role: Role
    days: Annotated[float, Field(gt=0, le=36500, allow_inf_nan=False)] | None = None


class KeyOut(Out):
    """An API key, without the key itself."""

    id: int
    name: str
    role: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    last_used_at: int | None


class NewKeyOut(KeyOut):
    """A new API key: `secret` is shown this once."""

    secret: str


class TrailOut(Out):
    """What somebody did to the project."""

    id: int
    at: int
    actor: str
    action: str
    detail: dict[str, Any]


class VerifiedOut(Out):
    """What was rebuilt from the log, and what differs from it."""

    fold: int
    n_items: int
    n_votes: int
    digest: str
    problems: list[str]


class HealthOut(Out):
    """Whether this process is well; `folding` says that it folds the logs."""

    status: Literal["ok", "ill"]
    folding: bool


class ReadyOut(Out):
    """Whether requests can be answered."""

    status: Literal["ready", "not ready"]
    detail: str


def finite(value: float | None) -> float | None:
    """None for what JSON has no number for."""
    return value if value is not None and math.isfinite(value) else None
