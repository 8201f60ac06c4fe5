"""Every page runs for every role; a click is an answer; names are shown as they are."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from apps.review import desk, signing_in
from apps.review.words import escaped
from crowdlearn.service import answers, items
from crowdlearn.service.access import LOCAL, Actor
from crowdlearn.service.accounts import disable_user
from crowdlearn.service.assignments import take_item
from crowdlearn.service.demo import add_demo
from crowdlearn.service.new_items import NewItem, add_items
from crowdlearn.service.projects import change_project, create_project
from crowdlearn.service.votes import NewVote, append_votes
from crowdlearn.store import Store, open_store
from tests.apps.conftest import PASSWORD, add_people, fold

PAGES = ("queue", "items", "workers", "progress", "compare", "project")
HOSTILE = ("<script>alert(1)</script>", "**bold**", "=cmd()", ":red[x]")
SECTIONS = ("Import", "Export", "Settings", "Members", "API keys", "Trail", "New project", "Users")
Open = Callable[..., AppTest]


def shown(app: AppTest) -> str:
    """All words on a page, as the page was given them."""
    blocks = [*app.markdown, *app.text, *app.code, *app.header, *app.subheader, *app.title]
    blocks += [*app.success, *app.info, *app.warning, *app.error, *app.caption, *app.toast]
    labels = [*app.button, *app.text_input, *app.selectbox, *app.metric]
    return "\n".join([str(b.value) for b in blocks] + [str(label.label) for label in labels])


def buttons(app: AppTest, start: str) -> list[Any]:
    return [button for button in app.button if (button.key or "").startswith(start)]


def figures(app: AppTest) -> str:
    """All that a page was given as HTML, its styles apart."""
    bodies = [str(element.proto.body) for element in app.get("html")]
    return "\n".join(body for body in bodies if not body.startswith("<style>"))


def lying(app: AppTest) -> str:
    """The name of the item that lies on the desk."""
    return str(app.session_state["desk"].loan.item.name)


@pytest.fixture(scope="module")
def shapes_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve texts, three workers, two classes, folded; and a user of each role."""
    file = tmp_path_factory.mktemp("shapes") / "store.db"
    store = open_store(file, create=True)
    with store.write() as db:
        create_project(
            db, LOCAL, "shapes", ["round", "square"], guideline="Look at the *shape*.",
            settings={"redundancy": 6, "target": 0.0},
        )  # fmt: skip
        new = [NewItem(name=f"i{k:02d}", kind="text", payload=f"thing {k}") for k in range(12)]
        add_items(db, LOCAL, "shapes", new)
        votes = [
            NewVote(item=f"i{k:02d}", worker=f"w{w}", label="round" if (k * w) % 3 else "square")
            for k in range(12)
            for w in range(3)
        ]
        append_votes(db, LOCAL, "shapes", votes)
    add_people(store, "shapes")
    fold(store)
    store.close()
    return file


@pytest.fixture
def shapes(shapes_file: Path, store: Store) -> Store:
    """A copy of that store, which the app opens."""
    store.close()
    for beside in ("-wal", "-shm"):
        Path(f"{store.path}{beside}").unlink(missing_ok=True)
    shutil.copy(shapes_file, store.path)
    return store


def test_an_empty_store_offers_the_demo_and_a_new_project(store: Store, open_page: Open) -> None:
    app = open_page()
    assert not app.exception
    assert [button.label for button in app.button] == ["Try the demo", "New project"]
    app.button(key="new project").click().run()
    assert not app.exception and app.header[0].value == "Project"
    assert app.button(key="create project").label == "Create project"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs_on_a_project_without_items(
    store: Store, open_page: Open, page: str
) -> None:
    with store.write() as db:
        create_project(db, LOCAL, "empty", ["a", "b"])
    app = open_page(page)
    assert not app.exception and not app.error
    assert app.selectbox(key="project").value == "empty"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_page_runs_on_the_demo(store: Store, open_page: Open, page: str) -> None:
    with store.write() as db:
        add_demo(db, LOCAL, n_items=200)
    fold(store)
    app = open_page(page, wanted_project="digits")
    assert not app.exception and not app.error
    assert "SIMULATED" in shown(app)
    app.selectbox(key="project").select("anesthesia").run()
    assert not app.exception and "SIMULATED" not in shown(app)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_section_of_the_project_page_runs(
    shapes: Store, open_page: Open, section: str
) -> None:
    app = open_page("project", **{"section_admin": section})
    assert not app.exception and not app.error


