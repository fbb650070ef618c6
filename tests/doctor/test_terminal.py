"""What the terminal shows last is what must not be overlooked."""

from __future__ import annotations

import io

from rich.console import Console

from codetr.data.validation.dataset_findings import DatasetFinding, Example
from codetr.doctor.terminal import print_errors


def test_only_errors_are_printed_again() -> None:
    """A val that is train was a row among others, above twenty lines of numbers."""
    findings = [
        DatasetFinding("image_leaked", {"val": 4}, [Example("val", "image 1 '[red]a.jpg'")]),
        DatasetFinding("image_size_wrong", {"train": 3}),
    ]
    stream = io.StringIO()
    print_errors(findings, Console(file=stream, width=1000))
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("error image_leaked (4): file that is also in another split")
    assert "Keep the image in one split" in line
