"""Several sources as one split: classes by name, ids made unique, image folders kept apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from codetr.data.annotations import ObjectEntry
from codetr.data.check import CheckedImage
from codetr.data.entries import Frequency, Verified
from codetr.data.findings import Findings
from codetr.data.places import ImageRoot
from codetr.errors import UserError


@dataclass
class CheckedSplit:
    """A source, or a split of one source or more, on its way from files to an index.

    Attributes:
        images: usable images.
        objects: usable annotations of these images.
        categories: names by id.
        frequencies: how common categories are, by id, where a source says so.
        numbered: category ids are the source's own, see `Records`.
        findings: what was found.
        listed_images: images in the files, usable or not.
        listed_annotations: annotations in the files.
        roots: the image folders. If there are several, an image's path begins with the position of its own.
        where: the files, for errors.
        inputs: digests of annotations and images by name.
    """

    images: list[CheckedImage]
    objects: list[ObjectEntry]
    categories: dict[int, str]
    frequencies: dict[int, Frequency]
    numbered: bool
    findings: Findings
    listed_images: int
    listed_annotations: int
    roots: tuple[ImageRoot, ...]
    where: str
    inputs: dict[str, str]


def unify_categories(sources: Sequence[tuple[str, CheckedSplit]], *, by_name: bool) -> dict[int, str]:
    """The categories of a dataset by ascending id; a label is a position in them.

    Args:
        sources: every source with the name of its split. All that refers to categories is changed to the ids returned.
        by_name: classes of equal name are the same whatever their ids, and those of the earliest source count.
            Otherwise equal ids are the same class, and must have the same name.

    Raises:
        UserError: one id with two names, unless `by_name`.
    """
    merged: dict[int, str] = {}
    numbers: dict[str, int] = {}
    for split, source in sources:
        changed: dict[int, int] = {}
        for identifier, name in source.categories.items():
            number = identifier
            if by_name and name in numbers:
                number = numbers[name]
            elif merged.get(identifier, name) != name:
                if not by_name:
                    problem = f"category {identifier} is '{name}' in {split}, but '{merged[identifier]}' before"
                    raise UserError(problem, where=source.where, hint="All splits need the same category ids.")
                number = max(*merged, *source.categories) + 1
            if number != identifier:
                changed[identifier] = number
                if source.numbered:
                    example = f"'{name}': {identifier} is now {number}"
                    source.findings.add("category_id_renumbered", example)
            merged[number] = name
            numbers.setdefault(name, number)
        if changed:
            source.categories = {changed.get(key, key): name for key, name in source.categories.items()}
            source.frequencies = {changed.get(key, key): entry for key, entry in source.frequencies.items()}
            source.images = [
                image if image.verified is None else replace(image, verified=image.verified.renumbered(changed))
                for image in source.images
            ]
            source.objects = [
                replace(entry, category_id=changed.get(entry.category_id, entry.category_id))
                for entry in source.objects
            ]
    return dict(sorted(merged.items()))


def merge_sources(sources: Sequence[CheckedSplit]) -> CheckedSplit:
    """The sources of one split, whose categories are unified, as one; a single one stays as it is.

    If one is federated, as LVIS is, images of the others are verified for all categories of their own source.
    """
    if len(sources) == 1:
        return sources[0]
    federated = any(image.verified is not None for source in sources for image in source.images)
    frequencies: dict[int, Frequency] = {}
    findings = Findings()
    images: list[CheckedImage] = []
    objects: list[ObjectEntry] = []
    first_of: dict[str, tuple[int, str]] = {}
    image_ids = _FreeIds([image.image_id for source in sources for image in source.images])
    object_ids = _FreeIds([entry.annotation_id for source in sources for entry in source.objects])
    for position, source in enumerate(sources):
        findings.extend(source.findings, f"source {position}: ")
        frequencies = {**source.frequencies, **frequencies}

        def note(name: str, example: str, position: int = position) -> None:
            findings.add(name, f"source {position}: {example}")

        verified = {image.image_id: image.verified for image in source.images}
        if federated and not any(verified.values()):
            verified = _verified_for_all(source)
        renamed: dict[int, int] = {}
        for image in source.images:
            number = image_ids.take(image.image_id)
            if number != image.image_id:
                note("image_id_renumbered", f"image {image.image_id} '{image.path}' is now {number}")
            renamed[image.image_id] = number
            other, path = first_of.setdefault(image.digest, (position, image.path))
            if other != position:
                note("image_in_several_sources", f"image {number} '{image.path}' and '{path}' of source {other}")
            known = verified[image.image_id]
            images.append(replace(image, image_id=number, path=f"{position}/{image.path}", verified=known))
        for entry in source.objects:
            number = object_ids.take(entry.annotation_id)
            if number != entry.annotation_id:
                note("annotation_id_renumbered", f"annotation {entry.annotation_id} is now {number}")
            objects.append(replace(entry, annotation_id=number, image_id=renamed[entry.image_id]))
    return CheckedSplit(
        images=images,
        objects=objects,
        categories=dict(sorted({key: name for source in sources for key, name in source.categories.items()}.items())),
        frequencies=frequencies,
        numbered=all(source.numbered for source in sources),
        findings=findings,
        listed_images=sum(source.listed_images for source in sources),
        listed_annotations=sum(source.listed_annotations for source in sources),
        roots=tuple(root for source in sources for root in source.roots),
        where=", ".join(dict.fromkeys(source.where for source in sources)),
        inputs={key: value for source in sources for key, value in source.inputs.items()},
    )


def _verified_for_all(source: CheckedSplit) -> dict[int, Verified | None]:
    """By image, what a source whose images are annotated for all of its categories says in federated terms."""
    present: dict[int, set[int]] = defaultdict(set)
    for entry in source.objects:
        present[entry.image_id].add(entry.category_id)
    categories = sorted(source.categories)
    return {
        image.image_id: Verified(tuple(key for key in categories if key not in present[image.image_id]), ())
        for image in source.images
    }


class _FreeIds:
    """Gives ids out, each once: the one that is asked for if it is free, else one beyond all that there are."""

    def __init__(self, given: Sequence[int]) -> None:
        self._next = max(given, default=0) + 1
        self._taken: set[int] = set()

    def take(self, identifier: int) -> int:
        if identifier in self._taken:
            identifier, self._next = self._next, self._next + 1
        self._taken.add(identifier)
        return identifier
