"""Model graphs in Mermaid, in DOT and as pictures."""

import builtins
import functools
import re

import numpy as np
import pytest

from ppl.errors import ModelError
from ppl.graph.drawing import draw
from ppl.graph.model_graph import ModelGraph, Node
from ppl.graph.text import dot, mermaid, nested_plates, plate_label
from ppl.model import PlateFrame


def build(rows, plates=(), guide_edges=()):
    """A graph from rows `name kind plates parents` (commas between several) and plates (name, size[, in use])."""
    split = [(name, kind, *(tuple(w.split(",")) if w else () for w in rest)) for name, kind, *rest in rows]
    nodes = {name: Node(name, kind, "Normal", (), inside, parents) for name, kind, inside, parents in split}
    frames = {p[0]: PlateFrame(p[0], p[1], p[-1], -1 - i) for i, p in enumerate(plates)}
    return ModelGraph(nodes, frames, (), tuple(guide_edges))


GRAPHS = {
    "eight schools": build(
        [
            ("mu", "latent", "", ""),
            ("tau", "latent", "", ""),
            ("theta", "latent", "schools", "mu,tau"),
            ("y", "observed", "schools", "theta"),
        ],
        [("schools", 8)],
    ),
    "varying intercepts": build(
        [
            ("mu_alpha", "latent", "", ""),
            ("sigma_alpha", "latent", "", ""),
            ("alpha", "latent", "counties", "mu_alpha,sigma_alpha"),
            ("beta", "latent", "", ""),
            ("sigma", "latent", "", ""),
            ("mean", "deterministic", "houses", "alpha,beta"),
            ("log_radon", "observed", "houses", "alpha,beta,sigma"),
        ],
        [("counties", 85), ("houses", 919)],
    ),
    "topics": build(
        [
            ("alpha", "parameter", "", ""),
            ("eta", "parameter", "", ""),
            ("beta", "latent", "topics", "eta"),
            ("theta", "latent", "documents", "alpha"),
            ("z", "latent", "documents,words", "theta"),
            ("w", "observed", "documents,words", "z,beta"),
        ],
        [("topics", 20), ("documents", 2246, 64), ("words", 120)],
    ),
    "item response": build(
        [
            ("spread", "latent", "", ""),
            ("ability", "latent", "students", "spread"),
            ("difficulty", "latent", "items", ""),
            ("answer", "observed", "students,items", "ability,difficulty"),
        ],
        [("students", 400), ("items", 30)],
    ),
    "autoencoder": build(
        [("decoder", "parameter", "", ""), ("z", "latent", "images", ""), ("x", "observed", "images", "z,decoder")],
        [("images", 60000, 128)],
        [("x", "z")],
    ),
    "awkward names": build(
        [
            ("a b", "latent", "", ""),
            ('q"[x]\\', "latent", "", ""),
            ("end", "deterministic", "end", "a b"),
            ("plate_end", "parameter", "", ""),
            ("n0", "latent", "", ""),
            ("penalty", "factor", "", 'a b,q"[x]\\,n0'),
            ("cost_$", "observed", "end", "plate_end"),
        ],
        [("end", 3)],
    ),
    "one site": build([("x", "observed", "", "")]),
    "nothing": build([]),
}


def boxes(text, opening, closing):
    """What each line of a nested text stands in: {line: (opening lines, outermost first)}."""
    stack, found = [], {}
    for line in map(str.strip, text.splitlines()):
        if re.match(opening, line):
            stack.append(line)
        elif line == closing and stack:
            stack.pop()
        else:
            found[line] = tuple(stack)
    assert not stack
    return found


def test_plates_nest_where_all_members_are_in_the_outer_one():
    assert nested_plates(GRAPHS["topics"]) == {"documents": None, "words": "documents", "topics": None}
    assert nested_plates(GRAPHS["varying intercepts"]) == {"counties": None, "houses": None}


