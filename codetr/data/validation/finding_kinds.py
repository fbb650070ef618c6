"""Every kind of finding."""

from __future__ import annotations

from codetr.data.validation.annotation_findings import ANNOTATION_FINDINGS
from codetr.data.validation.category_findings import CATEGORY_FINDINGS, CLASS_FINDINGS
from codetr.data.validation.finding_kind import FindingKind
from codetr.data.validation.image_findings import IMAGE_FINDINGS

KINDS: dict[str, FindingKind] = {**CATEGORY_FINDINGS, **IMAGE_FINDINGS, **ANNOTATION_FINDINGS, **CLASS_FINDINGS}
"""Kinds of finding by name, in the order in which records are checked. docs/reference/findings.md lists them."""
