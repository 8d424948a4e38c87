"""Figures as inline SVG: small, in the page's own ink, readable by a screen reader."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from io import BytesIO
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawn in this colour, shown in the page's text colour: what makes a figure fit a dark page too.
INK = "#202124"

_DIGITS = re.compile(r"(\.\d\d)\d+")
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def style() -> AbstractContextManager[None]:
    """Return the style of the page's figures; it must hold while they are made and while they are written."""
    from matplotlib import rc_context

    return rc_context(
        {
            # Text stays text: it can be searched, and it is a fraction of the size of its outlines.
            "svg.fonttype": "none",
            # Names of ids are drawn from this: the same figure gives the same file.
            "svg.hashsalt": "hydra-ray",
            # A name may hold a dollar sign.
            "text.parse_math": False,
            "font.family": ["DejaVu Sans"],
            "font.size": 9,
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.grid": True,
            "grid.alpha": 0.15,
            "grid.linewidth": 0.8,
            "legend.frameon": False,
            **dict.fromkeys(
                ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
            ),
        }
    )


def inline(figure: Figure, label: str, prefix: str) -> str:
    """Return the figure as an `<svg>` element.

    Args:
        figure: The figure, drawn under `style`.
        label: Words that say what the figure shows, for readers who cannot see it.
        prefix: Prefix of the figure's ids, unique on the page.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = BytesIO()
    with style():
        FigureCanvasSVG(figure).print_svg(written, metadata={"Date": None})
    # Nothing of the document around the picture is wanted: its DOCTYPE and metadata name addresses on the net.
    root = ElementTree.fromstring(written.getvalue())
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    # Its style sheet would hold for the whole page.
    for parent in list(root.iter(f"{{{_SVG}}}defs")):
        for sheet in parent.findall(f"{{{_SVG}}}style"):
            parent.remove(sheet)
    _rename_ids(root, prefix)
    _shorten(root)
    width = float(root.attrib.pop("width").removesuffix("pt")) * 4 / 3
    root.attrib.pop("height")
    root.attrib |= {"role": "img", "aria-label": label, "style": f"width: 100%; max-width: {width:.0f}px"}
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode").replace(INK, "currentColor")


def _shorten(root: ElementTree.Element) -> None:
    """Leaves out indentation and digits beyond a hundredth of a point: a third of the bytes."""
    for element in root.iter():
        element.tail = None
        element.text = element.text if (element.text or "").strip() else None
        for name in element.attrib.keys() & {"d", "x", "y", "transform"}:
            element.set(name, _DIGITS.sub(r"\1", element.attrib[name]))


def _rename_ids(root: ElementTree.Element, prefix: str) -> None:
    """Gives ids a prefix; those that nothing points at go, as they only say "patch_3"."""
    pointers = [f"{{{_XLINK}}}href", "clip-path"]
    targets = {_target(element.get(name, "")) for element in root.iter() for name in pointers}
    for element in root.iter():
        if (found := element.get("id")) in targets:
            element.set("id", f"{prefix}-{found}")
        elif found is not None:
            del element.attrib["id"]
        for name in pointers:
            if target := _target(element.get(name, "")):
                element.set(name, element.attrib[name].replace(f"#{target}", f"#{prefix}-{target}"))


def _target(pointer: str) -> str:
    """Return the id in "#id" and "url(#id)", "" in anything else."""
    return pointer.removeprefix("url(").removesuffix(")").removeprefix("#") if "#" in pointer else ""
