"""The page of `histonuc audit`: suspicious labels as pictures, the most suspicious first."""

from __future__ import annotations

from html import escape
from pathlib import Path

from histonuc.files import write_text
from histonuc.reporting.pictures import jpeg_uri
from histonuc.taxonomy import LabelSpace
from histonuc.teaching.audit import Audit, Suspect

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #222; background: #fff; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figcaption { font-size: 13px; }
svg { width: 200px; height: 200px; background: #eee; }
i { display: inline-block; width: .8em; height: .8em; border: 1px solid #555; }
td, th { padding: .1rem 1rem .1rem 0; text-align: left; }
"""


def write_audit_page(audit: Audit, path: Path) -> None:
    """Write one self-contained HTML page."""
    pairs = "".join(
        f"<tr><td>{escape(label)}</td><td>{escape(instead)}</td><td>{count:,}</td></tr>"
        for label, instead, count in audit.pairs
    )
    cards = "".join(
        _card(rank, one, audit.label_space) for rank, one in enumerate(audit.suspects, 1)
    )
    looked_at = f"the features of {escape(audit.model)}, " if audit.model else ""
    share = audit.num_disagreeing / max(audit.num_labels, 1)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Suspicious labels of {escape(str(audit.source))}</title>"
        f"<style>{_STYLE}</style></head><body>"
        f"<h1>Suspicious labels of {escape(str(audit.source))}</h1>"
        f"<p>{audit.num_labels:,} labels. For {audit.num_disagreeing:,} of them ({share:.1%}) a "
        f"classifier that learned from the other {audit.by}s by {looked_at}shape, stain and "
        "neighbourhood finds another class more probable. It may be wrong, and so may the label: "
        "look at each.</p>"
        "<table><thead><tr><th>label</th><th>more probable</th><th>nuclei</th></tr></thead>"
        f"<tbody>{pairs}</tbody></table>"
        f"<h2>The {len(audit.suspects)} most suspicious</h2><main>{cards}</main></body></html>\n"
    )
    write_text(path, text)


def _card(rank: int, one: Suspect, space: LabelSpace) -> str:
    """A suspect: its picture, its label, and the class that is more probable."""
    height, width = one.crop.image.shape[:2]
    ring = " ".join(f"{x:.1f},{y:.1f}" for x, y in one.crop.ring)
    title = escape(f"{one.image}, nucleus {one.nucleus}")
    colour = _colour(space, one.instead)
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
        f'<image width="{width}" height="{height}" href="{jpeg_uri(one.crop.image)}"/>'
        f'<polygon points="{ring}" fill="none" stroke="{_colour(space, one.label)}" '
        'stroke-width="1.5"/></svg>'
        f"<figcaption>{rank}. {title}<br>"
        f'<i style="background:{_colour(space, one.label)}"></i> {escape(one.label)} '
        f"({one.p_label:.1%})<br>"
        f'<i style="background:{colour}"></i> rather {escape(one.instead)} '
        f"({one.p_instead:.0%})</figcaption></figure>"
    )


def _colour(space: LabelSpace, name: str) -> str:
    red, green, blue = space.colours[space.classes.index(name)]
    return f"#{red:02x}{green:02x}{blue:02x}"
