import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Step
from wsseg.core.errors import RecipeError
from wsseg.supervision.prototype_contrast import PrototypeContrast


@pytest.fixture
def one_hot_step(make_step: Callable) -> Callable[..., Step]:
    """A step of one network whose features are the one-hot class of `truth` and whose label shows some of it."""

    def make(truth: torch.Tensor, shown: torch.Tensor, classes: int = 3, width: int = 6) -> Step:
        step = make_step(classes, truth.shape[1:], batch=truth.shape[0], names=("ct",))
        feature = F.one_hot(truth, width).movedim(-1, 1).float().requires_grad_()
        logits = torch.zeros(truth.shape[0], classes, *truth.shape[1:], requires_grad=True)
        label = torch.where(shown, truth, IGNORE)
        old = step.outputs["ct"]
        output = replace(old, logits=logits, decoder=(feature, *old.decoder[1:]))
        return replace(step, batch=replace(step.batch, label=label), outputs={"ct": output})

    return make


def identity(term: PrototypeContrast) -> PrototypeContrast:
    with torch.no_grad():
        for projection in term.projections:
            torch.nn.init.eye_(projection.weight)
            projection.bias.zero_()
    return term


def scattered(batch: int = 3, classes: int = 3) -> torch.Tensor:
    """Classes without any order in them, so that a misaligned index shows."""
    return torch.randint(0, classes, (batch, 3, 5, 4), generator=torch.Generator().manual_seed(0))


def test_one_hot_features_give_the_closed_form(one_hot_step: Callable, setting_of: Callable) -> None:
    """Each anchor equals its prototype: -log(e^(1/τ) / (e^(1/τ) + C - 1)). Fails if features and labels slip."""
    truth = scattered()
    step = one_hot_step(truth, torch.ones_like(truth, dtype=torch.bool))
    term = identity(PrototypeContrast(setting_of(step), temperature=0.5, dimensions=6))
    assert term(step) == 0
    assert term(step).item() == pytest.approx(math.log(1 + 2 * math.exp(-1 / 0.5)), rel=1e-5)
    expected = torch.eye(6)[:3].expand(1, 8, 3, 6).transpose(1, 2)
    torch.testing.assert_close(term.bank[:, :, :8], expected)


def test_wrong_features_cost_more_and_are_pulled_to_their_class(one_hot_step: Callable, setting_of: Callable) -> None:
    truth = scattered()
    step = one_hot_step(truth, torch.ones_like(truth, dtype=torch.bool))
    term = identity(PrototypeContrast(setting_of(step), dimensions=6))
    term(step)
    right = term(step)
    wrong = one_hot_step((truth + 1) % 3, torch.ones_like(truth, dtype=torch.bool))
    wrong = replace(wrong, batch=step.batch)
    loss = term(wrong)
    loss.backward()
    assert loss > right + 5
    grad = wrong.outputs["ct"].decoder[0].grad
    pull = grad.gather(1, truth[:, None])[:, 0]
    assert (pull[pull != 0] < 0).all() and (pull != 0).any()


def test_confident_voxels_are_anchors_and_never_memory(one_hot_step: Callable, setting_of: Callable) -> None:
    truth = scattered()
    shown = torch.zeros_like(truth, dtype=torch.bool)
    shown[0] = True
    step = one_hot_step(truth, shown)
    with torch.no_grad():
        sure = F.one_hot((truth[2] + 1) % 3, 3).movedim(-1, 0) * 10.0
        step.outputs["ct"].logits[2] = sure  # confidently of another class than its features
    term = identity(PrototypeContrast(setting_of(step), temperature=1.0, dimensions=6, anchors=1000))
    term(step)
    assert torch.equal(term.bank[0, :, :8], torch.eye(6)[:3, None].expand(3, 8, 6))  # from slot 0 only
    term.eval()
    right, wrong = math.log(1 + 2 * math.exp(-1)), math.log(1 + 2 * math.exp(-1)) + 1
    annotated, confident = truth[0].numel(), truth[2].numel()
    expected = (annotated * right + confident * wrong) / (annotated + confident)
    loss = term(step)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    touched = step.outputs["ct"].decoder[0].grad.abs().amax((1, 2, 3, 4)) > 0
    assert touched.tolist() == [True, False, True]
    assert step.outputs["ct"].logits.grad is None


def test_anchors_are_shared_between_annotated_and_confident(one_hot_step: Callable, setting_of: Callable) -> None:
    truth = torch.zeros(2, 4, 4, 4, dtype=torch.long)
    truth[:, :, :, 2:] = 1
    shown = torch.zeros_like(truth, dtype=torch.bool)
    shown[0] = True
    step = one_hot_step(truth, shown, classes=2)
    with torch.no_grad():
        step.outputs["ct"].logits.copy_(F.one_hot(truth, 2).movedim(-1, 1) * 10.0)
        step.outputs["ct"].decoder[0].add_(torch.randn(2, 6, 4, 4, 4))  # one-hot anchors would have no gradient left
    term = PrototypeContrast(setting_of(step), anchors=10)
    term(step)
    term(step).backward()
    touched = step.outputs["ct"].decoder[0].grad.abs().amax(1) > 0
    for c in (0, 1):
        assert int((touched[0] & (truth[0] == c)).sum()) == 5
        assert int((touched[1] & (truth[1] == c)).sum()) == 5