@pytest.mark.parametrize(
    ("role", "seen"),
    [
        ("annotator", {"queue"}),
        ("reviewer", {"queue", "items", "workers", "progress", "compare", "project"}),
        ("admin", {"queue", "items", "workers", "progress", "compare", "project"}),
    ],
)
def test_a_role_sees_its_pages_only(
    shapes: Store, open_page: Open, role: str, seen: set[str]
) -> None:
    headers = {"items": "Items", "workers": "Workers", "progress": "Progress",
               "compare": "Compare methods", "project": "Project shapes"}  # fmt: skip
    for page in PAGES:
        app = open_page(page, role)
        assert not app.exception and not app.error
        if page == "queue":
            assert len(buttons(app, "class ")) == 2
        else:
            assert (headers[page] in [h.value for h in app.header]) == (page in seen)


def test_what_a_role_may_not_do_is_not_offered(shapes: Store, open_page: Open) -> None:
    reviewer = open_page("project", "reviewer")
    assert reviewer.button(key="prepare").label == "Prepare file"
    assert not [r for r in reviewer.button_group if "Settings" in r.options]
    worker = open_page("workers", "reviewer", opened_worker=(1, "w1"))
    assert not buttons(worker, "Block")
    assert buttons(open_page("workers", "admin", opened_worker=(1, "w1")), "Block")


def test_an_annotator_sees_no_votes_of_others_and_votes_in_their_own_name(
    shapes: Store, open_page: Open
) -> None:
    app = open_page(None, "annotator")
    name = lying(app)
    assert "w1" not in shown(app) and "%" not in shown(app) and not figures(app)
    time.sleep(desk.TOO_SOON)
    buttons(app, "class 1")[0].click().run()
    assert not app.exception and lying(app) != name
    with shapes.read() as db:
        found = items.read_item(db, LOCAL, "shapes", name)
        assert found.n_votes == (1 if name == "i11" else 4)


def test_an_annotator_skips_an_item_and_keeps_no_vote(shapes: Store, open_page: Open) -> None:
    app = open_page(None, "annotator")
    name = lying(app)
    time.sleep(desk.TOO_SOON)
    with shapes.read() as db:
        before = items.read_item(db, LOCAL, "shapes", name).n_votes
    buttons(app, "skip ")[0].click().run()
    assert not app.exception and lying(app) != name
    with shapes.read() as db:
        assert items.read_item(db, LOCAL, "shapes", name).n_votes == before
        assert [row["kind"] for row in answers.history(db, LOCAL, "shapes", name)] == ["skip"]


def test_a_click_on_a_class_is_the_answer_and_brings_the_next_item(
    shapes: Store, open_page: Open
) -> None:
    app = open_page(None, "reviewer")
    name = lying(app)
    time.sleep(desk.TOO_SOON)
    buttons(app, "class 1")[0].click().run()
    assert not app.exception and lying(app) != name
    with shapes.read() as db:
        found = items.read_item(db, LOCAL, "shapes", name)
    assert (found.state, found.label) == ("answered", "square")
    buttons(app, "undo ")[0].click().run()
    assert not app.exception and lying(app) == name
    with shapes.read() as db:
        assert items.read_item(db, LOCAL, "shapes", name).state == "open"


@pytest.mark.parametrize(("key", "state"), [("skip ", "open"), ("flag ", "flagged")])
def test_skip_and_flag_bring_the_next_item_and_keep_the_note(
    shapes: Store, open_page: Open, key: str, state: str
) -> None:
    app = open_page(None, "reviewer")
    name = lying(app)
    time.sleep(desk.TOO_SOON)
    [note] = [box for box in app.text_input if (box.key or "").startswith("note ")]
    note.input("torn in two")
    buttons(app, key)[0].click().run()
    assert not app.exception and lying(app) != name
    with shapes.read() as db:
        assert items.read_item(db, LOCAL, "shapes", name).state == state
        assert answers.history(db, LOCAL, "shapes", name)[0]["text"] == "torn in two"


def test_a_stale_screen_says_who_decided_and_keeps_nothing(shapes: Store, open_page: Open) -> None:
    app = open_page(None, "reviewer")
    name = lying(app)
    with shapes.write() as db:
        reviewer = Actor("user:reviewer", user=2)  # in another window
        answers.answer(db, reviewer, "shapes", name, "round")
    time.sleep(desk.TOO_SOON)
    buttons(app, "class 1")[0].click().run()
    assert "has been decided by reviewer meanwhile" in shown(app).replace("\\", "")
    assert lying(app) != name
    with shapes.read() as db:
        assert items.read_item(db, LOCAL, "shapes", name).label == "round"