def test_of_plates_with_the_same_members_the_outer_one_is_outside():
    graph = build([("y", "observed", "outer,inner", "")], [("inner", 2), ("outer", 3)])
    assert nested_plates(graph) == {"outer": None, "inner": "outer"}


def test_of_crossing_plates_the_first_is_a_box_and_the_other_is_written_out():
    graph = GRAPHS["item response"]
    assert nested_plates(graph) == {"students": None}
    for text in (mermaid(graph), dot(graph)):
        assert "answer ~ Normal [items (30)]" in text
        assert "difficulty ~ Normal [items (30)]" in text
        assert "ability ~ Normal" in text and "ability ~ Normal [" not in text


def test_plate_labels_say_when_rows_are_drawn_from_more():
    assert plate_label(PlateFrame("schools", 8, 8, -1)) == "schools (8)"
    assert plate_label(PlateFrame("images", 60000, 128, -1)) == "images (128 of 60000)"


def test_mermaid_of_eight_schools():
    lines = mermaid(GRAPHS["eight schools"]).split("    classDef")[0]
    assert lines == (
        "flowchart TD\n"
        '    mu(["mu ~ Normal"]):::latent\n'
        '    tau(["tau ~ Normal"]):::latent\n'
        '    subgraph plate_schools["schools (8)"]\n'
        '        theta(["theta ~ Normal"]):::latent\n'
        '        y(["y ~ Normal"]):::observed\n'
        "    end\n"
        "    mu --> theta\n"
        "    tau --> theta\n"
        "    theta --> y\n"
    )


def test_mermaid_nests_words_in_documents():
    found = boxes(mermaid(GRAPHS["topics"]), "subgraph", "end")
    documents, words = 'subgraph plate_documents["documents (64 of 2246)"]', 'subgraph plate_words["words (120)"]'
    assert found['w(["w ~ Normal"]):::observed'] == (documents, words)
    assert found['theta(["theta ~ Normal"]):::latent'] == (documents,)
    assert found['alpha["alpha"]:::parameter'] == ()


def test_dot_nests_words_in_documents():
    found = boxes(dot(GRAPHS["topics"]), "subgraph", "}")
    inside = next(stack for line, stack in found.items() if line.startswith('"w" ['))
    assert [re.findall('"cluster_(.*?)"', line) for line in inside] == [["documents"], ["words"]]


def test_guide_edges_are_dashed_and_in_another_colour():
    graph = GRAPHS["autoencoder"]
    assert "    x -.-> z\n" in mermaid(graph) and "linkStyle 2 stroke:" in mermaid(graph)
    assert re.search(r'"x" -> "z" \[style=dashed, color=', dot(graph))


def test_mermaid_identifiers_are_plain_words_and_distinct():
    graph = GRAPHS["awkward names"]
    text = mermaid(graph)
    ids = re.findall(r'^\s*(?:subgraph )?(\S+?)(?:\(\[|\[)"', text, re.M)
    assert len(ids) == len(set(ids)) == len(graph.nodes) + 1
    assert all(re.fullmatch(r"\w+", i, re.ASCII) for i in ids) and "end" not in ids
    assert 'q#quot;[x]#92; ~ Normal"' in text


def test_dot_quotes_names():
    text = dot(GRAPHS["awkward names"])
    assert r'"q\"[x]\\" -> "penalty";' in text
    # Without its quoted strings the text holds no character of a name.
    bare = re.sub(r'"(?:\\.|[^"\\])*"', "", text)
    assert set(bare) <= set("digraph{}\n []=,;->.0123456789abcdefghijklmnopqrstuvwxyz_")


@pytest.mark.parametrize("name", GRAPHS)
def test_every_edge_is_in_every_text(name):
    graph = GRAPHS[name]
    count = sum(len(n.parents) for n in graph.nodes.values())
    assert mermaid(graph).count(" --> ") == count
    assert dot(graph).count(" -> ") == count + len(graph.guide_edges)


