"""The content of a source of any format, as the three lists of a COCO file."""

from __future__ import annotations

from dataclasses import dataclass

from codetr.data.config import BoxFormat
from codetr.data.formats.coco import CocoFile
from codetr.data.storage.image_store import ImageRoot


@dataclass(frozen=True)
class RawSource:
    """The content of one source; nothing is checked yet.

    Attributes:
        file: images, annotations and categories as in a COCO file.
        images: the folder, tar file or prefix on S3 that the file names of images are relative to.
        digest: of the annotations, as `sha256:<hex>`.
        has_category_ids: category ids come from the source. VOC has none, so its ids are assigned by the reader.
        has_record_ids: image and annotation ids come from the source. VOC and YOLO have none.
        written_as: the format that defines the boxes otherwise than COCO; the reader has converted them.
    """

    file: CocoFile
    images: ImageRoot
    digest: str
    has_category_ids: bool = True
    has_record_ids: bool = True
    written_as: BoxFormat = "xywh"


@dataclass(frozen=True)
class MalformedRow:
    """An entry of the list of annotations for a malformed row of a label file.

    Attributes:
        text: the row.
        image_id: the image of the label file.
    """

    text: str
    image_id: int
