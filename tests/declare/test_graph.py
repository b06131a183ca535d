"""Orders of pipelines that depend on each other, whatever the graph."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ematix_nb.declare.graph import check_circle, in_order
from ematix_nb.declare.spec import PipelineSpec, Query, TargetSpec
from ematix_nb.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping


def specs(parents: Mapping[str, tuple[str, ...]]) -> dict[str, PipelineSpec]:
    return {
        name: PipelineSpec(name, Query(sql="SELECT 1"), (TargetSpec(),), depends_on=names)
        for name, names in parents.items()
    }


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, tuple[str, ...]]:
    """Each pipeline depends on some of those before it, so there is no circle; declared in any order."""
    count = draw(st.integers(1, 8))
    edges = {
        f"p{number}": tuple(f"p{other}" for other in sorted(draw(st.sets(st.integers(0, number - 1)))))
        if number
        else ()
        for number in range(count)
    }
    return {name: edges[name] for name in draw(st.permutations(list(edges)))}


@given(graphs(), st.data())
def test_parents_come_before_their_children_and_each_once(
    parents: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    known = specs(parents)
    names = data.draw(st.lists(st.sampled_from(list(parents)), unique=True, min_size=1))
    for with_parents in (False, True):
        order = [spec.name for spec in in_order(names, known, with_parents=with_parents)]
        assert len(order) == len(set(order))
        assert set(names) <= set(order)
        place = {name: number for number, name in enumerate(order)}
        for name in order:
            for parent in parents[name]:
                assert place.get(parent, -1) < place[name]
                assert not with_parents or parent in place
        if not with_parents:
            assert set(order) == set(names)


@given(graphs(), st.data())
def test_an_edge_back_is_refused_with_a_circle_that_is_one(
    parents: dict[str, tuple[str, ...]], data: st.DataObject
) -> None:
    known = specs(parents)
    child = data.draw(st.sampled_from(list(parents)))
    above = {spec.name for spec in in_order([child], known, with_parents=True)}
    first = data.draw(st.sampled_from(sorted(above)))
    closing = specs({first: (*parents[first], child)})[first]
    with pytest.raises(DeclarationError, match="in a circle: ") as caught:
        check_circle(closing, known)
    names = caught.value.what.partition("circle: ")[2].split(" -> ")
    assert names[0] == names[-1]
    edges = {**parents, first: closing.depends_on}
    assert all(parent in edges[name] for name, parent in itertools.pairwise(names))
