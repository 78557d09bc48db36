"""Networks half way: trained once, the same every time, on crops of the right cases."""

import sys

import pytest
import torch
from conftest import TEST, TRAIN, ball_case, make_la, write_la_case

from dualseg.course.half_trained import half_trained
from dualseg.course.settings import notebook_settings

pytestmark = pytest.mark.slow


def test_trained_once_and_the_same_again(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[half_trained.__module__], "project_folder", lambda: tmp_path)
    settings = notebook_settings(profile="smoke", dataset="phantom", data_dir="", seed=3)
    first = half_trained(settings)
    trained = first.run.weights_path.stat().st_mtime_ns
    again = half_trained(settings)
    assert again.run.weights_path.stat().st_mtime_ns == trained
    assert torch.equal(first.a.logits, again.a.logits)
    assert torch.equal(first.b.features, again.b.features)
    assert not torch.equal(first.a.logits, first.b.logits)
    assert not first.a.logits.requires_grad

    labeled = set(settings.dataset.train[: settings.dataset.spec.labeled])
    ids = first.batch.ids
    assert set(ids[first.labeled]) <= labeled
    assert not set(ids[first.unlabeled]) & labeled
    assert len(first.a.logits[first.unlabeled]) == 2
    assert half_trained(settings, draw=1).batch.ids != ids or not torch.equal(
        half_trained(settings, draw=1).batch.image, first.batch.image
    )


def test_two_folders_of_a_data_set_never_share_networks(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[half_trained.__module__], "project_folder", lambda: tmp_path)
    found = []
    for name, sign in (("a", 1), ("b", -1)):  # a bright ball, a dark one
        root = make_la(tmp_path / name)
        for i, case_id in enumerate(TRAIN + TEST):
            image, label = ball_case(i, (40 + i, 36, 22))
            write_la_case(root, case_id, sign * image, label)
        settings = notebook_settings(profile="smoke", dataset="la", data_dir=str(root), seed=3)
        found.append(half_trained(settings, draw=1))
    assert found[0].run.folder != found[1].run.folder
    assert found[1].run.experiment().root == str(tmp_path / "b")
    first, second = (each.method.state_dict() for each in found)
    assert not all(torch.equal(first[name], second[name]) for name in first)
