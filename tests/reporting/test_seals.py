"""Files of a report are told from all others, and from themselves once they were changed."""

from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic import study

from degeneracy.core.errors import UserError
from degeneracy.reporting import figures, report
from degeneracy.reporting.data import ReportData
from degeneracy.reporting.drawing import image_bytes
from degeneracy.reporting.seals import is_sealed, sealed


def _one_figure(data: ReportData):
    yield from list(figures._of_training(data.study))[:1]


def image(kind: str) -> bytes:
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    return image_bytes(figure, kind)


FILES = {"page": "<html>ü</html>\n".encode(), "empty": b"", "png": image("png"), "svg": image("svg")}


@pytest.mark.parametrize("kind", FILES)
def test_a_sealed_file_is_told_from_any_other(kind: str) -> None:
    data = sealed(FILES[kind])
    assert is_sealed(data)
    assert not is_sealed(FILES[kind])
    for position in np.linspace(0, len(data) - 1, 40).astype(int):
        assert not is_sealed(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]), position
        assert not is_sealed(data[:position])
    assert not is_sealed(data + b"\n")


def test_sealed_images_are_images_as_before() -> None:
    before, after = (plt.imread(BytesIO(data)) for data in (FILES["png"], sealed(FILES["png"])))
    np.testing.assert_array_equal(before, after)
    assert ElementTree.fromstring(sealed(FILES["svg"])).tag == ElementTree.fromstring(FILES["svg"]).tag


@pytest.mark.parametrize("name", ["report.html", "figures/example_trials_1.png", "figures/example_trials_1.svg"])
def test_what_was_changed_in_a_report_is_never_overwritten(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    report(study(4), tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files) == 3
    edited = tmp_path / name
    edited.write_bytes(files[edited].replace(b"degeneracy report", b"degeneracy_report", 1))
    files[edited] = edited.read_bytes()
    with pytest.raises(UserError, match=f"{edited.name} was not written by a report, or was changed since"):
        report(study(5), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files
    edited.rename(tmp_path / "mine")
    report(study(5), tmp_path)
    assert (tmp_path / "mine").read_bytes() == files[edited]


def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "_wanted", _one_figure)
    (tmp_path / "report.html").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=r"report\.html: it is a link that leads nowhere"):
        report(study(4), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
