import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from wsseg.core.contracts import Step
from wsseg.core.errors import RecipeError
from wsseg.recipe.plugins import checked_arguments
from wsseg.supervision.gated_crf import GatedCrf, PottsEnergy, half_ball


def only(step: Step, *names: str) -> Step:
    return replace(step, outputs={name: step.outputs[name] for name in names})


def brute_force(p, image, spacing, radius, sigma_mm, sigma_intensity) -> torch.Tensor:
    """The formula of the docstring, voxel pair by voxel pair: p (B, C, X, Y, Z), image (B, M, X, Y, Z), float64."""
    shape = p.shape[2:]
    voxels = list(itertools.product(*(range(n) for n in shape)))
    energy = p.new_zeros(())
    for b, i, j in itertools.product(range(p.shape[0]), voxels, voxels):
        mm2 = sum(((u - v) * s) ** 2 for u, v, s in zip(i, j, spacing, strict=True))
        if i == j or mm2 > radius**2 + 1e-9:
            continue
        unlike = ((image[b, :, *i] - image[b, :, *j]) ** 2).sum()
        kernel = math.exp(-mm2 / (2 * sigma_mm**2)) * (-unlike / (2 * sigma_intensity**2)).exp()
        energy = energy + kernel * (1 - (p[b, :, *i] * p[b, :, *j]).sum())
    return energy / (p.shape[0] * len(voxels) * total_weight(spacing, radius, sigma_mm))


def total_weight(spacing, radius, sigma_mm) -> float:
    total = 0.0
    for d in itertools.product(range(-9, 10), repeat=3):
        mm2 = sum((n * s) ** 2 for n, s in zip(d, spacing, strict=True))
        if 0 < mm2 <= radius**2 + 1e-9:
            total += math.exp(-mm2 / (2 * sigma_mm**2))
    return total


@pytest.mark.parametrize(
    ("spacing", "radius", "network"),
    [((3.0, 3.0, 3.0), 6.0, "mr"), ((2.0, 1.5, 4.0), 4.0, "cross"), ((0.8, 0.8, 2.0), 1.6, "ct")],
)
def test_it_equals_brute_force(
    make_step: Callable, setting_of: Callable, spacing: tuple, radius: float, network: str
) -> None:
    step = only(make_step(3, (4, 4, 4), batch=1, spacing_mm=spacing), network)
    output = step.outputs[network]
    loss = GatedCrf(setting_of(step), radius_mm=radius, sigma_mm=3, sigma_intensity=0.7)(step)
    loss.backward()
    logits = output.logits.detach().double().requires_grad_()
    guide = step.batch.image[:, list(output.modalities)].double()
    expected = brute_force(logits.softmax(1), guide, spacing, radius, 3, 0.7)
    expected.backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(output.logits.grad.double(), logits.grad, rtol=1e-4, atol=1e-8)


def test_the_closed_form_gradient_is_the_derivative() -> None:
    g = torch.Generator().manual_seed(0)
    p = torch.rand(2, 3, 4, 3, 4, generator=g, dtype=torch.float64).requires_grad_()
    guide = torch.randn(2, 2, 4, 3, 4, generator=g, dtype=torch.float64)
    offsets = half_ball((1.0, 1.0, 2.0), 2.0, 1.5)
    assert torch.autograd.gradcheck(lambda q: PottsEnergy.apply(q, guide, None, offsets), p)


def test_the_ball_is_in_mm() -> None:
    offsets = {offset for offset, _ in half_ball((3.0, 3.0, 9.0), 9.0, 6.0)}
    assert (3, 0, 0) in offsets and (0, 0, 1) in offsets
    assert (1, 0, 1) not in offsets and (2, 2, 0) in offsets and (3, 1, 0) not in offsets
    assert not offsets & {(-x, -y, -z) for x, y, z in offsets}
    assert dict(half_ball((3.0, 3.0, 9.0), 9.0, 6.0))[(2, 1, 0)] == pytest.approx(math.exp(-45 / 72))


def test_no_edge_and_no_opinion_cost_the_chance_of_disagreement(make_step: Callable, setting_of: Callable) -> None:
    for radius in (3.0, 6.0, 9.0):  # the value of voxels with a full neighbourhood does not depend on the radius
        step = only(make_step(4, (24, 24, 24), batch=1, spacing_mm=(3, 3, 3)), "mr")
        step.batch.image.zero_()
        with torch.no_grad():
            step.outputs["mr"].logits.zero_()
        reach = [abs(n) for offset, _ in half_ball((3.0, 3.0, 3.0), radius, 6.0) for n in offset]
        loss = GatedCrf(setting_of(step), radius_mm=radius)(step).item()
        assert 0.75 * (1 - max(reach) / 24) ** 3 < loss < 0.75


