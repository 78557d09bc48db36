"""Figures in notebooks: refused without words, stored with them; sliders only for a reader."""

import base64
import io
import re
import struct

import IPython.display
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from dualseg.course import display

WORDS = {"alt": "A line from 0 to 1.", "caption": "A line."}


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, as mime bundles (data, metadata)."""
    found = []
    monkeypatch.setattr(display, "display", lambda it: found.append(it._repr_mimebundle_()))
    monkeypatch.setattr(display.HTML, "_repr_mimebundle_", lambda it: it.data, raising=False)
    return found


def line() -> Figure:
    figure = Figure(figsize=(8, 3))
    figure.subplots().plot([0, 1])
    return figure


def slopes(figure, value):
    figure.subplots().plot([0, value])


def test_show_stores_a_small_png_with_its_alternative_text(shown, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DUALSEG_FIGURES", str(tmp_path))
    display.show(line(), name="02-3-line", **WORDS)
    ((data, metadata),) = shown
    png = base64.b64decode(data["image/png"])
    assert struct.unpack(">II", png[16:24]) == (960, 360)
    assert len(png) < 60_000
    assert metadata["image/png"]["alt"] == WORDS["alt"]
    assert capsys.readouterr().out == "Figure 02-3. A line.\n"
    saved = Image.open(tmp_path / "02-3-line.png")
    assert (saved.width, saved.text["Description"]) == (1600, WORDS["alt"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alt": " "}, "alt of figure 02-1-line"),
        ({"caption": ""}, "caption of figure 02-1-line"),
        ({"name": "line"}, "like '02-1-spheres'"),
        ({"name": "02-0-line"}, "like '02-1-spheres'"),
        ({"name": "02-1-Two Lines"}, "like '02-1-spheres'"),
    ],
)
def test_show_refuses(shown, change, words):
    with pytest.raises(ValueError, match=words):
        display.show(line(), **{"name": "02-1-line", **WORDS, **change})
    assert shown == []


def test_a_figure_of_pyplot_is_shown_once(shown):
    import matplotlib.pyplot as plt

    figure, _ = plt.subplots()
    display.show(figure, name="02-1-line", **WORDS)
    assert figure.number not in plt.get_fignums()


def test_browse_draws_three_values_and_no_slider_without_a_reader(shown, capsys):
    drawn = []

    def draw(figure, value):
        drawn.append(value)
        slopes(figure, value)

    display.browse(draw, [1, 2, 3, 4, 5], name="02-2-slopes", label="slope", **WORDS)
    assert drawn == [1, 3, 5]
    assert len(shown) == 1
    assert "Figure 02-2. A line." in capsys.readouterr().out


def test_browse_lets_the_error_of_draw_through(shown):
    def broken(figure, value):
        raise ZeroDivisionError("drawing")

    with pytest.raises(ZeroDivisionError, match="drawing"):
        display.browse(broken, [1, 2], name="02-2-slopes", label="slope", **WORDS)


@pytest.mark.parametrize("values, strip", [([], None), ([1, 2], [3]), ([1, 2], [])])
def test_browse_refuses_a_strip_of_other_values(shown, values, strip):
    with pytest.raises(ValueError, match="strip must hold some of the values"):
        display.browse(slopes, values, name="02-2-slopes", label="slope", strip=strip, **WORDS)


def test_wide_drawings_stand_below_each_other(shown):
    display.browse(slopes, [1, 2], name="02-2-a", label="k", size=(8, 2), **WORDS)
    width, height = Image.open(io.BytesIO(base64.b64decode(shown[0][0]["image/png"]))).size
    assert width == 2 * height  # 8 x 2 inches, twice


class Shell:
    """An IPython shell with a kernel."""

    kernel = object()

    def __init__(self, **names):
        self.user_ns = names


@pytest.mark.parametrize(
    ("shell", "session", "live"),
    [
        (None, None, False),  # plain Python
        (Shell(), None, False),  # papermill, nbclient, nbval
        (Shell(), "notebooks/02.ipynb", True),  # Jupyter Server
        (Shell(__vsc_ipynb_file__="02.ipynb"), None, True),  # VS Code
        (object(), "notebooks/02.ipynb", False),  # a terminal's IPython
    ],
)
def test_live_front_end(monkeypatch, shell, session, live):
    monkeypatch.setattr(display, "get_ipython", lambda: shell)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if session:
        monkeypatch.setenv("JPY_SESSION_NAME", session)
    assert display.live_front_end() is live


def test_a_live_front_end_gets_a_slider_that_draws(shown, monkeypatch):
    import ipywidgets

    calls = []
    monkeypatch.setattr(display, "live_front_end", lambda: True)
    monkeypatch.setattr(ipywidgets, "interact", lambda f, value: calls.append((f, value)))
    display.browse(slopes, [1, 2, 3], name="02-2-slopes", label="slope", **WORDS)
    ((redraw, slider),) = calls
    assert (tuple(slider.options), slider.value, slider.description) == ((1, 2, 3), 2, "slope")
    redraw(3)
    assert re.match(r'<img alt="[^"]+ Here slope = 3\." src="data:image/png;base64,', shown[1])


def test_the_real_display_takes_the_image(capsys):
    assert IPython.display.display is display.display
    display.show(line(), name="02-1-line", **WORDS)
    assert "Image object" in capsys.readouterr().out


def test_surfaces_are_a_picture_and_live_also_meshes_to_turn(shown, capsys, monkeypatch):
    """The corners of the mesh lie on the mask's border, in mm, with the first axis from R to L."""
    k3d = pytest.importorskip("k3d")
    mask = np.zeros((20, 20, 20), bool)
    mask[4:10, 6:14, 6:14] = True
    given = {"masks": {"truth": mask, "A": np.zeros_like(mask)}, "spacing": (2, 1, 1)}
    display.show_surfaces(**given, name="02-1-surfaces", **WORDS)
    assert "Figure 02-1." in capsys.readouterr().out
    assert len(shown) == 1
    monkeypatch.setattr(display, "live_front_end", lambda: True)
    plots = []
    monkeypatch.setattr(display, "show", lambda *_, **__: None)
    monkeypatch.setattr(display, "display", plots.append)
    display.show_surfaces(**given, name="02-1-surfaces", **WORDS)
    (plot,) = plots
    assert isinstance(plot, k3d.Plot)
    (mesh,) = plot.objects  # an empty mask has no surface
    assert mesh.name == "truth"
    assert mesh.color == 0x7F7F7F
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([12, 8, 8], abs=1)
