"""Which stage an object goes into, and the order of the stages."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import pytest

from planner.keys.filters import compile_globs
from planner.stages import CANARY_BELOW, CANARY_MAX, ORDER, Router, in_running_order, stages_for
from schema.plan import Action, Entry, Gate, Method, Stage
from schema.tiers import GIB, KIB, MIB

MARKERS = compile_globs(("**/_SUCCESS", "**/_delta_log/**"))


def entry(key: str, size: int = 1, action: Action = Action.COPY) -> Entry:
    return Entry(key, size, "e", action)


def streamed(_entries: Sequence[Entry]) -> Method:
    return Method.STREAM


def routed(*entries: Entry, restore: bool = False, canary_max: int = 0) -> tuple[str, str]:
    return Router(MARKERS, 0, streamed, canary_max=canary_max).route(entries, restore)[:2]


@pytest.mark.parametrize(
    ("size", "group"),
    [
        (0, ("bulk", "tiny")),
        (256 * KIB, ("bulk", "tiny")),
        (256 * KIB + 1, ("bulk", "small")),
        (256 * MIB, ("bulk", "medium")),
        (256 * MIB + 1, ("bulk", "large")),
        (16 * GIB, ("bulk", "large")),
        (16 * GIB + 1, ("huge", "huge")),
    ],
)
def test_sizes(size: int, group: tuple[str, str]) -> None:
    assert routed(entry("k", size)) == group


def test_special_stages() -> None:
    assert routed(entry("a/_SUCCESS")) == ("markers", "markers")
    assert routed(entry("t/_delta_log/0.json")) == ("markers", "markers")
    assert routed(entry("k", MIB), restore=True) == ("archived", "small")
    assert routed(entry("a/_SUCCESS", action=Action.DELETE)) == ("deletes", "deletes")
    marker = Router(MARKERS, 2, streamed, canary_max=0).route([entry("p/_delta_log/x")], False)
    assert marker == ("markers", "markers", Method.STREAM)


def test_versions_of_one_key_go_together_by_the_largest() -> None:
    assert routed(entry("k", 1), entry("k", 17 * GIB), entry("k", 1)) == ("huge", "huge")


def test_the_first_eligible_key_and_one_in_a_thousand_are_the_canary() -> None:
    router = Router(MARKERS, 0, streamed)
    assert router.route([entry("huge", CANARY_BELOW)], False)[0] == "bulk"
    assert router.route([entry("a/_SUCCESS")], False)[0] == "markers"
    assert router.route([entry("first")], False)[0] == "canary"
    stages = [router.route([entry(f"k{number:06d}")], False)[0] for number in range(100_000)]
    assert 60 < stages.count("canary") < 150
    again = Router(MARKERS, 0, streamed)
    again.route([entry("first")], False)
    assert [again.route([entry(f"k{number:06d}")], False)[0] for number in range(1_000)] == stages[:1_000]


def test_the_canary_is_bounded() -> None:
    router = Router(MARKERS, 0, streamed, canary_max=3)
    stages = [router.route([entry(f"k{number:06d}")], False)[0] for number in range(20_000)]
    assert stages.count("canary") == 3
    assert Router(MARKERS, 0, streamed).route([entry("k")] * (CANARY_MAX + 1), False)[0] == "bulk"


def test_the_first_key_of_each_method_is_in_the_canary() -> None:
    """And a batch of one group is of one method; a delete has none."""

    def by_size(entries: Sequence[Entry]) -> Method:
        return Method.STREAM if any(entry.size > 1 for entry in entries) else Method.SERVER_COPY

    router = Router(MARKERS, 0, by_size)
    sizes = [1, 1, 1, CANARY_BELOW, 2, 2, 1]
    groups = [router.route([entry(f"k{number}", size)], False) for number, size in enumerate(sizes)]
    copied, sent = Method.SERVER_COPY, Method.STREAM
    assert [(group.stage, group.method) for group in groups] == [
        ("canary", copied), ("bulk", copied), ("bulk", copied), ("bulk", sent), ("canary", sent), ("bulk", sent),
        ("bulk", copied),
    ]  # fmt: skip
    assert router.route([entry("k8"), entry("k8", 2)], False).method is sent
    assert router.route([entry("k9", 2, Action.DELETE)], False).method is None


def test_all_stages() -> None:
    stages = {stage.id: stage for stage in stages_for(ORDER)}
    assert stages["canary"].depends_on == ()
    assert stages["bulk"].depends_on == stages["huge"].depends_on == ("canary",)
    assert set(stages["markers"].depends_on) == {"canary", "huge", "bulk", "archived"}
    assert set(stages["deletes"].depends_on) == set(ORDER) - {"deletes"}
    assert all(stages[name].gate is Gate.VERIFIED for name in ORDER if name != "deletes")


def test_without_deletes_only_the_canary_is_verified_before_others() -> None:
    stages = stages_for({"canary", "bulk", "markers"})
    assert [stage.id for stage in stages] == ["canary", "bulk", "markers"]
    assert [stage.gate for stage in stages] == [Gate.VERIFIED, Gate.COPIED, Gate.COPIED]
    assert stages_for(set()) == ()


@pytest.mark.parametrize("used", [set(ORDER[n:]) | set(ORDER[:m]) for n in range(6) for m in range(n)])
def test_any_set_of_stages_is_a_dag_over_itself(used: set[str]) -> None:
    stages = stages_for(used)
    graph = nx.DiGraph([(need, stage.id) for stage in stages for need in stage.depends_on])
    assert nx.is_directed_acyclic_graph(graph)
    assert set(graph) <= used
    seen: set[str] = set()
    for stage in stages:
        assert set(stage.depends_on) <= seen
        seen.add(stage.id)
    assert seen == used


def test_bad_graphs_are_refused() -> None:
    with pytest.raises(ValueError, match="cycle"):
        in_running_order([Stage("a", ("b",), Gate.COPIED), Stage("b", ("a",), Gate.COPIED)])
    with pytest.raises(ValueError, match="does not exist"):
        in_running_order([Stage("a", ("b",), Gate.COPIED)])
    backwards = [Stage("b", ("a",), Gate.COPIED), Stage("a", (), Gate.COPIED)]
    assert [stage.id for stage in in_running_order(backwards)] == ["a", "b"]
