"""Windows are blended without seams, mirrored looks are averaged, absent modalities stay hidden."""

import numpy as np
import pytest
import torch
from torch import Tensor

from wsseg.prediction.predictor import Predictor, label_map


def pointwise(image: Tensor, visible: Tensor) -> Tensor:
    """Logits that follow from each voxel alone, so that windows cannot matter."""
    seen = image * visible[:, :, None, None, None]
    return torch.stack([-seen.sum(1), seen[:, 0], seen[:, 1]], 1)


def predictor(logits=pointwise, **changes: object) -> Predictor:
    settings = {
        "reads": (0, 1),
        "patch_size": (8, 8, 4),
        "overlap": 0.5,
        "mirror": (),
        "device": torch.device("cpu"),
        "precision": "fp32",
    }
    return Predictor(logits, **(settings | changes))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 19, 13, 6)).astype(np.float32)


@pytest.mark.parametrize("shape", [(19, 13, 6), (8, 8, 4), (5, 20, 1), (3, 3, 3)])
def test_windows_give_what_the_whole_volume_gives(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    whole = pointwise(torch.from_numpy(image)[None], torch.tensor([[True, True]])).softmax(1)[0]
    found = predictor().probabilities(image, (True, True))
    assert found.shape == (3, *shape) and found.dtype == torch.float32
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-4)


def test_the_image_that_is_asked_about_is_left_as_it_was(image: np.ndarray) -> None:
    before = image.copy()
    predictor().probabilities(image, (True, True))
    np.testing.assert_array_equal(image, before)


def test_mirrored_looks_make_the_answer_symmetric(image: np.ndarray) -> None:
    def lopsided(image: Tensor, visible: Tensor) -> Tensor:
        slope = torch.linspace(-1, 1, image.shape[2])[None, :, None, None] * torch.ones_like(image[:, 0])
        return torch.stack([slope, -slope], 1)

    flat = np.zeros((1, 8, 8, 4), np.float32)
    plain = predictor(lopsided).probabilities(flat, (True,))
    mirrored = predictor(lopsided, mirror=(0, 1, 2)).probabilities(flat, (True,))
    assert (plain[0] - plain[0].flip(0)).abs().max() > 0.5
    torch.testing.assert_close(mirrored[0], mirrored[0].flip(0))


def test_an_absent_modality_has_no_say(image: np.ndarray) -> None:
    other = image.copy()
    other[1] = 7
    one, two = (predictor().probabilities(i, (True, False)) for i in (image, other))
    assert torch.equal(one, two)


def test_a_label_map_lies_on_the_grid_that_is_asked_for() -> None:
    probabilities = torch.zeros(3, 4, 4, 2)
    probabilities[1, :2], probabilities[2, 2:] = 1, 1
    found = label_map(probabilities, (8, 4, 5))
    assert found.shape == (8, 4, 5) and found.dtype == np.uint8
    assert (found[:4] == 1).all() and (found[4:] == 2).all()
