"""The report: one HTML file that needs nothing else, and its figures beside it as PNG and SVG.

What it says comes from `summary`, `tables`, `effects` and `methods`, what it shows from `figures`; here all of it is
put into the template and written.
"""

from collections.abc import Iterable
from pathlib import Path

import jinja2

from degeneracy.core.ambient import ordinary_state
from degeneracy.core.errors import UserError
from degeneracy.core.files import exists, read_bytes, write_bytes
from degeneracy.core.user_files import user_path
from degeneracy.measuring.results import Result
from degeneracy.reporting import effects, methods, summary, tables
from degeneracy.reporting.data import ReportData
from degeneracy.reporting.figures import ReportFigure, draw_figures
from degeneracy.reporting.seals import NAME, is_sealed, sealed
from degeneracy.studies.study_result import StudyResult
from degeneracy.wording.losses import loss_in_unit
from degeneracy.wording.names import own_cards

MAX_BYTES = 1 << 28  # far above any file of a report: a larger one is none of ours


@ordinary_state()
def report(study: StudyResult | Result, path: str | Path, *, jobs: int = 1) -> Path:
    """Write the report of a study or of one condition; its figures stand beside it, as PNG and SVG, in a folder.

    `report.html` has `figures/`, any other `name.html` has `name_figures/`, so that reports in one folder keep theirs.

    Reports and figures are replaced where they are as this function wrote them, which their seals say; nothing else is.
    Every file appears whole or not at all, and the report last.

    Args:
        study: what was measured.
        path: the HTML file, or a folder, in which it is then called report.html.
        jobs: processes that draw figures; what they draw does not depend on it.

    Returns:
        The path of the HTML file.

    Raises:
        UserError: a file in the way that is no report of ours or was changed since, or a folder that cannot be written
            to. Nothing is written then.
    """
    data = ReportData.of(study)
    path = user_path(path)
    target = path if path.suffix.lower() in (".html", ".htm") and not path.is_dir() else path / "report.html"
    figures, left_out = draw_figures(data, jobs)
    folder = figures_folder(target)
    files = {folder / name: content for figure in figures for name, content in figure.files.items()}
    files[target] = render(data, figures, left_out, folder=folder.name).encode("utf-8", "backslashreplace")
    _refuse_foreign(files)
    for file, content in files.items():
        write_bytes(file, sealed(content))
    return target


def figures_folder(target: Path) -> Path:
    """Where the figures of a report stand."""
    name = target.stem if target.suffix.lower() == ".html" else target.name
    return target.with_name("figures" if target.name == "report.html" else f"{name}_figures")


def render(
    data: ReportData,
    figures: Iterable[ReportFigure],
    left_out: Iterable[str] = (),
    *,
    folder: str = "figures",
) -> str:
    """The report as one HTML text.

    Args:
        data: what is reported.
        figures: the figures, in the order in which they appear.
        left_out: what could not be drawn, and why, a line each.
        folder: name of the folder beside it in which the figures stand.
    """
    study = data.study
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    by_section: dict[str, list[tuple[int, ReportFigure]]] = {}
    for number, figure in enumerate(figures, start=1):
        by_section.setdefault(figure.section, []).append((number, figure))
    return template.render(
        mark=NAME,
        name=study.name,
        folder=folder,
        description=study.description,
        summary=summary.summary(data),
        trained=tables.trained(study),
        training_loss=loss_in_unit(study.results),
        settings=methods.settings(study),
        variants=methods.variants(study),
        levels=tables.levels(study),
        effects=effects.tables(data.effects, own_cards(data.study.results)),
        survivors=effects.survivors(data),
        at_settings=effects.at_settings(data.robustness),
        claims_changed=bool(study.provenance.get("claims_changed_since_training", False)),
        missing=tables.missing(study),
        left_out=list(left_out),
        methods=methods.methods(study),
        pilot=methods.pilot(study),
        diagnostics=methods.diagnostics(study),
        provenance=methods.provenance(study),
        report_figures=by_section,
    )


def _refuse_foreign(files: Iterable[Path]) -> None:
    """Stop before anything is written where a file that is not ours would be overwritten."""
    for file in files:
        if file.is_dir():
            raise UserError(f"report: {file} is a folder; give another path")
        if exists(file) and not is_sealed(read_bytes(file, at_most=MAX_BYTES)):
            raise UserError(
                f"report: {file} was not written by a report, or was changed since; give another path or move it"
            )