def test_one_class_everywhere_costs_nothing_and_names_do_not_matter(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    term = GatedCrf(setting_of(step))
    turned = {n: replace(o, logits=o.logits.flip(1)) for n, o in step.outputs.items()}
    torch.testing.assert_close(term(step), term(replace(step, outputs=turned)))
    sure = torch.zeros(2, 3, 6, 5, 7)
    sure[:, 1] = 100
    agreed = {n: replace(o, logits=sure) for n, o in step.outputs.items()}
    for stride in (1, 2):  # blocks that stick out of the patch are averaged over what they hold
        term = GatedCrf(setting_of(step), stride=stride)
        assert abs(term(replace(step, outputs=agreed)).item()) < 1e-6


def test_an_edge_in_either_modality_cuts_but_not_in_one_the_case_lacks(
    make_step: Callable, setting_of: Callable
) -> None:
    step = only(make_step(2, (6, 6, 6), batch=1), "cross")
    halves = torch.zeros(1, 2, 6, 6, 6)
    halves[:, 0, :3], halves[:, 1, 3:] = 20, 20
    split = {"cross": replace(step.outputs["cross"], logits=halves)}
    image = torch.zeros(1, 2, 6, 6, 6)
    term = GatedCrf(setting_of(step))

    def cost(image: torch.Tensor, present: tuple[bool, bool] = (True, True)) -> float:
        batch = replace(step.batch, image=image, present=torch.tensor([present]))
        return term(replace(step, batch=batch, outputs=split)).item()

    flat = cost(image)
    assert flat > 0.05
    for modality in (0, 1):
        edge = image.clone()
        edge[:, modality, :3] = 5
        assert cost(edge) < 1e-6
        assert cost(edge, (modality != 0, modality != 1)) == pytest.approx(flat)


def test_no_gradient_goes_to_the_image(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    image = step.batch.image.clone().requires_grad_()
    GatedCrf(setting_of(step))(replace(step, batch=replace(step.batch, image=image))).backward()
    assert image.grad is None or not image.grad.any()


def test_stride_averages_over_blocks(make_step: Callable, setting_of: Callable) -> None:
    step = only(make_step(3, (6, 4, 8), spacing_mm=(1.5, 1.5, 2.0)), "cross")
    loss = GatedCrf(setting_of(step), stride=2, radius_mm=6, sigma_mm=4)(step)
    p = F.avg_pool3d(step.outputs["cross"].logits.detach().double().softmax(1), 2)
    image = F.avg_pool3d(step.batch.image.double(), 2)
    expected = brute_force(p, image, (3.0, 3.0, 4.0), 6.0, 4, 0.3)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_patch_with_padding_costs_what_the_volume_in_it_costs(
    make_step: Callable, setting_of: Callable, stride: int
) -> None:
    step = only(make_step(3, (8, 6, 4), batch=1, padding=4), "cross")
    output, patch = step.outputs["cross"], step.batch
    volume = replace(patch, image=patch.image[:, :, :4], inside=patch.inside[:, :4], label=patch.label[:, :4])
    alone = replace(step, batch=volume, outputs={"cross": replace(output, logits=output.logits[:, :, :4])})
    term = GatedCrf(setting_of(step), stride=stride)
    torch.testing.assert_close(term(step), term(alone))


def test_a_share_of_the_offsets_is_right_on_average(make_step: Callable, setting_of: Callable) -> None:
    step = only(make_step(2, (6, 6, 6), spacing_mm=(3, 3, 3)), "mr")
    setting = setting_of(step)
    full = GatedCrf(setting)(step)
    some = GatedCrf(setting, offsets_share=0.25)
    draws = torch.stack([some(step).detach() for _ in range(300)])
    assert draws.std() > 0
    assert abs(draws.mean() - full) < 4 * draws.std() / 300**0.5
    torch.manual_seed(5)
    first = some(step)
    torch.manual_seed(5)
    assert some(step) == first


def test_only_valid_slots_count(make_step: Callable, setting_of: Callable) -> None:
    step = only(make_step(), "mr")
    term = GatedCrf(setting_of(step))
    output = step.outputs["mr"]

    def alone(slot: int) -> torch.Tensor:
        valid = torch.arange(2) == slot
        return term(replace(step, outputs={"mr": replace(output, valid=valid)}))

    torch.testing.assert_close(term(step), (alone(0) + alone(1)) / 2)


def test_arguments_out_of_range_are_faults_of_the_recipe() -> None:
    wrong = {"offsets_share": 1.5, "radius_mm": -9, "stride": 0}
    _, faults = checked_arguments(GatedCrf, wrong, "supervision.gated_crf")
    assert len(faults) == 3
    assert "supervision.gated_crf.offsets_share: input should be less than or equal to 1, got 1.5" in faults


def test_a_radius_below_the_spacing_is_refused_in_words(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    with pytest.raises(RecipeError, match=r"supervision\.gated_crf: radius_mm 2 reaches no neighbour .* 3 x 3 x 4 mm"):
        GatedCrf(setting_of(step, "gated_crf"), radius_mm=2)(step)
