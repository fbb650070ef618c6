"""Memory of a training process before its first step: what `--nproc` counts for each process.

    python benchmarks/process_memory.py                       # recipe tiny, 2 processes
    python benchmarks/process_memory.py --recipe co_dino_5scale_r50_1x_coco --processes 4

Every process does what `codetr train` does until then: it imports the step, joins the process group, builds the
detector of the recipe, without weights from elsewhere, and the optimiser. When all have, each reads
/proc/self/smaps_rollup (Linux). "private" is the memory that ends with the process; "share" (PSS) adds its part of what
it has in common with the others, mostly PyTorch's libraries; "resident" counts these libraries in full.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

MIB = 2**20


def smaps() -> dict[str, int]:
    """Return bytes of memory of this process, by the names in smaps_rollup."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in (line.split() for line in lines)}


def measure(recipe_name: str) -> None:
    """Get ready to train, and print a table of the memory of every process."""
    import torch

    import codetr.steps.train  # noqa: F401  # what the command imports
    from codetr.distributed.processes import processes
    from codetr.models.detector import build_detector
    from codetr.training.optimizer import build_optimizer
    from codetr.zoo import recipe as recipe_named

    recipe = recipe_named(recipe_name)
    torch.set_num_threads(recipe.training.threads or 1)
    with processes() as group:
        detector = build_detector(recipe.model).to(group.device)
        optimizer = build_optimizer(detector, recipe.training.optimizer)
        group.barrier()
        sizes = smaps()
        every = group.gather((sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"], sizes["Rss"]))
        del optimizer
        if group.is_main:
            print(
                f"{recipe_name}, {group.world_size} processes, torch {torch.__version__}, {group.device.type}, in MiB"
            )
            print(f"{'process':>8} {'private':>8} {'share':>8} {'resident':>8}")
            for rank, row in enumerate(every):
                print(f"{rank:>8} " + " ".join(f"{size / MIB:>8.0f}" for size in row))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        measure(arguments.recipe)
        return
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(arguments.processes)]
    words = [__file__, "--recipe", arguments.recipe, "--worker"]
    sys.exit(subprocess.run([sys.executable, "-m", *launcher, *words], check=False).returncode)


if __name__ == "__main__":
    main()
