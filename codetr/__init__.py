"""Co-DETR, the collaborative-hybrid-assignment detector, and the steps that keep it trained.

import codetr

model = codetr.load("outputs/model")
result = model.predict("photo.jpg")
result.draw().show()
"""

from typing import TYPE_CHECKING, Any

from codetr.core.version import __version__

if TYPE_CHECKING:
    from codetr.core.errors import UserError
    from codetr.inference.load import load
    from codetr.inference.predictor import Model, Predictor
    from codetr.inference.result import FoundObject, Result
    from codetr.inference.tiling import TiledInference
    from codetr.inference.tta import TestTimeAugmentation

__all__ = [
    "FoundObject",
    "Model",
    "Predictor",
    "Result",
    "TestTimeAugmentation",
    "TiledInference",
    "UserError",
    "__version__",
    "load",
]

# PyTorch takes seconds to import, and much of the package does without: each name is imported when it is first used.
_HOMES = {
    "FoundObject": "codetr.inference.result",
    "Model": "codetr.inference.predictor",
    "Predictor": "codetr.inference.predictor",
    "Result": "codetr.inference.result",
    "TestTimeAugmentation": "codetr.inference.tta",
    "TiledInference": "codetr.inference.tiling",
    "UserError": "codetr.core.errors",
    "load": "codetr.inference.load",
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
