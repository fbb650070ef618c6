"""The data doctor: what a dataset consists of, what is wrong with it, and what will hurt training.

`summary` is what `prepare` notes while it reads (`doctor.json`); `examination` looks at everything that was kept;
`page` and `terminal` show both, and `repair` writes a copy without the faults.
"""

from codetr.data.doctor.summary import (
    NAME,
    Report,
    SplitReport,
    examine,
    examine_split,
    print_report,
    read_report,
)

__all__ = ["NAME", "Report", "SplitReport", "examine", "examine_split", "print_report", "read_report"]