def test_a_key_pressed_before_anybody_can_have_looked_decides_nothing(
    shapes: Store, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "TOO_SOON", 60.0)
    app = open_page(None, "reviewer")
    name = lying(app)
    buttons(app, "class 1")[0].click().run()
    assert lying(app) == name and "only just appeared" in shown(app)
    with shapes.read() as db:
        assert items.read_item(db, LOCAL, "shapes", name).state == "open"


def test_blind_hides_votes_and_posterior_until_asked(shapes: Store, open_page: Open) -> None:
    with shapes.write() as db:
        change_project(db, LOCAL, "shapes", settings={"blind": True})
    app = open_page(None, "reviewer")
    assert not figures(app) and "Why this label" not in shown(app)
    buttons(app, "show ")[0].click().run()
    assert "w1" in figures(app) and "Why this label" in shown(app)


def test_all_decided_is_said_with_the_progress(shapes: Store, open_page: Open) -> None:
    with shapes.write() as db:
        for k in range(12):
            answers.answer(db, LOCAL, "shapes", f"i{k:02d}", "round")
    app = open_page(None, "reviewer")
    assert not app.exception and "All done" in shown(app)
    assert app.metric[0].value == "12"


def test_labels_are_accepted_in_bulk_and_given_back_as_one(shapes: Store, open_page: Open) -> None:
    app = open_page("items", "reviewer", bulk=True)
    app.slider(key="accept at").set_value(50.0).run()
    app.button(key="accept").click().run()
    assert not app.exception
    with shapes.read() as db:
        n = items.count_items(db, LOCAL, "shapes", state="accepted")
    assert n > 2
    app.button(key="undo accept").click().run()
    with shapes.read() as db:
        assert items.count_items(db, LOCAL, "shapes", state="accepted") == 0


def test_items_are_paged_in_the_database(store: Store, open_page: Open) -> None:
    with store.write() as db:
        create_project(db, LOCAL, "many", ["a", "b"])
        add_items(db, LOCAL, "many", [NewItem(name=f"n{k:03d}") for k in range(120)])
    app = open_page("items", order="in their order")
    seen = [app.dataframe[0].value["item"].iloc[0]]
    for _ in range(2):
        app.button(key="next items").click().run()
        seen.append(app.dataframe[0].value["item"].iloc[0])
    assert seen == ["n000", "n050", "n100"] and len(app.dataframe[0].value) == 20
    assert app.button(key="next items").disabled
    app.button(key="previous items").click().run()
    assert app.dataframe[0].value["item"].iloc[0] == "n050"


def test_an_item_is_opened_and_taken_to_the_queue(shapes: Store, open_page: Open) -> None:
    app = open_page("items", "reviewer", opened_item="i07")
    assert not app.exception and app.subheader[0].value == "i07"
    app.button(key="decide i07").click().run()
    assert not app.exception and lying(app) == "i07"
    assert len(buttons(app, "class ")) == 2


def test_a_worker_is_blocked_with_a_reason_and_let_in_again(shapes: Store, open_page: Open) -> None:
    app = open_page("workers", "admin", opened_worker=(1, "w1"))
    assert not app.exception and app.subheader[0].value == "w1"
    app.button(key="Block w1").click().run()
    assert not app.exception and "blocked" in shown(app)
    app.button(key="Allow w1").click().run()
    assert not app.exception and app.button(key="Allow w1").disabled


def test_hostile_names_are_shown_as_they_are(store: Store, open_page: Open) -> None:
    with store.write() as db:
        create_project(db, LOCAL, "p", HOSTILE)
        add_items(db, LOCAL, "p", [NewItem(name=n, kind="text", payload=n) for n in HOSTILE])
        votes = [NewVote(item=name, worker=name, label=name) for name in HOSTILE]
        append_votes(db, LOCAL, "p", votes)
    fold(store)
    for name in HOSTILE:
        app = open_page("items", opened_item=name)
        assert not app.exception and app.subheader[0].value == escaped(name)
        assert app.text[0].value == name
        assert f'title="{escape(name)}">{escape(name)}</td>' in figures(app)
        assert "<script>" not in figures(app)
        assert f"**{escaped(name)}**" in shown(app)
        app.button(key=f"decide {name}").click().run()
        assert not app.exception and lying(app) == name
        assert [b.label for b in buttons(app, "class ")] == [escaped(n) for n in HOSTILE]
        assert [line for line in shown(app).splitlines() if name in line] == [name]
        app = open_page("workers", opened_worker=(1, name))
        assert not app.exception and app.subheader[0].value == escaped(name)


