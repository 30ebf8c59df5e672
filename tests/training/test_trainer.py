"""The engine: schedules, dependencies, ablations that are ablations, resuming that is exact, numbers that break."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wsseg.core.contracts import Term
from wsseg.core.errors import RecipeError
from wsseg.training.checkpoint import Snapshot
from wsseg.training.hybrid import HybridSupervision, TermSpec
from wsseg.training.iterations import GIVE_UP_AFTER, DivergedError
from wsseg.training.optimization import choose_precision, poly_rate
from wsseg.training.trainer import Trainer


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.tensors().items()}


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    return [name for name in a if name not in b or not torch.equal(a[name], b[name])]


def test_training_logs_every_term_under_its_own_name(engine) -> None:
    made = engine()
    made.trainer.fit(made.recorder)
    steps = [step for step, _ in made.logged]
    assert steps == [2, 3, 4, 6], "every second iteration, and the validation at the third"
    last = made.logged[-1][1]
    for term in ("partial_loss", "gated_crf", "modal_consistency", "prototype_contrast"):
        assert f"loss/{term}" in last and f"weight/{term}" in last
    total = sum(last[f"loss/{t}"] * last[f"weight/{t}"] for t in ("partial_loss", "gated_crf", "modal_consistency"))
    assert last["loss/total"] == pytest.approx(total + 0.1 * last["loss/prototype_contrast"], rel=1e-5)
    assert made.logged[1][1] == {"val/dice/left": 0.5}


@pytest.mark.parametrize(("optimizer", "ema"), [("sgd", 0), ("adamw", 0), ("adamw", 0.9)])
def test_a_resumed_training_ends_in_the_same_weights_bit_for_bit(engine, optimizer: str, ema: float) -> None:
    words = (f"training.optimizer={optimizer}", f"training.ema={ema}")
    whole = engine(*words, folder="whole")
    whole.trainer.fit(whole.recorder)
    begun = engine(*words, folder="begun")
    for iteration in range(4):
        begun.trainer.step(iteration)
    begun.trainer.callbacks.checkpoints.save(4, begun.trainer.tensors(), {})
    resumed = engine(*words, folder="begun")
    start = resumed.trainer.restore(resumed.trainer.callbacks.checkpoints.newest([]))
    assert start == 4
    torch.manual_seed(99)  # nothing may hang on the state of the process
    resumed.trainer.fit(resumed.recorder, start)
    assert differing(weights(whole.trainer), weights(resumed.trainer)) == []


def test_averaging_trains_the_same_and_ends_in_the_average(engine) -> None:
    plain, averaged = engine(folder="plain"), engine("training.ema=0.9", folder="averaged")
    plain.trainer.fit(plain.recorder)
    averaged.trainer.fit(averaged.recorder)
    kept = averaged.trainer.callbacks.checkpoints.newest([]).tensors
    trained = {name: t for name, t in kept.items() if not name.startswith("average/")}
    assert not differing(weights(plain.trainer), trained), "the average changes nothing of the training"
    final = averaged.trainer.branches.state_dict()
    mean = {n.removeprefix("average/module."): t for n, t in kept.items() if n.startswith("average/module.")}
    assert final.keys() == mean.keys()
    assert all(torch.equal(final[name], mean[name]) for name in final)
    assert differing({f"networks/{n}": t for n, t in final.items()}, trained)


def test_a_weight_of_zero_is_the_same_run_as_one_without_the_line(engine) -> None:
    zero = engine("supervision.prototype_contrast.weight=0", "supervision.modal_consistency.weight=0")
    zero.trainer.fit(zero.recorder)
    assert set(zero.trainer.supervision.terms) == {"partial_loss", "gated_crf"}
    crf = "gated_crf: {weight: {to: 0.1, from: 0.1, over: 0.3}, networks: [ct, mr], radius_mm: 4}"
    plain = f"supervision={{partial_loss: {{weight: 1.0}}, {crf}}}"
    without = engine(plain)
    without.trainer.fit(without.recorder)
    assert differing(weights(zero.trainer), weights(without.trainer)) == []
    asleep = engine(plain, "supervision.prototype_contrast.weight={to: 1, from: 0.99}")
    asleep.trainer.fit(asleep.recorder)
    assert differing(weights(zero.trainer), weights(asleep.trainer)) == [], "a term that sleeps changes nothing"


def test_iterations_before_any_weight_rises_change_nothing(engine) -> None:
    late = engine("supervision={partial_loss: {weight: {to: 1, from: 0.5}}}")
    before = weights(late.trainer)
    late.trainer.step(0)
    assert differing(before, weights(late.trainer)) == []
    late.trainer.step(5)
    assert differing(before, weights(late.trainer)) != []


def test_a_run_resumes_alike_when_networks_were_reordered_and_not_in_another_number_format(engine) -> None:
    still = "supervision.prototype_contrast.weight=0"  # it draws anchors network by network
    first = engine(still)
    for iteration in range(2):
        first.trainer.step(iteration)
    first.trainer.callbacks.checkpoints.save(2, first.trainer.tensors(), {"precision": "fp32"})
    nets = "mr: {use: unet, reads: [mr], features: 4, levels: 2}, ct: {use: unet, reads: [ct], features: 4, levels: 2}"
    other = engine(f"networks={{{nets}, cross: {{use: cross_modal_unet, fuses: [ct, mr]}}}}", still)
    other.trainer.restore(other.trainer.callbacks.checkpoints.newest([]))
    for made in (first, other):
        made.trainer.step(2)
    after = weights(other.trainer)
    for name, tensor in weights(first.trainer).items():
        torch.testing.assert_close(after[name], tensor, atol=1e-5, rtol=1e-4)  # sums are taken in another order
    other.trainer.precision = "bf16"
    with pytest.raises(RecipeError, match=r"training\.precision: .*fp32.*bf16; set it to fp32"):
        other.trainer.restore(other.trainer.callbacks.checkpoints.newest([]))


def test_a_run_is_not_resumed_by_another_number_of_processes(engine) -> None:
    with pytest.raises(RecipeError, match="started with 2 processes and cannot be resumed with 1"):
        engine().trainer.restore(Snapshot("iteration_0000002", 2, {}, {"world": 2}))


def test_networks_start_alike_in_every_company(engine) -> None:
    full = engine().trainer.branches.networks["mr"].state_dict()
    alone = engine(
        "networks.ct.features=6", "networks.cross.fuses=[mr]", "supervision.gated_crf.networks=[mr]"
    ).trainer.branches.networks["mr"].state_dict()  # fmt: skip
    assert differing(full, alone) == []


def test_validation_and_logging_leave_the_weights_alone(engine) -> None:
    often = engine("training.validate_every=1", "training.log_every=1")
    often.trainer.fit(often.recorder)
    never = engine("training.validate_every=0", "training.log_every=100")
    never.trainer.fit(never.recorder)
    assert differing(weights(often.trainer), weights(never.trainer)) == []


def test_what_is_not_visible_is_hidden_from_the_networks(engine) -> None:
    made = engine()
    batch = made.trainer.batch_at(0)
    visible = batch.visible.clone()
    visible[:, 1] = False
    made.trainer.branches.eval()
    one = made.trainer.branches(replace(batch, visible=visible))
    noise = batch.image.clone()
    noise[:, 1] = torch.randn_like(noise[:, 1])
    two = made.trainer.branches(replace(batch, image=noise, visible=visible))
    assert torch.equal(one["cross"].logits, two["cross"].logits)
    assert not one["mr"].valid.any() and one["cross"].valid.all()


class Broken(Term):
    """A term that is not finite at chosen iterations."""

    def __init__(self, setting) -> None:
        super().__init__(setting)

    def forward(self, step) -> Tensor:
        bad = step.iteration >= 2
        return step.outputs["cross"].logits.mean() * (float("nan") if bad else 1.0)


def test_an_iteration_that_is_not_finite_changes_no_weight_and_many_end_the_run(engine) -> None:
    made = engine("training.iterations=40")
    trainer = made.trainer
    networks = dict(trainer.branches.networks.items())
    plan = TermSpec("broken", Broken, lambda progress: 1.0, ("cross",), {})
    trainer.module.supervision = trainer.supervision = HybridSupervision([plan], networks, 3, (2.0, 2.0, 3.0), 0)
    trainer.step(0)
    trainer.step(1)
    before = weights(trainer)
    trainer.step(2)
    assert differing(before, weights(trainer)) == [] and trainer.skipped == 1
    with pytest.raises(DivergedError, match=r"terms: broken; cases: case_.*lower training\.lr"):
        for _ in range(GIVE_UP_AFTER):
            trainer.step(3)


def test_the_learning_rate_falls_as_a_power_and_may_rise_first() -> None:
    rates = [poly_rate(0.1, t, 100) for t in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates == sorted(rates, reverse=True)
    assert rates[50] == pytest.approx(0.1 * 0.5**0.9)
    warm = [poly_rate(0.1, t, 100, 0.1) for t in range(100)]
    assert warm[0] == pytest.approx(0.01) and warm[10:] == rates[10:]


def test_the_number_format_is_chosen_and_explained() -> None:
    cpu, cube = torch.device("cpu"), torch.nn.Conv3d(1, 1, 3)
    assert choose_precision("fp32", cpu, cube) == ("fp32", "set in the recipe")
    assert choose_precision("bf16", cpu, cube) == ("bf16", "set in the recipe")
    chosen, why = choose_precision("auto", cpu, cube)
    assert (chosen == "bf16") == (why == "the processor has AMX")


def test_torch_still_names_the_capability_that_bf16_is_chosen_by() -> None:
    capabilities = torch.cpu.get_capabilities()
    if capabilities["architecture"] == "x86_64":
        assert isinstance(capabilities["amx_tile"], bool)


def test_kernels_that_crash_in_bf16_on_a_cpu_get_fp32() -> None:
    cpu, thin = torch.device("cpu"), torch.nn.Sequential(torch.nn.Conv3d(1, 1, (1, 3, 3)))
    assert choose_precision("auto", cpu, thin)[0] == "fp32"
    assert choose_precision("fp32", cpu, thin) == ("fp32", "set in the recipe")
    with pytest.raises(RecipeError, match=r"bf16 on a CPU crashes .* set it to auto or fp32"):
        choose_precision("bf16", cpu, thin)
    for fine in ((3, 1, 3), (3, 3, 1), (1, 1, 1)):
        assert choose_precision("bf16", cpu, torch.nn.Conv3d(1, 1, fine))[0] == "bf16"
