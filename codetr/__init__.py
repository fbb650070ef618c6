"""Co-DETR, the collaborative-hybrid-assignment detector, and the steps that keep it trained.

import codetr

model = codetr.load("outputs/model")
result = model.predict("photo.jpg")
result.draw().show()

dataset = codetr.prepare("outputs/dataset", train="train.json", val="val.json", images="images")
trained = codetr.train(dataset, "outputs/model", recipe="tiny")
codetr.evaluate(trained, dataset, "outputs/evaluation").metrics["AP"]
"""

from typing import TYPE_CHECKING, Any

from codetr.core.version import __version__

if TYPE_CHECKING:
    from codetr.core.errors import RunFailed, RunStopped, UserError
    from codetr.inference.load import load
    from codetr.inference.predictor import Model, Predictor
    from codetr.inference.result import FoundObject, Result
    from codetr.inference.tiling import TiledInference
    from codetr.inference.tta import TestTimeAugmentation
    from codetr.steps.api import (
        EvaluateResult,
        PrepareResult,
        RegisterResult,
        TrainResult,
        evaluate,
        prepare,
        register,
        train,
    )

__all__ = [
    "EvaluateResult",
    "FoundObject",
    "Model",
    "Predictor",
    "PrepareResult",
    "RegisterResult",
    "Result",
    "RunFailed",
    "RunStopped",
    "TestTimeAugmentation",
    "TiledInference",
    "TrainResult",
    "UserError",
    "__version__",
    "evaluate",
    "load",
    "prepare",
    "register",
    "train",
]

# PyTorch takes seconds to import, and much of the package does without: each name is imported when it is first used.
_HOMES = {
    "EvaluateResult": "codetr.steps.api",
    "FoundObject": "codetr.inference.result",
    "Model": "codetr.inference.predictor",
    "Predictor": "codetr.inference.predictor",
    "PrepareResult": "codetr.steps.api",
    "RegisterResult": "codetr.steps.api",
    "Result": "codetr.inference.result",
    "RunFailed": "codetr.core.errors",
    "RunStopped": "codetr.core.errors",
    "TestTimeAugmentation": "codetr.inference.tta",
    "TiledInference": "codetr.inference.tiling",
    "TrainResult": "codetr.steps.api",
    "UserError": "codetr.core.errors",
    "evaluate": "codetr.steps.api",
    "load": "codetr.inference.load",
    "prepare": "codetr.steps.api",
    "register": "codetr.steps.api",
    "train": "codetr.steps.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'codetr' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
