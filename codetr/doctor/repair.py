"""Write a repaired copy of annotation files, and a list of every change that was made to them.

Entries that `prepare` accepts keep all their fields, unknown ones included. What reading corrected is written
corrected, what it dropped is left out: the entries of a file are recorded while it is indexed. Then the findings of
the examination are corrected, see `codetr.doctor.repair_annotations`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, require_replaceable
from codetr.data.dataset.split import Split
from codetr.data.formats.coco import CocoFile
from codetr.data.formats.open_source import Source, format_of
from codetr.data.validation.annotation_findings import BOX_FORMAT_FINDINGS
from codetr.data.validation.finding_kinds import KINDS
from codetr.data.validation.findings import ReadEntry
from codetr.doctor.changes import CHANGES, Changes
from codetr.doctor.repair_annotations import repair_annotations

_FORMATS = {"voc": "Pascal VOC", "yolo": "YOLO"}


@dataclass
class RepairableFile:
    """A COCO file that can be repaired after it was indexed.

    Attributes:
        source: the file and its image folder.
        entries: what reading made of its entries, by part and key.
    """

    source: Source
    entries: dict[tuple[str, int], ReadEntry] = field(default_factory=dict)

    def record(self, entry: ReadEntry) -> None:
        """Keep an entry; a later one of the same part and key replaces it."""
        self.entries[entry.part, entry.key] = entry

    @property
    def content(self) -> CocoFile:
        """The file as it was read."""
        content: CocoFile = self.entries["file", 0].value
        return content

    def corrected(self, part: str, key: int) -> tuple[dict[str, Any] | None, list[str]]:
        """Return the corrected fields of an entry, None for one to be left out, and the findings that say why."""
        entry = self.entries.get((part, key), ReadEntry(part, key, value={}))
        return entry.value, entry.findings


def repairable(sources: Mapping[str, Sequence[Source]]) -> dict[str, RepairableFile]:
    """Return the COCO file of every split. To be repaired, it has to `record` what `index_sources` reads.

    Args:
        sources: the sources of every split.

    Raises:
        UserError: a split of several sources, or one that is not a COCO file.
    """
    for split, several in sources.items():
        if len(several) > 1:
            problem = f"a repaired copy is made of one COCO file a split, and {split} has {len(several)} sources"
            hint = "Repair them one at a time, then merge the copies with `codetr prepare`."
            raise UserError(problem, where=str(several[1].annotations), hint=hint)
        annotations = several[0].annotations
        if (found := format_of(annotations)) != "coco":
            hint = (
                "Convert it: `codetr prepare`, then `Split.open(FOLDER, NAME).to_coco()` of codetr.data.dataset.split."
            )
            problem = f"a repaired copy is made of a COCO file, and {split} is {_FORMATS[found]}"
            raise UserError(problem, where=str(annotations), hint=hint)
    return {split: RepairableFile(source) for split, (source,) in sources.items()}


def require_copy_output(output: Path, files: Mapping[str, RepairableFile]) -> None:
    """Raise `UserError` unless a repaired copy may be written there: it is missing, empty, or what `repair` wrote."""
    names = (CHANGES, "train.json", "val.json", "test.json")
    require_replaceable(output, "repaired copy", lambda path: names if (path / CHANGES).is_file() else None)
    for file in files.values():
        annotations = file.source.annotations
        if annotations.resolve().is_relative_to(output.resolve()):
            raise UserError(f"lies in {output}, which the repaired copy would replace", where=str(annotations))


def repair(files: Mapping[str, RepairableFile], dataset: Path, output: Path) -> list[Changes]:
    """Write `SPLIT.json` for every split, and `changes.jsonl`, into a folder. Images are referenced, not copied.

    Args:
        files: what `repairable` returned, after indexing.
        dataset: the index that was made of them.
        output: where the copy goes; an earlier one is replaced as a whole.

    Returns:
        The changes by split.

    Raises:
        UserError: no image or no annotation of a split is left, nearly all boxes seem to be written in another format,
            or the output folder holds something else.
    """
    require_copy_output(output, files)
    for file in files.values():
        _require_box_format(file)
    splits = {name: Split.open(dataset, name) for name in files}
    digests = {name: [split.digest(i) for i in range(len(split))] for name, split in splits.items()}
    changes = []
    with atomic_directory(output) as folder:
        names = list(files)
        for number, name in enumerate(names):
            later = {digest for other in names[number + 1 :] for digest in digests[other]}
            leaked = {int(splits[name].image_ids[i]) for i, digest in enumerate(digests[name]) if digest in later}
            changed = Changes(name)
            content = _repaired(files[name], splits[name], leaked, changed)
            # Numbers that JSON does not know are written as they were, where no rule reads them.
            (folder / f"{name}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
            changes.append(changed)
        with (folder / CHANGES).open("w", encoding="utf-8") as stream:
            for changed in changes:
                stream.writelines(json.dumps(entry) + "\n" for entry in changed.entries)
    return changes


def _require_box_format(file: RepairableFile) -> None:
    """Raise `UserError` if all boxes seem to be written in another format: a repair would remove or clip them."""
    for found in file.corrected("boxes", 0)[1]:
        if found in BOX_FORMAT_FINDINGS.values():
            kind = KINDS[found]
            raise UserError(kind.meaning, where=str(file.source.annotations), hint=kind.advice)


def _repaired(file: RepairableFile, split: Split, leaked: Set[int], changes: Changes) -> dict[str, Any]:
    """Return the repaired content of a file: its keys, in their order."""
    changes.counts.update((finding, "corrected") for finding in file.entries["file", 0].findings)
    read = {key: entry for (part, key), entry in file.entries.items() if part == "annotations"}
    lists = {
        "annotations": list(repair_annotations(file.content.annotations, read, split, leaked, changes)),
        "images": list(_repaired_images(file, leaked, changes)),
        "categories": list(_repaired_categories(file, changes)),
    }
    where = str(file.source.annotations)
    if not lists["images"]:
        raise UserError("no image is left after the repair", where=where)
    if len(file.content.annotations) and not lists["annotations"]:
        raise UserError("no annotation is left after the repair", where=where, hint="Examine it without --fix.")
    return {key: lists.get(key, value) for key, value in file.content.content.items()}


def _repaired_categories(file: RepairableFile, changes: Changes) -> Iterator[dict[str, Any]]:
    for position, value in enumerate(file.content.categories):
        corrected, findings = file.corrected("categories", position)
        if corrected is None:
            changes.remove("categories", position, value, findings)
            continue
        for part, key in (("category names", corrected["id"]), ("frequencies", position)):
            further, reasons = file.corrected(part, key)
            corrected, findings = corrected | (further or {}), findings + reasons
        invalid = {field for field, item in corrected.items() if item is None}
        new = {field: item for field, item in {**value, **corrected}.items() if field not in invalid}
        changes.correct("categories", position, value, new, findings)
        yield new


def _repaired_images(file: RepairableFile, leaked: Set[int], changes: Changes) -> Iterator[dict[str, Any]]:
    for position, value in enumerate(file.content.images):
        corrected, findings = file.corrected("images", position)
        if corrected is not None:
            found, reasons = file.corrected("image files", corrected["id"])
            if corrected["id"] in leaked:
                corrected, findings = None, ["image_leaked"]
            elif found is None:
                corrected, findings = None, reasons
            else:
                corrected, findings = corrected | found, findings + reasons
        if corrected is None:
            changes.remove("images", position, value, findings)
            continue
        new = {**value, **corrected}
        changes.correct("images", position, value, new, findings)
        yield new
