from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from wsseg.core.cases import IGNORE
from wsseg.core.contracts import Output, Step
from wsseg.core.errors import RecipeError
from wsseg.supervision.modal_consistency import ModalConsistency

FORMS = ["mse", "kl", "mutual", "mixture", "feature"]


def soft(step: Step, name: str, temperature: float = 1.0) -> torch.Tensor:
    return (step.outputs[name].logits.detach().double() / temperature).softmax(1)


def kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return (p * (p / q).log()).sum(1)


def pair(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return ((a - b) ** 2).sum(1)


def learned_by(step: Step) -> set[str]:
    return {n for n, o in step.outputs.items() for x in (o.logits, *o.decoder) if x.grad is not None and x.grad.any()}


def test_mse_is_the_mean_over_peers_summed_over_networks(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    loss = ModalConsistency(setting_of(step), form="mse")(step)
    ct, mr, cross = (soft(step, n) for n in ("ct", "mr", "cross"))
    expected = pair(ct, mr).mean() + pair(ct, cross).mean() + pair(mr, cross).mean()  # each pair twice, halved
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_teaches_the_modalities_by_the_cross_modal_network(
    make_step: Callable, setting_of: Callable, temperature: float
) -> None:
    step = make_step()
    loss = ModalConsistency(setting_of(step), form="kl", temperature=temperature)(step)
    loss.backward()
    ct, mr, cross = (soft(step, n, temperature) for n in ("ct", "mr", "cross"))
    expected = temperature**2 * (kl(cross, ct).mean() + kl(cross, mr).mean())
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert learned_by(step) == {"ct", "mr"}


def test_mutual_lets_the_cross_modal_network_learn_too(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    loss = ModalConsistency(setting_of(step), form="mutual")(step)
    loss.backward()
    ct, mr, cross = (soft(step, n) for n in ("ct", "mr", "cross"))
    back = (kl(ct, cross).mean() + kl(mr, cross).mean()) / 2
    expected = kl(cross, ct).mean() + kl(cross, mr).mean() + back
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    assert learned_by(step) == {"ct", "mr", "cross"}


def test_of_networks_that_read_as_much_the_last_teaches(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(names=("ct", "mr"))
    ModalConsistency(setting_of(step), form="kl")(step).backward()
    assert learned_by(step) == {"ct"}


def test_two_networks_mix_as_in_s2me(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(names=("ct", "mr"))
    loss = ModalConsistency(setting_of(step))(step)
    loss.backward()
    leaves = [step.outputs[n].logits.detach().double().requires_grad_() for n in ("ct", "mr")]
    p1, p2 = (z.softmax(1) for z in leaves)
    h1, h2 = (-(p * p.log()).sum(1, keepdim=True) for p in (p1, p2))
    beta = h1 / (h1 + h2)
    mixed = (beta * p2 + (1 - beta) * p1).detach()
    cross_entropies = sum(F.cross_entropy(z, mixed) for z in leaves)
    cross_entropies.backward()
    own = -(mixed * mixed.log()).sum(1).mean()
    torch.testing.assert_close(loss.double(), cross_entropies.detach() - 2 * own, rtol=1e-5, atol=1e-6)
    for name, leaf in zip(("ct", "mr"), leaves, strict=True):
        torch.testing.assert_close(step.outputs[name].logits.grad.double(), leaf.grad, rtol=1e-4, atol=1e-8)


def test_the_mixture_is_of_valid_networks_in_slots_with_two_of_them(make_step: Callable, setting_of: Callable) -> None:
    step = make_step(batch=3)
    sight = {"ct": [True, True, True], "mr": [False, True, False], "cross": [False, False, True]}
    step = replace(step, outputs={n: replace(o, valid=torch.tensor(sight[n])) for n, o in step.outputs.items()})
    loss = ModalConsistency(setting_of(step))(step)

    def mixed(slot: int, *names: str) -> dict[str, torch.Tensor]:
        p = {n: soft(step, n)[slot : slot + 1] for n in names}
        say = {n: 1 / -(q * q.log()).sum(1, keepdim=True) for n, q in p.items()}
        mixture = sum(say[n] * p[n] for n in names) / sum(say.values())
        return {n: kl(mixture, p[n]).mean() for n in names}

    second, third = mixed(1, "ct", "mr"), mixed(2, "ct", "cross")
    expected = (second["ct"] + third["ct"]) / 2 + second["mr"] + third["cross"]
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-7)


def test_feature_is_one_less_the_cosine_of_the_projections(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    term = ModalConsistency(setting_of(step), form="feature")
    with torch.no_grad():
        for weight in term.parameters():
            weight.normal_()
    loss = term(step)
    loss.backward()
    maps = {}
    for weight, (name, output) in zip(term.parameters(), step.outputs.items(), strict=True):
        assert weight.grad.any()
        maps[name] = torch.einsum("of,bfxyz->boxyz", weight[:, :, 0, 0, 0], output.decoder[0])
    expected = 0.0
    for one, other in (("ct", "mr"), ("ct", "cross"), ("mr", "cross")):
        expected += (1 - F.cosine_similarity(maps[one], maps[other], dim=1)).mean().item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert learned_by(step) == {"ct", "mr", "cross"}


@pytest.mark.parametrize("form", FORMS)
def test_agreement_is_the_minimum_of_every_form(form: str, make_step: Callable, setting_of: Callable) -> None:
    step = make_step(identical=True)
    term = ModalConsistency(setting_of(step), form=form)
    loss = term(step)
    loss.backward()
    assert abs(loss.item()) < 1e-6
    for output in step.outputs.values():
        assert all(x.grad is None or x.grad.abs().max() < 1e-6 for x in (output.logits, *output.decoder))
    for seed in range(5):
        step = make_step(identical=True)
        output = step.outputs["mr"]
        g = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for x in (output.logits, output.decoder[0]):
                x.add_(torch.randn(x.shape, generator=g), alpha=0.1)
        assert term(step) > 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_it_is_finite_where_networks_are_certain_and_opposed(
    form: str, make_step: Callable, setting_of: Callable
) -> None:
    step = make_step()
    with torch.no_grad():
        for c, output in enumerate(step.outputs.values()):
            output.logits.zero_()
            output.logits[:, c] = 500
            output.decoder[0].zero_()
    loss = ModalConsistency(setting_of(step), form=form)(step)
    loss.backward()
    assert loss.isfinite()
    for output in step.outputs.values():
        assert all(x.grad is None or x.grad.isfinite().all() for x in (output.logits, *output.decoder))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("region", ["unannotated", "confident"])
def test_a_region_restricts_every_form(form: str, region: str, make_step: Callable, setting_of: Callable) -> None:
    """What lies outside of the region gets no gradient."""
    step = make_step(names=("ct", "cross"))
    ModalConsistency(setting_of(step), form=form, region=region, threshold=0.7)(step).backward()
    ct: Output = step.outputs["ct"]
    if region == "unannotated":
        outside = step.batch.label != IGNORE
    elif form == "mixture":
        p = torch.stack([soft(step, "ct"), soft(step, "cross")])
        say = 1 / -(p * p.log()).sum(2, keepdim=True)
        outside = ((say * p).sum(0) / say.sum(0)).amax(1) <= 0.7
    else:
        outside = soft(step, "cross").amax(1) <= 0.7
    grad = (ct.decoder[0] if form == "feature" else ct.logits).grad.abs().amax(1)
    assert outside.any() and not grad[outside].any()
    assert (grad[~outside] > 0).float().mean() > 0.9


def test_peers_that_share_no_slot_are_left_out_of_the_mean(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    sight = {"ct": [True, False], "mr": [False, True], "cross": [True, True]}
    step = replace(step, outputs={n: replace(o, valid=torch.tensor(sight[n])) for n, o in step.outputs.items()})
    loss = ModalConsistency(setting_of(step), form="mse")(step)
    ct, mr, cross = (soft(step, n) for n in ("ct", "mr", "cross"))
    first, second = pair(ct, cross)[0].mean(), pair(mr, cross)[1].mean()
    torch.testing.assert_close(loss.double(), first + second + (first + second) / 2, rtol=1e-5, atol=0)


def test_feature_without_features_is_refused_in_words(make_step: Callable, setting_of: Callable) -> None:
    step = make_step()
    setting = replace(setting_of(step, "modal_consistency"), decoder_features={"ct": (4,), "mr": (), "cross": (4,)})
    with pytest.raises(RecipeError, match=r"supervision\.modal_consistency: form feature .* mr has none"):
        ModalConsistency(setting, form="feature")


def test_only_feature_owns_parameters(make_step: Callable, setting_of: Callable) -> None:
    setting = setting_of(make_step())
    sizes = {form: [tuple(w.shape) for w in ModalConsistency(setting, form=form).parameters()] for form in FORMS}
    assert sizes.pop("feature") == [(6, 6, 1, 1, 1), (6, 8, 1, 1, 1), (6, 10, 1, 1, 1)]
    assert all(not own for own in sizes.values())
