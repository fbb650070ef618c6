"""Merge several sources into one split: classes by name, unique ids, separate image folders."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from codetr.core.errors import UserError
from codetr.data.annotation_table import AnnotationTable
from codetr.data.ingest.categories import unique_names
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.lvis import Frequency, Verified
from codetr.data.storage.image_store import ImageRoot
from codetr.data.validation.findings import Findings
from codetr.data.validation.ids import make_unique


@dataclass
class CheckedSplit:
    """A split of one or more sources, checked, before its index is written.

    Attributes:
        images: usable images.
        objects: usable annotations of these images.
        frequencies: frequencies of categories by id, where a source has them.
        findings: what was found.
        listed_images: number of images in the files, usable or not.
        listed_annotations: number of annotations in the files.
        roots: the image folders. If there are several, the path of an image begins with the index of its folder.
        where: the annotation files, for error messages.
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
    """A single source, with its categories.

    Attributes:
        categories: names by id.
        has_category_ids: see `RawSource`; false, too, if some are no integers: those assigned differ between files.
        has_record_ids: see `RawSource`.
        lost: (image id, category id) of annotations that were dropped, see `AnnotationReader`.
    """

    categories: dict[int, str]
    has_category_ids: bool
    has_record_ids: bool
    lost: list[tuple[int, int]]


def unify_categories(sources: Sequence[tuple[str, CheckedSource]], *, by_name: bool) -> dict[int, str]:
    """Return the categories of a dataset by ascending id; a label is a position in them.

    Args:
        sources: every source with the name of its split. Their category ids are changed to the ids returned.
        by_name: categories of equal name are one class, with the id it has in the earliest source. Otherwise
            categories of equal id are one class, and must have the same name.

    Raises:
        UserError: one id with two names, unless `by_name`.
    """
    _make_names_unique([source for _, source in sources], by_name=by_name)
    merged: dict[int, str] = {}
    numbers: dict[str, int] = {}
    spelled: dict[str, tuple[CheckedSource, str]] = {}
    for split, source in sources:
        changed: dict[int, int] = {}
        for identifier, name in source.categories.items():
            first, other = spelled.setdefault(_normalised_name(name), (source, name))
            if name not in numbers and other != name:
                where = "" if first is source else " in an earlier source"
                source.findings.add("category_alike", f"'{name}', and '{other}'{where}")
            number = identifier
            if by_name and name in numbers:
                number = numbers[name]
            elif merged.get(identifier, name) != name:
                if not by_name:
                    problem = f"category {identifier} is '{name}' in {split}, but '{merged[identifier]}' before"
                    raise UserError(problem, where=source.where, hint="Use the same category ids in all splits.")
                number = max(*merged, *source.categories) + 1
            if number != identifier:
                changed[identifier] = number
                if source.has_category_ids:
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
            category_ids = _map_ids(source.objects.category_ids, changed)
            source.objects = replace(source.objects, category_ids=category_ids)
            source.lost = [(image, changed.get(category, category)) for image, category in source.lost]
    return dict(sorted(merged.items()))


def _make_names_unique(sources: Sequence[CheckedSource], *, by_name: bool) -> None:
    """Give every category of a source another name; where ids are common to all sources, all decide who keeps it."""
    used = [{*np.unique(source.objects.category_ids).tolist(), *(key for _, key in source.lost)} for source in sources]
    together = set().union(*used)
    for source, of_source in zip(sources, used, strict=True):
        names = unique_names(source.categories, of_source if by_name else together, source.findings)
        source.categories = names


def merge_sources(sources: Sequence[CheckedSource]) -> CheckedSplit:
    """Merge the sources of one split, whose categories are unified; a single source is returned unchanged.

    If one is federated, as LVIS is, images of the others are verified for all categories of their source.
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
                if source.has_record_ids:
                    note("image_id_renumbered", f"image {image.image_id} '{image.path}' is now {number}")
                renamed[image.image_id] = number
            other, path = first_of.setdefault(image.digest, (position, image.path))
            if other != position:
                note("image_in_several_sources", f"image {number} '{image.path}' and '{path}' of source {other}")
            known = verified[image.image_id]
            images.append(replace(image, image_id=number, path=f"{position}/{image.path}", verified=known))
        given, numbers = source.objects.annotation_ids, object_ids[position]
        for k in np.flatnonzero(given != numbers) if source.has_record_ids else ():
            note("annotation_id_renumbered", f"annotation {given[k]} is now {numbers[k]}")
        mapped_image_ids = _map_ids(source.objects.image_ids, renamed)
        objects.append(replace(source.objects, annotation_ids=numbers, image_ids=mapped_image_ids))
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
    """Merge the frequencies of categories; where splits or sources differ, the first counts, as LVIS's are of train."""
    merged: dict[int, Frequency] = {}
    for split in splits:
        merged = {**split.frequencies, **merged}
    return merged


def _verified_for_all(source: CheckedSource) -> dict[int, Verified | None]:
    """Return the verified categories by image id of a source whose images are annotated for all of its categories.

    A category of which an annotation was dropped is neither absent nor exhaustively annotated.
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


def _normalised_name(name: str) -> str:
    """Return a class name without case, white space, punctuation and differences between Unicode forms."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", name).casefold())) or name


def _unique(given: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the ids of several sources, with free ids for those that an earlier source has."""
    return np.split(make_unique(np.concatenate(given)), np.cumsum([len(ids) for ids in given])[:-1])


def _map_ids(ids: NDArray[np.int64], changed: Mapping[int, int]) -> NDArray[np.int64]:
    """Return (n,) ids with those in `changed` replaced."""
    found, inverse = np.unique(ids, return_inverse=True)
    return np.array([changed.get(key, key) for key in found.tolist()], np.int64)[inverse]
