"""Steps made by hand: three networks whose logits and features are leaves of the graph."""

from collections.abc import Callable, Sequence

import pytest
import torch

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Batch, Output, Step, TermSetting

READS = {"ct": (0,), "mr": (1,), "cross": (0, 1)}
FEATURES = {"ct": 6, "mr": 8, "cross": 10}


def build(
    classes: int = 3,
    shape: Sequence[int] = (6, 5, 7),
    batch: int = 2,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    annotated: float = 0.3,
    deep: bool = False,
    names: Sequence[str] = ("ct", "mr", "cross"),
    spacing_mm: Sequence[float] = (3.0, 3.0, 4.0),
    identical: bool = False,
    undrawn: bool = False,
) -> Step:
    """A step of random logits; every class is annotated in every slot unless `annotated` is 0.

    With `identical` all networks say the same, in features of one width. With `undrawn` the last class was never drawn
    in the first slot, nor (of more than two classes) the first but one in the last.
    """
    g = torch.Generator().manual_seed(seed)
    widths = dict.fromkeys(READS, 6) if identical else FEATURES

    def leaf(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=g).to(dtype).requires_grad_()

    label = torch.randint(0, classes, (batch, *shape), generator=g)
    label = torch.where(torch.rand(label.shape, generator=g) < annotated, label, IGNORE)
    if annotated > 0:
        label.view(batch, -1)[:, :classes] = torch.arange(classes)
    drawn = torch.ones(batch, classes, dtype=torch.bool)
    if undrawn:
        drawn[-1, 1] = classes == 2
        drawn[0, -1] = False
        for slot in range(batch):
            for c in (~drawn[slot]).nonzero():
                label[slot][label[slot] == c] = 0
    half = [(size + 1) // 2 for size in shape]
    outputs = {
        name: Output(
            logits=leaf(batch, classes, *shape),
            valid=torch.ones(batch, dtype=torch.bool),
            modalities=READS[name],
            decoder=(leaf(batch, widths[name], *shape), leaf(batch, 2 * widths[name], *half)),
            deep_logits=(leaf(batch, classes, *half),) if deep else (),
        )
        for name in names
    }
    if identical:
        first = outputs[names[0]]
        with torch.no_grad():
            for output in outputs.values():
                output.logits.copy_(first.logits)
                output.decoder[0].copy_(first.decoder[0])
    here = torch.ones(batch, 2, dtype=torch.bool)
    image = torch.randn(batch, 2, *shape, generator=g)
    spacing = torch.tensor(spacing_mm).expand(batch, 3)
    return Step(Batch(image, here, here, label, drawn, spacing, ("phantom",) * batch), outputs, 10, 100)


def describe(step: Step, name: str = "term") -> TermSetting:
    """What the engine tells a term that looks at all networks of `step`."""
    return TermSetting(
        name=name,
        classes=next(iter(step.outputs.values())).logits.shape[1],
        decoder_features={n: tuple(f.shape[1] for f in o.decoder) for n, o in step.outputs.items()},
        modalities={n: o.modalities for n, o in step.outputs.items()},
        spacing_mm=tuple(step.batch.spacing_mm[0].tolist()),
    )


@pytest.fixture
def make_step() -> Callable[..., Step]:
    return build


@pytest.fixture
def setting_of() -> Callable[..., TermSetting]:
    return describe


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