def test_a_class_never_seen_is_left_out(one_hot_step: Callable, setting_of: Callable) -> None:
    truth = scattered()
    step = one_hot_step(truth, truth != 1)
    term = identity(PrototypeContrast(setting_of(step), temperature=1.0, dimensions=6))
    term(step)
    assert term.filled.tolist() == [[8, 0, 8]]
    full = replace(step, batch=replace(step.batch, label=truth))
    assert term(full).item() == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)


def test_background_of_a_case_with_classes_never_drawn_is_no_anchor(
    one_hot_step: Callable, setting_of: Callable
) -> None:
    truth = scattered()
    step = one_hot_step(truth, torch.ones_like(truth, dtype=torch.bool))
    step.batch.annotated_classes[1, 2] = False
    step.batch.label[1][truth[1] == 2] = 0  # what a dense label says where the undrawn class lies
    with torch.no_grad():
        step.outputs["ct"].decoder[0].add_(0.3 * torch.randn(step.outputs["ct"].decoder[0].shape))
        step.outputs["ct"].logits.copy_(F.one_hot(truth, 3).movedim(-1, 1) * 10.0)
    term = identity(PrototypeContrast(setting_of(step), dimensions=6, anchors=1000))
    term(step)
    term(step).backward()
    touched = step.outputs["ct"].decoder[0].grad.abs().amax(1) > 0
    assert torch.equal(touched[1], truth[1] == 1) and touched[0].all() and touched[2].all()


def test_one_class_alone_is_nothing_but_is_remembered(one_hot_step: Callable, setting_of: Callable) -> None:
    truth = scattered()
    step = one_hot_step(truth, truth == 2)
    term = PrototypeContrast(setting_of(step))
    for _ in range(2):
        loss = term(step)
        loss.backward()
        assert loss == 0
    assert term.filled.tolist() == [[0, 0, 16]]


def test_the_memory_wraps_around_oldest_first(make_step: Callable, setting_of: Callable) -> None:
    term = PrototypeContrast(setting_of(make_step(names=("ct",))), memory=5, dimensions=2)
    numbers = torch.arange(1, 9.0)[:, None].expand(8, 2)
    for part in numbers.split([3, 3, 2]):
        term._remember(0, 1, part)
    assert term.bank[0, 1, :, 0].tolist() == [6, 7, 8, 4, 5]
    assert term.pointer.tolist() == [[0, 3, 0]] and term.filled.tolist() == [[0, 5, 0]]
    assert not term.bank[0, 0].any() and not term.bank[0, 2].any()


def test_prototypes_are_means_of_what_is_filled(make_step: Callable, setting_of: Callable) -> None:
    term = PrototypeContrast(setting_of(make_step(names=("ct",))), memory=4, dimensions=2)
    term._remember(0, 0, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    term._remember(0, 2, torch.tensor([[0.0, -1.0]]))
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(term._prototypes(0), expected)


def test_evaluation_changes_no_memory(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    term = PrototypeContrast(setting_of(step))
    term(step)
    before = {k: v.clone() for k, v in term.state_dict().items()}
    term.eval()
    term(step)
    assert all(torch.equal(before[k], v) for k, v in term.state_dict().items())


def test_a_saved_term_goes_on_as_if_never_stopped(make_step: Callable, setting_of: Callable) -> None:
    steps = [make_step(seed=seed) for seed in range(4)]
    term = PrototypeContrast(setting_of(steps[0]), memory=16)
    for step in steps[:2]:
        term(step)
    saved = {k: v.clone() for k, v in term.state_dict().items()}
    again = PrototypeContrast(setting_of(steps[0]), memory=16)
    again.load_state_dict(saved)
    losses = []
    for one in (term, again):
        torch.manual_seed(7)
        losses.append([one(step).item() for step in steps[2:]])
    assert losses[0] == losses[1] and losses[0][0] > 0
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in term.state_dict().items())


def test_the_projection_learns(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    term = PrototypeContrast(setting_of(step))
    term(step)
    term(step).backward()
    assert all(weight.grad.any() for weight in term.parameters())


def test_a_network_without_features_is_refused_in_words(make_step: Callable, setting_of: Callable) -> None:
    setting = replace(setting_of(make_step(), "prototype_contrast"), decoder_features={"ct": (4,), "mr": ()})
    with pytest.raises(RecipeError, match=r"supervision\.prototype_contrast: it contrasts .* mr has none"):
        PrototypeContrast(setting)