# Pictures ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@functools.cache
def picture(name):
    """The graph of that name, drawn once for all tests."""
    ax = draw(GRAPHS[name])
    ax.figure.canvas.draw()
    return ax


def outlines(ax):
    """Boxes of the node patches and of the plates, in the order of the graph, as (low, high) corners."""
    from matplotlib.patches import Ellipse, FancyBboxPatch, Rectangle

    def corners(kinds):
        shapes = [p for p in ax.patches if type(p) in kinds]
        return np.array([p.get_path().get_extents(p.get_patch_transform()).get_points() for p in shapes])

    return corners((Ellipse, Rectangle)), corners((FancyBboxPatch,))


@pytest.mark.parametrize("name", GRAPHS)
def test_plates_enclose_their_members_and_nobody_else(name, plt):
    graph = GRAPHS[name]
    ax = picture(name)
    nodes, plates = outlines(ax)
    assert len(nodes) == len(graph.nodes) and len(plates) == len(graph.plates)
    for (low, high), plate in zip(plates, graph.plates, strict=True):
        for (bottom, top), node in zip(nodes, graph.nodes.values(), strict=True):
            if plate in node.plates:
                assert (low < bottom).all() and (top < high).all(), (plate, node.name)
            else:
                assert (top < low).any() or (high < bottom).any(), (plate, node.name)


@pytest.mark.parametrize("name", GRAPHS)
def test_nodes_keep_apart_and_arrows_point_down(name, plt):
    graph = GRAPHS[name]
    nodes, _ = outlines(picture(name))
    for i, (low, high) in enumerate(nodes):
        for low2, high2 in nodes[:i]:
            assert (high < low2).any() or (high2 < low).any()
    height = dict(zip(graph.nodes, nodes.mean(axis=1)[:, 1] if len(nodes) else [], strict=True))
    assert all(height[p] > height[n.name] for n in graph.nodes.values() for p in n.parents)


def test_plate_labels_stand_in_their_plates(plt):
    ax = picture("topics")
    _, plates = outlines(ax)
    texts = [t for t in ax.texts if "(" in t.get_text()]
    for (low, high), text in zip(plates, texts, strict=True):
        box = text.get_window_extent().transformed(ax.transData.inverted())
        assert (low < box.min).all() and (box.max < high).all(), text


def test_names_fit_into_their_nodes(plt):
    ax = picture("varying intercepts")
    nodes, _ = outlines(ax)
    texts = [t for t in ax.texts if t.get_ha() == "center"]
    for (low, high), text in zip(nodes, texts, strict=True):
        box = text.get_window_extent().transformed(ax.transData.inverted())
        assert (low < box.min).all() and (box.max < high).all(), text


def test_picture_has_shades_labels_and_two_kinds_of_arrows(plt):
    from matplotlib.patches import FancyArrowPatch

    ax = picture("autoencoder")
    assert {"images (128 of 60000)", "$z$", "$x$", "decoder"} == {t.get_text() for t in ax.texts}
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) == 3 and len({p.get_edgecolor() for p in arrows}) == 2


def test_greek_names_are_typeset(plt):
    texts = {t.get_text() for t in picture("varying intercepts").texts}
    assert {r"$\mu_{\alpha}$", r"$\alpha$", "mean", "log_radon"} <= texts


def test_drawing_again_gives_the_same_picture_on_axes_given(plt):
    first = outlines(picture("topics"))
    _, ax = plt.subplots(figsize=(3, 3))
    assert draw(GRAPHS["topics"], ax) is ax
    for a, b in zip(first, outlines(ax), strict=True):
        np.testing.assert_array_equal(a, b)


def test_without_matplotlib_the_message_names_the_extra(monkeypatch):
    ordinary = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return ordinary(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match=r"pip install 'ppl\[plot\]'"):
        draw(GRAPHS["eight schools"])
