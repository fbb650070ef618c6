"""Fine-tuning: what is copied, which rows belong to which class, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from codetr.core.errors import UserError
from codetr.models.detector import CoDETR, build_detector
from codetr.weights.class_rows import ClassRows, class_rows
from codetr.weights.fine_tuning import TransferReport, init_from, source_digest
from codetr.weights.model_folder import ModelInfo, save_model
from codetr.weights.official.key_names import to_official
from codetr.zoo.detectors import co_dino_vit_large_coco
from tests.support.models.official_files import write_checkpoint
from tests.support.models.small_models import PREPROCESS
from tests.support.training.tiny_training import tiny_config

OLD = ("cat", "dog", "fish", "cow")
NEW = ("bird", "fish", "cat")
KEPT = {1: 2, 2: 0}
"""Labels of NEW that OLD has, and their labels there."""

KINDS = ("co_dino", "co_deformable")


def detector(kind: str, classes: int, seed: int) -> CoDETR:
    """One whose every weight is random, biases too, so that no two are equal by chance."""
    torch.manual_seed(seed)
    built = build_detector(tiny_config(kind).with_classes(classes))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_()
    return built


def write(folder: Path, kind: str, form: str) -> str:
    old = detector(kind, len(OLD), 1)
    if form == "model":
        folder.mkdir()
        save_model(
            folder, old.state_dict(), ModelInfo(recipe="x", class_names=OLD, model=old.config, preprocess=PREPROCESS)
        )
        return str(folder)
    weights = {name: value.detach() for name, value in to_official(old).items()}
    return str(write_checkpoint(folder.with_suffix(".pth"), weights, averages=True, meta={"CLASSES": OLD}))


def started(source: str, kind: str) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], TransferReport]:
    """Weights of the old detector, a new one before, and after it started from the old; and the report."""
    new = detector(kind, len(NEW), 2)
    before = copy.deepcopy(new.state_dict())
    report = init_from(new, source, NEW)
    return detector(kind, len(OLD), 1).state_dict(), before, new.state_dict(), report


@pytest.mark.parametrize("form", ["model", "checkpoint"])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_shared_classes_and_everything_else_are_kept(tmp_path: Path, kind: str, form: str) -> None:
    old, before, after, report = started(write(tmp_path / "x", kind, form), kind)
    by_class = {
        *(f"query_head.predictors.classifiers.{layer}.{part}" for layer in range(3) for part in ("weight", "bias")),
        *(f"{head}.{part}" for head in ("roi_head.classifier", "roi_head.deltas") for part in ("weight", "bias")),
        *(f"atss_head.classifier.{part}" for part in ("weight", "bias")),
        *(["query_head.label_embedding.weight"] if kind == "co_dino" else []),
    }
    assert set(report.by_class) == by_class
    for name, value in after.items():
        if name not in by_class:
            assert torch.equal(value, old[name]), name
            continue
        each = 4 if "deltas" in name else 1
        for label in range(len(NEW)):
            rows = slice(label * each, label * each + each)
            if kind == "co_deformable" and "classifiers.2" in name and label == 0:
                # In this layer the row is the objectness of all classes.
                assert torch.equal(value[:1], old[name][:1]), name
            elif label in KEPT:
                given = slice(KEPT[label] * each, KEPT[label] * each + each)
                assert torch.equal(value[rows], old[name][given]), name
            else:
                assert torch.equal(value[rows], before[name][rows]), name
        if "roi_head.classifier" in name:
            assert torch.equal(value[-1], old[name][-1]), "background is no class, and is kept"


def test_the_report(tmp_path: Path) -> None:
    _, _, after, report = started(write(tmp_path / "x", "co_dino", "model"), "co_dino")
    assert report.matched == ("fish", "cat")
    assert report.reinitialised == ("bird",)
    assert report.dropped == ("dog", "cow")
    assert report.kept + len(report.by_class) == len(after)
    text = "\n".join(report.lines())
    for part in (
        "2 (fish, cat)",
        "re-initialised: 1 (bird)",
        "dropped: 2 (dog, cow)",
        f"copied completely: {report.kept}",
    ):
        assert part in text
    assert report.to_json()["matched"] == ["fish", "cat"]


def test_the_same_classes_keep_everything(tmp_path: Path) -> None:
    source, new = write(tmp_path / "x", "co_dino", "model"), detector("co_dino", 4, 2)
    report = init_from(new, source, OLD)
    assert (report.reinitialised, report.dropped) == ((), ())
    assert all(
        torch.equal(value, new.state_dict()[name]) for name, value in detector("co_dino", 4, 1).state_dict().items()
    )


def test_weights_whose_classes_nothing_names_keep_no_class(tmp_path: Path) -> None:
    """The third class of one dataset has nothing to do with the third of another."""
    old, new = detector("co_dino", 4, 1), detector("co_dino", 4, 2)
    save_file({name: value.clone() for name, value in old.state_dict().items()}, tmp_path / "x.safetensors")
    before = copy.deepcopy(new.state_dict())
    report = init_from(new, str(tmp_path / "x.safetensors"), [f"class {label}" for label in range(4)])
    assert report.matched == ()
    name = "atss_head.classifier.weight"
    assert torch.equal(new.state_dict()[name], before[name])
    name = "encoder.level_embeds"
    assert torch.equal(new.state_dict()[name], old.state_dict()[name])


def test_eighty_classes_without_names_are_cocos(tmp_path: Path) -> None:
    old, new = detector("co_dino", 80, 1), detector("co_dino", 2, 2)
    torch.save({name: value.detach() for name, value in to_official(old).items()}, tmp_path / "x.pth")
    assert init_from(new, str(tmp_path / "x.pth"), ["crate", "bicycle"]).matched == ("bicycle",)
    name = "atss_head.classifier.weight"
    assert torch.equal(new.state_dict()[name][1], old.state_dict()[name][1])


@pytest.mark.parametrize("form", ["model", "checkpoint"])
def test_another_architecture_is_refused_with_every_key_and_nothing_is_changed(tmp_path: Path, form: str) -> None:
    source = write(tmp_path / "x", "co_dino", form)
    torch.manual_seed(0)
    new = build_detector(tiny_config().changed([("atss", None), ("query.transformer.feedforward_channels", 32)]))
    before = copy.deepcopy(new.state_dict())
    with pytest.raises(UserError) as caught:
        init_from(new, source, ("a", "b", "c"))
    for part in ("unexpected: ", "atss", "expected [32, 16], got [16, 16]"):
        assert part in str(caught.value)
    assert all(torch.equal(before[name], value) for name, value in new.state_dict().items())


def test_the_digest_is_that_of_what_is_read(tmp_path: Path) -> None:
    source = write(tmp_path / "x", "co_dino", "checkpoint")
    first = source_digest(source)
    Path(source).write_bytes(Path(source).read_bytes() + b" ")
    assert source_digest(source) != first
    with pytest.raises(UserError, match="no such file or model folder"):
        source_digest(str(tmp_path / "none"))


def test_rows_of_classes_in_the_published_sizes() -> None:
    """The ViT models regress one box for all classes, so that only the classifiers know them."""
    rows = class_rows(co_dino_vit_large_coco(80))
    assert rows.pop("roi_head.classifier.weight") == rows.pop("roi_head.classifier.bias") == ClassRows(1, 1)
    assert set(rows.values()) == {ClassRows(1, 0)}
    assert len(rows) == 7 * 2 + 1 + 2
    assert not any("deltas" in name for name in rows)