def test_the_queue_has_nothing_that_a_browser_must_load_before_its_buttons(
    shapes: Store, open_page: Open
) -> None:
    """Each of these is up to 1.5 MB of script; what is in a popover is loaded when it opens."""
    heavy = {"arrow_data_frame", "arrow_vega_lite_chart", "code", "json", "selectbox"}
    app = open_page(None, "reviewer")
    popovers = [element for block in app.get("popover") for element in block]
    found = [element for element in app if element not in popovers]
    assert "button" in {element.type for element in found}
    assert not heavy & {element.type for element in found}
    *_, last = [element.type for element in found if element.type in ("button", "text_input")]
    assert last == "text_input"  # the only late one comes after the buttons


def test_escaped_marks_nothing_up() -> None:
    assert escaped("**b** $x$ [a](b) <i>\n# h") == (
        "\\*\\*b\\*\\* \\$x\\$ \\[a\\]\\(b\\) \\<i\\> \\# h"
    )
    assert "\u2060" in escaped(":smile:") and "\u2060" in escaped("a -> b")


def test_signing_in_needs_the_password_and_waits_after_failures(
    shapes: Store, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing_in, "wait_after", lambda failures: 3600 * (failures >= 5))
    app = open_page(None, "nobody")
    assert [box.label for box in app.text_input] == ["User name", "Password"]

    def sign_in(word: str) -> None:
        app.text_input(key="name").input("reviewer")
        app.text_input(key="password").input(word)
        app.button[0].click().run()

    for _ in range(5):
        sign_in("wrong password")
        assert "do not fit" in shown(app)
    sign_in(PASSWORD)
    assert "Too many failed tries" in shown(app)
    signing_in.patience(str(shapes.path)).succeeded("reviewer")
    sign_in(PASSWORD)
    assert not app.exception and len(buttons(app, "class ")) == 2
    name = lying(app)
    app.button(key="sign out").click().run()
    assert [box.label for box in app.text_input] == ["User name", "Password"]
    with shapes.write() as db:  # what lay on the desk is free for others at once
        loan = take_item(db, Actor("user:reviewer", user=2), "shapes", name)
    assert loan.item.name == name and not loan.again


def test_a_store_without_users_says_how_to_make_one(
    store: Store, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(None, "nobody")
    assert app.code[0].value == "crowdlearn store user NAME --owner"


@pytest.mark.parametrize(
    ("said", "shown_words"),
    [
        ({}, "Sign in"),
        ({"is_logged_in": True, "email": "x@y.org"}, "There is no user x@y.org"),
        ({"is_logged_in": True, "email": "reviewer", "email_verified": False}, "not verified"),
        ({"is_logged_in": True}, "did not tell"),
    ],
)
def test_a_provider_names_users_of_this_store_only(
    shapes: Store,
    open_page: Open,
    monkeypatch: pytest.MonkeyPatch,
    said: dict[str, object],
    shown_words: str,
) -> None:
    app = open_page()
    monkeypatch.setenv("CROWDLEARN_AUTH", "oidc")
    monkeypatch.setattr("streamlit.user", said)
    app.run()
    assert not app.exception and shown_words in shown(app).replace("\\", "")
    assert not buttons(app, "class ")


def test_one_whom_the_provider_knows_and_the_store_too_is_let_in(
    shapes: Store, open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page()
    monkeypatch.setenv("CROWDLEARN_AUTH", "oidc")
    monkeypatch.setattr("streamlit.user", {"is_logged_in": True, "email": "reviewer"})
    app.run()
    assert not app.exception and len(buttons(app, "class ")) == 2


def test_a_user_who_is_shut_out_sees_the_sign_in_page(shapes: Store, open_page: Open) -> None:
    app = open_page(None, "reviewer")
    with shapes.write() as db:
        disable_user(db, LOCAL, "reviewer")
    app.run()
    assert [box.label for box in app.text_input] == ["User name", "Password"]
