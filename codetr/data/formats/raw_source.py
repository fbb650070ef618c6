"""What a source lists, in whatever format: COCO's three lists, and where in the user's files each entry stands."""

from __future__ import annotations

from dataclasses import dataclass

from codetr.data.formats.coco import CocoFile
from codetr.data.storage.image_store import ImageRoot


@dataclass(frozen=True)
class Records:
    """The content of one source.

    Attributes:
        file: images, annotations and categories as a COCO file has them; nothing is checked yet.
        images: the folder, tar file or prefix on S3 that the images' file names are relative to.
        digest: of the annotations, as `sha256:<hex>`.
        numbered: category ids are the source's own. VOC has none, so that theirs mean nothing elsewhere.
        identified: image and annotation ids are the source's own; VOC and YOLO have none.
    """

    file: CocoFile
    images: ImageRoot
    digest: str
    numbered: bool = True
    identified: bool = True


@dataclass(frozen=True)
class MalformedRow:
    """What stands in the list of annotations for a row of a label file that is none.

    Attributes:
        text: the row.
        image_id: whose file it is in.
    """

    text: str
    image_id: int
