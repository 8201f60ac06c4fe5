import numpy as np

from crowdlearn.shards.journal import Journal
from crowdlearn.shards.spread import Ref


def ops(journal):
    return [entry.op for entry in journal.entries]


def test_an_array_that_is_overwritten_needs_its_first_and_its_last_operation():
    journal = Journal()
    journal.add("begin", [None, (0,), 1], ["p"])
    for k in range(5):
        journal.add("product", [np.ones(2), np.full(3, float(k)), Ref("p", changes=True)], [])
        journal.add("counts", [Ref("p")], [])
    assert ops(journal) == ["begin", "product"]
    assert journal.entries[-1].args[1][0] == 4


def test_what_adds_up_needs_all_of_its_operations():
    journal = Journal()
    journal.add("tally", [3], ["t"])
    for _ in range(4):
        journal.add("draw", [0, 0, 0, Ref("t", changes=True), True], [])
    assert ops(journal) == ["tally", *["draw"] * 4]


def test_what_nothing_alive_depends_on_goes():
    journal = Journal()
    journal.add("constant", [1.0, "item"], ["a"])
    journal.add("arithmetic", ["add", Ref("a"), 1.0], ["b"])
    journal.forget("a")
    journal.add("arithmetic", ["add", Ref("b"), 1.0], ["c"])
    assert len(journal.entries) == 3  # c by b by a
    journal.forget("b")
    journal.forget("c")
    journal.add("constant", [1.0, "item"], ["d"])
    assert ops(journal) == ["constant"] and journal.entries[0].creates == ("d",)


def test_a_chain_of_expectations_is_kept():
    journal = Journal()
    journal.add("begin", [None, (0,), 1], ["p"])
    journal.add("constant", [1.0, "item"], ["seen"])
    for k in range(3):
        journal.add("expectations", [Ref("seen"), (1, 1), False], [f"s{k}", f"m{k}"])
        changing = [Ref("p", changes=True), Ref("seen", changes=True)]
        journal.add("mixture", [0, 0, 0, Ref(f"s{k}"), Ref(f"m{k}"), *changing], [])
        journal.forget(f"s{k}")
        journal.forget(f"m{k}")
    assert ops(journal) == ["begin", "constant", *["expectations", "mixture"] * 3]


def test_from_a_folder_on_nothing_earlier_is_kept():
    journal = Journal()
    journal.add("tally", [3], ["t"])
    for _ in range(4):
        journal.add("draw", [0, 0, 0, Ref("t", changes=True), True], [])
    journal.restart("somewhere", ["t"])
    journal.add("draw", [0, 0, 0, Ref("t", changes=True), True], [])
    assert ops(journal) == ["restore", "draw"]
    assert journal.entries[0].args == ("somewhere", ["t"])
