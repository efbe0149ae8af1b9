"""One self-contained offline page about concept vectors."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from emcontain import __version__
from emcontain.concepts.study import PRIMARY, ConceptStudy
from emcontain.concepts.tables import ORIGINS, layer_tables, sections
from emcontain.report.concept_plots import correlation_plot, layers_plot, matrices_plot, moves_plot


def write_page(study: ConceptStudy, out: Path) -> None:
    """Write the page of a study to `out` (its folder is made)."""
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{out.name}.part")
    scratch.write_text(render_page(study), encoding="utf-8")
    os.replace(scratch, out)


def render_page(study: ConceptStudy) -> str:
    """The page as HTML: no script, no outside reference."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emcontain.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    marked = study.paper_layer
    return environment.get_template("concepts.html.j2").render(
        version=__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        study=study,
        marked=marked,
        origins=[_origin(study, origin) for origin in study.similarities],
        correlations=[
            (f"{variant.replace('_', ' ')} {ORIGINS[origin]}", Markup(correlation_plot(curves, marked)))
            for origin, by in study.curves.items()
            for variant, curves in by.items()
        ],
        moves_svg=Markup(moves_plot(study.moves, study.names, marked)) if study.moves else None,
        sections=[*sections(study), *layer_tables(study)],
    )


def _origin(study: ConceptStudy, origin: str) -> dict[str, Any]:
    value = study.similarities[origin][PRIMARY].states.value
    columns = [*study.names, "benign"][: value.shape[2]]
    last = study.layers - 1
    chosen = sorted({study.paper_layer, last // 4, last // 2, 3 * last // 4, last} - {0}) or [last]
    return {
        "title": ORIGINS[origin],
        "layers_svg": Markup(layers_plot(value, study.names, columns, study.paper_layer)),
        "matrices_svg": Markup(matrices_plot(value, study.names, columns, chosen)),
    }
