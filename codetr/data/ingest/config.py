"""Settings of the prepare step."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from codetr.core.bounds import Fraction, Seed
from codetr.core.settings import Settings
from codetr.data.config import FULL_RANGE, HIGHEST_MAX_PIXELS, MAX_PIXELS, Range16Bit, SourceConfigs
from codetr.data.dataset.image_settings import ImageSettings
from codetr.data.ingest.max_lost import MaxLost


class PrepareConfig(Settings):
    """Settings of the prepare step.

    Attributes:
        train: annotations and images to train on: one source, or a list of sources that are merged.
        val: annotations and images to validate and evaluate on; None uses the val set of a VOC folder or YOLO's
            data.yaml in `train`, else draws it from `train`.
        test: optional further set to evaluate on; None uses the test set that `train` lists, if any.
        val_fraction: share of images drawn for val when none is given and none is listed.
        test_fraction: share of images drawn for test, listed or not; None draws none.
        stratify: give every drawn split its share of every class. With False, the split of an image depends on its
            content and the seed alone, so it does not change when other images are added.
        seed: of the draws.
        max_lost_images: share of a source's images that may be unusable; more is an error, since it points to a wrong
            folder or an interrupted download.
        max_lost_annotations: share of the annotations of a source's usable images that may be unusable, if these are
            ten or more; more is an error, since it points to boxes in another format or to wrong ids. Annotations of
            images that are not listed count if there are no others. With 1, boxes that are certainly written in another
            format are read as they are, too.
        max_leaked_images: share of the images of val or test that may be in train, too; more is an error. If the
            sources of train are named for val, that is only reported.
        range_16bit: the values [black, white] of 16-bit grey images that become black and white: [0, 4095] for 12 bits
            stored in 16. Training, evaluation and the trained model use the same. Files that declare their range, as
            PGM does, need no setting.
        max_pixels: pixels of the largest image that is read; a larger one is reported as unreadable. Decoding takes
            up to 12 bytes a pixel, in every loader process.
    """

    train: SourceConfigs
    val: SourceConfigs | None = None
    test: SourceConfigs | None = None
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test_fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    stratify: bool = True
    seed: Seed = 0
    max_lost_images: Fraction = 0.5
    max_lost_annotations: Fraction = 0.5
    max_leaked_images: Fraction = 0.5
    range_16bit: Range16Bit = FULL_RANGE
    max_pixels: Annotated[int, Field(gt=0, le=HIGHEST_MAX_PIXELS)] = MAX_PIXELS

    @model_validator(mode="after")
    def _fractions_leave_something(self) -> Self:
        if self.test is not None and self.test_fraction is not None:
            raise ValueError("test and test_fraction are both given: set one of them")
        if sum(self.drawn.values()) >= 1:
            raise ValueError(f"val_fraction and test_fraction are {sum(self.drawn.values()):g}: nothing is left")
        return self

    @property
    def images(self) -> ImageSettings:
        """How the images of the dataset are decoded."""
        return ImageSettings(range_16bit=self.range_16bit)

    @property
    def max_lost(self) -> MaxLost:
        """How much of a source may be unusable."""
        return MaxLost(self.max_lost_images, self.max_lost_annotations)

    @property
    def drawn(self) -> dict[str, float]:
        """Share of the images of train that is drawn for each split, unless train lists that split itself."""
        shares = {} if self.val is not None else {"val": self.val_fraction}
        return shares if self.test_fraction is None else {**shares, "test": self.test_fraction}
