"""Refuse a source of which too much cannot be used: then a setting is wrong, rather than single records."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from codetr.core.errors import UserError
from codetr.data.validation.annotation_findings import ANNOTATION_FINDINGS, BOX_FORMAT_FINDINGS
from codetr.data.validation.findings import Finding, Findings
from codetr.data.validation.image_findings import IMAGE_FINDINGS

FEW_ANNOTATIONS = 10
"""Fewer lost annotations are errors of single records, whatever their share."""

MISREAD = frozenset({*BOX_FORMAT_FINDINGS.values(), "boxes_of_other_format", "category_ids_shifted"})
"""Findings that show that nearly all annotations are read with a wrong meaning, although they could be used."""

_NOT_LOST = frozenset({"image_passed_over", "image_verified_unknown"})
"""Findings about images that drop no image of the annotation file."""

_EXAMPLES = 3


@dataclass(frozen=True)
class MaxLost:
    """How much of a source may be unusable; by default all of it.

    Attributes:
        images: share of its images.
        annotations: share of the annotations of its usable images.
    """

    images: float = 1.0
    annotations: float = 1.0

    def require_images(self, lost: int, listed: int, findings: Findings, *, images: str, where: str) -> None:
        """Raise `UserError` if more images are lost.

        Args:
            lost: images that cannot be used.
            listed: images of the annotation file.
            findings: of the source.
            images: the image folder.
            where: the annotation file.
        """
        if lost <= self.images * listed:
            return
        problem, hint = f"{lost} of {listed} images cannot be used", "Raise max_lost_images."
        if reasons := _reasons_for_lost_images(findings):
            counts = ", ".join(f"{finding.name} {finding.count}" for finding in reasons)
            problem += f" ({counts}), e.g. {reasons[0].examples[0]}"
            advice = reasons[0].kind.advice
            if reasons[0].name == "image_missing":
                advice = f"Is {images} the right folder? Name it with --images (`images` in params.yaml)."
            hint = f"{advice} Or raise max_lost_images." if lost < listed else advice
        raise UserError(problem, where=where, hint=hint)

    def require_annotations(self, kept: int, listed: int, findings: Findings, *, boxes: str, where: str) -> None:
        """Raise `UserError` if more annotations are lost, or nearly all are read with a wrong meaning.

        Annotations of images that are not listed do not count: a file from which images were removed may keep theirs.
        Only if all are, the ids are wrong.

        Args:
            kept: annotations that can be used.
            listed: annotations of the annotation file.
            findings: of the source.
            boxes: how its boxes are read, for the message.
            where: the annotation file.
        """
        if self.annotations == 1:
            return
        for finding in findings.all():
            if finding.name in MISREAD:
                hint = f"{finding.kind.advice} Or set max_lost_annotations=1 to read them as they are."
                raise UserError(f"{finding.kind.meaning}: {finding.examples[0]}", where=where, hint=hint)
        reasons = reasons_for_lost_annotations(findings)
        of_usable_images = listed - findings.count("annotation_image_dropped")
        unknown = findings.count("annotation_image_unknown")
        if unknown < listed:
            of_usable_images -= unknown
            reasons = [finding for finding in reasons if finding.name != "annotation_image_unknown"]
        lost = of_usable_images - kept
        if lost < FEW_ANNOTATIONS or lost <= self.annotations * of_usable_images:
            return
        counts = ", ".join(f"{finding.name} {finding.count}" for finding in reasons)
        examples = "; ".join(reasons[0].examples[:_EXAMPLES])
        problem = f"{lost} of {of_usable_images} annotations cannot be used ({counts}); most: {reasons[0].kind.meaning}"
        advice = reasons[0].kind.advice
        if reasons[0].name.startswith("box_"):
            advice += f" Boxes are read as {boxes}: check that the file has them so."
        hint = f"{advice} Or raise max_lost_annotations.".lstrip()
        raise UserError(f"{problem}, e.g. {examples}", where=where, hint=hint)


def reasons_for_lost_annotations(findings: Findings) -> list[Finding]:
    """Return the findings for which annotations of usable images were dropped, the most frequent one first."""
    return _dropped(findings, ANNOTATION_FINDINGS.keys() - {"annotation_image_dropped"})


def _reasons_for_lost_images(findings: Findings) -> list[Finding]:
    return _dropped(findings, IMAGE_FINDINGS.keys() - _NOT_LOST)


def _dropped(findings: Findings, names: Set[str]) -> list[Finding]:
    """Return the findings of some names for which records were dropped, the most frequent one first."""
    found = [finding for finding in findings.all() if finding.name in names and finding.kind.action == "dropped"]
    return sorted(found, key=lambda finding: -finding.count)
