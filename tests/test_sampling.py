"""Batches: order, coverage, padding rule, alignment of image and label, reproducibility."""

import weakref

import numpy as np
import pytest
import torch

from dualseg.config.training import TrainConfig
from dualseg.data.batches import BatchSampler, IntensityScale, random_crop, random_turn_and_flip
from dualseg.data.dataset import open_dataset
from dualseg.data.prefetch import prefetched
from dualseg.errors import DualsegError


@pytest.fixture
def dataset(la_root):
    return open_dataset("la", la_root, "full")


def sampler(dataset, labeled=3, seed=0, unlabeled=True, **changes):
    config = TrainConfig(patch=(16, 16, 16), stride=(8, 8, 8), **changes)
    return BatchSampler(dataset, dataset.split(labeled), config, seed, unlabeled)


def test_labeled_first_then_unlabeled(dataset):
    batch = sampler(dataset).batch(0)
    assert batch.image.shape == (4, 1, 16, 16, 16)
    assert batch.label.shape == (2, 16, 16, 16)
    assert (batch.image.dtype, batch.label.dtype) == (torch.float32, torch.int64)
    assert batch.labeled == 2
    split = dataset.split(3)
    assert set(batch.ids[:2]) <= set(split.labeled)
    assert set(batch.ids[2:]) <= set(split.unlabeled)


def test_without_unlabeled_stream(dataset):
    assert sampler(dataset, unlabeled=False).batch(0).image.shape[0] == 2


def test_no_case_twice_in_a_batch_and_all_are_used(dataset):
    draw = sampler(dataset)
    batches = [draw.batch(step).ids for step in range(40)]
    assert all(len(set(ids)) == 4 for ids in batches)
    assert {case for ids in batches for case in ids} == set(dataset.train)


def test_even_epochs_use_each_labeled_case_once(dataset):
    draw = sampler(dataset, labeled=4)
    for epoch in range(5):
        ids = draw.batch(2 * epoch).ids[:2] + draw.batch(2 * epoch + 1).ids[:2]
        assert sorted(ids) == sorted(dataset.train[:4])


def test_one_labeled_case_fills_the_batch(dataset):
    batch = sampler(dataset, labeled=1).batch(5)
    assert batch.ids[:2] == (dataset.train[0],) * 2
    assert not torch.equal(batch.image[0], batch.image[1])  # two crops of it


def test_a_batch_depends_on_seed_and_step_only(dataset):
    a, b = sampler(dataset), sampler(dataset)
    for step in (0, 1, 2):
        a.batch(step)  # a has a past, b has none
    first, again = a.batch(7), b.batch(7)
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.label, again.label)
    assert first.ids == again.ids
    assert not torch.equal(first.image, a.batch(8).image)
    assert not torch.equal(first.image, sampler(dataset, seed=1).batch(7).image)


def test_only_some_cases_stay_open(dataset, monkeypatch):
    """Each keeps two files open, and a process may open some hundreds."""
    usual, real, opened = sampler(dataset), dataset.case, []

    def case(case_id):
        found = real(case_id)
        opened.append(weakref.ref(found))
        return found

    monkeypatch.setattr(dataset, "case", case)
    monkeypatch.setattr("dualseg.data.batches.OPEN_CASES", 2)
    few = sampler(dataset)
    for step in range(8):
        assert torch.equal(few.batch(step).image, usual.batch(step).image)
    assert sum(ref() is not None for ref in opened) == 2 < len(opened)


def test_crop_is_a_normalised_piece_of_the_volume(dataset):
    batch = sampler(dataset).batch(3)
    case = dataset.read(batch.ids[0])
    whole = (case.image - case.image.mean()) / case.image.std()
    crop = batch.image[0, 0].numpy()
    # find the crop by its first voxel, then compare all of it and its label
    hits = np.argwhere(np.isclose(whole, crop[0, 0, 0], atol=1e-6))
    matches = []
    for x, y, z in hits:
        window = tuple(slice(s, s + 16) for s in (x, y, z))
        if whole[window].shape == crop.shape and np.allclose(whole[window], crop, atol=1e-5):
            matches.append(np.array_equal(case.label[window], batch.label[0]))
    assert matches == [True]


def test_stored_intensities_stay_as_they_are(dataset):
    batch = sampler(dataset, normalise="stored").batch(3)
    values = dataset.read(batch.ids[0]).image
    assert np.isin(batch.image[0].numpy(), values).all()


def test_zscore_forgets_brightness_and_contrast():
    image = np.random.default_rng(0).normal(5, 2, (1, 6, 5, 4)).astype(np.float32)
    a, b = (IntensityScale.of(v, "zscore").apply(v) for v in (image, 7 * image + 100))
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert abs(a.mean()) < 1e-6
    assert a.std() == pytest.approx(1, abs=1e-5)


