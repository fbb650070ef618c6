"""Several sources as one split: classes by name, ids made unique, image folders kept apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.annotation_table import AnnotationTable
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.lvis import Frequency, Verified
from codetr.data.storage.image_store import ImageRoot
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import make_unique


@dataclass
class CheckedSplit:
    """A split of one source or more on its way from files to an index.

    Attributes:
        images: usable images.
        objects: usable annotations of these images.
        frequencies: how common categories are, by id, where a source says so.
        findings: what was found.
        listed_images: images in the files, usable or not.
        listed_annotations: annotations in the files.
        roots: the image folders. If there are several, an image's path begins with the position of its own.
        where: the files, for errors.
        inputs: digests of annotations and images by name.
    """

    images: list[CheckedImage]
    objects: AnnotationTable
    frequencies: dict[int, Frequency]
    findings: Findings
    listed_images: int
    listed_annotations: int
    roots: tuple[ImageRoot, ...]
    where: str
    inputs: dict[str, str]


@dataclass
class CheckedSource(CheckedSplit):
    """A single source, with its own categories.

    Attributes:
        categories: names by id.
        numbered: category ids are the source's own, see `Records`.
        identified: image and annotation ids are, too.
        lost: (image id, category id) of annotations that were dropped, see `AnnotationReader`.
    """

    categories: dict[int, str]
    numbered: bool
    identified: bool
    lost: list[tuple[int, int]]


def unify_categories(sources: Sequence[tuple[str, CheckedSource]], *, by_name: bool) -> dict[int, str]:
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
    spelled: dict[str, tuple[CheckedSource, str]] = {}
    for split, source in sources:
        changed: dict[int, int] = {}
        for identifier, name in source.categories.items():
            first, other = spelled.setdefault(_plain(name), (source, name))
            if name not in numbers and first is not source:
                source.findings.add("category_alike", f"'{name}' beside '{other}' of an earlier source")
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
            category_ids = _replaced(source.objects.category_ids, changed)
            source.objects = replace(source.objects, category_ids=category_ids)
            source.lost = [(image, changed.get(category, category)) for image, category in source.lost]
    return dict(sorted(merged.items()))


def merge_sources(sources: Sequence[CheckedSource]) -> CheckedSplit:
    """The sources of one split, whose categories are unified, as one; a single one stays as it is.

    If one is federated, as LVIS is, images of the others are verified for all categories of their own source.
    """
    if len(sources) == 1:
        return sources[0]
    federated = any(image.verified is not None for source in sources for image in source.images)
    findings = Findings()
    images: list[CheckedImage] = []
    objects: list[AnnotationTable] = []
    first_of: dict[str, tuple[int, str]] = {}
    image_ids = _unique([np.array([image.image_id for image in source.images], np.int64) for source in sources])
    object_ids = _unique([source.objects.annotation_ids for source in sources])
    for position, source in enumerate(sources):
        findings.extend(source.findings, f"source {position}: ")

        def note(name: str, example: str, position: int = position) -> None:
            findings.add(name, f"source {position}: {example}")

        verified = {image.image_id: image.verified for image in source.images}
        if federated and not any(verified.values()):
            verified = _verified_for_all(source)
        renamed: dict[int, int] = {}
        for image, number in zip(source.images, image_ids[position].tolist(), strict=True):
            if number != image.image_id:
                if source.identified:
                    note("image_id_renumbered", f"image {image.image_id} '{image.path}' is now {number}")
                renamed[image.image_id] = number
            other, path = first_of.setdefault(image.digest, (position, image.path))
            if other != position:
                note("image_in_several_sources", f"image {number} '{image.path}' and '{path}' of source {other}")
            known = verified[image.image_id]
            images.append(replace(image, image_id=number, path=f"{position}/{image.path}", verified=known))
        given, numbers = source.objects.annotation_ids, object_ids[position]
        for k in np.flatnonzero(given != numbers) if source.identified else ():
            note("annotation_id_renumbered", f"annotation {given[k]} is now {numbers[k]}")
        own_images = _replaced(source.objects.image_ids, renamed)
        objects.append(replace(source.objects, annotation_ids=numbers, image_ids=own_images))
    return CheckedSplit(
        images=images,
        objects=AnnotationTable.concatenate(objects),
        frequencies=merge_frequencies(sources),
        findings=findings,
        listed_images=sum(source.listed_images for source in sources),
        listed_annotations=sum(source.listed_annotations for source in sources),
        roots=tuple(root for source in sources for root in source.roots),
        where=", ".join(dict.fromkeys(source.where for source in sources)),
        inputs={key: value for source in sources for key, value in source.inputs.items()},
    )


def merge_frequencies(splits: Iterable[CheckedSplit]) -> dict[int, Frequency]:
    """How common categories are; where splits or sources differ, the first counts: LVIS's are those of its train."""
    merged: dict[int, Frequency] = {}
    for split in splits:
        merged = {**split.frequencies, **merged}
    return merged


def _verified_for_all(source: CheckedSource) -> dict[int, Verified | None]:
    """By image, what a source whose images are annotated for all of its categories says in federated terms.

    A category of which an annotation was dropped is not absent, nor are all of its objects annotated any more.
    """
    present: dict[int, set[int]] = defaultdict(set)
    lost: dict[int, set[int]] = defaultdict(set)
    for image, category in zip(source.objects.image_ids.tolist(), source.objects.category_ids.tolist(), strict=True):
        present[image].add(category)
    for image, category in source.lost:
        lost[image].add(category)
    categories = sorted(source.categories)
    return {
        key: Verified(
            tuple(category for category in categories if category not in present[key] | lost[key]),
            tuple(sorted(lost[key])),
        )
        for key in (image.image_id for image in source.images)
    }


def _plain(name: str) -> str:
    """A class name without what people write differently: case, and blanks or signs between words."""
    return "".join(filter(str.isalnum, name.casefold())) or name


def _unique(given: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Ids of several sources, those that an earlier source has replaced by free ones."""
    return np.split(make_unique(np.concatenate(given)), np.cumsum([len(ids) for ids in given])[:-1])


def _replaced(ids: NDArray[np.int64], changed: Mapping[int, int]) -> NDArray[np.int64]:
    """(n,) ids, those in `changed` by what they are there."""
    found, inverse = np.unique(ids, return_inverse=True)
    return np.array([changed.get(key, key) for key in found.tolist()], np.int64)[inverse]