def test_constant_image_becomes_zero():
    image = np.full((1, 3, 3, 3), 4.0, np.float32)
    assert (IntensityScale.of(image, "zscore").apply(image) == 0).all()


@pytest.mark.parametrize(
    ("side", "padded"),
    [(10, 22), (16, 22), (17, 21), (18, 22), (19, 21), (20, 22), (21, 21), (30, 30)],
)
def test_padding_rule_of_the_field(side, padded):
    """Patch 16: max((16 - s) // 2 + 3, 0) on both ends of *every* axis, if any side is <= 16.

    Voxel k of the first axis has the value k + 1, so that a crop tells where it was taken.
    """
    image = np.ones((side, 16, 40), np.float32) * np.arange(1, side + 1)[:, None, None]
    starts = set()
    for seed in range(600):
        crop, _ = random_crop(image, image, (16, 16, 16), np.random.default_rng(seed))
        line = crop.max((1, 2))  # 0 where padded
        inside = int(np.flatnonzero(line)[0])
        starts.add(int(line[inside]) - 1 - inside)
    margin = (padded - side) // 2
    assert starts == set(range(-margin, side + margin - 16 + 1))


def test_every_offset_can_be_drawn_also_the_last():
    image = np.arange(20, dtype=np.float32)[:, None, None] * np.ones((1, 40, 40), np.float32)
    starts = {
        random_crop(image, image, (16, 16, 16), np.random.default_rng(seed))[0][0, 0, 0]
        for seed in range(200)
    }
    assert starts == {0, 1, 2, 3, 4}


def test_fill_value_goes_into_the_image_only():
    ones = np.ones((4, 4, 4), np.float32)
    image, label = random_crop(ones, ones, (16, 16, 16), np.random.default_rng(0), fill=-7)
    assert set(np.unique(image)) == {-7, 1}
    assert set(np.unique(label)) == {0, 1}


@pytest.mark.parametrize("shape", [(6, 6, 4), (6, 4, 4)], ids=["square", "oblong"])
def test_turns_and_flips_move_image_and_label_together(shape):
    image = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    seen = set()
    for seed in range(200):
        a, b = random_turn_and_flip(image, image, np.random.default_rng(seed))
        np.testing.assert_array_equal(a, b)
        assert a.shape == shape
        assert (np.diff(a, axis=2) == 1).all()  # z is never touched
        seen.add(tuple(a[:, :, 0].ravel()))
    assert len(seen) == (8 if shape[0] == shape[1] else 4)  # the square's symmetries


def test_batches_drawn_ahead_are_the_same_in_the_same_order(dataset):
    draw = sampler(dataset)
    for step, batch in enumerate(prefetched(draw, range(3, 7), torch.device("cpu")), start=3):
        expected = draw.batch(step)
        assert batch.ids == expected.ids
        assert torch.equal(batch.image, expected.image)
        assert torch.equal(batch.label, expected.label)
    assert step == 6
    assert list(prefetched(draw, range(2, 2), torch.device("cpu"))) == []


def test_labels_travel_as_bytes_and_arrive_as_class_numbers(dataset, monkeypatch):
    drawn = sampler(dataset).batch(3)
    if not torch.cuda.is_available():  # where there is no GPU, torch pins nothing
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    sent = drawn.pin_memory()
    arrived = sent.to(torch.device("cpu"))
    assert (sent.label.dtype, arrived.label.dtype) == (torch.uint8, torch.int64)
    assert torch.equal(arrived.label, drawn.label) and arrived.label.any()
    assert torch.equal(arrived.image, drawn.image)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_batches_on_a_gpu_are_those_of_the_cpu(dataset):
    draw = sampler(dataset)
    for step, batch in enumerate(prefetched(draw, range(20), torch.device("cuda"))):
        expected = draw.batch(step)
        assert torch.equal(batch.image.cpu(), expected.image)
        assert torch.equal(batch.label.cpu(), expected.label)


def test_an_error_in_drawing_ahead_comes_with_its_batch(dataset, monkeypatch):
    draw = sampler(dataset)
    batch = BatchSampler.batch

    def broken(self, step):
        if step == 1:
            raise DualsegError("case TRAIN3: gone")
        return batch(self, step)

    monkeypatch.setattr(BatchSampler, "batch", broken)
    batches = prefetched(draw, range(5), torch.device("cpu"))
    next(batches)
    with pytest.raises(DualsegError, match="gone"):
        next(batches)
