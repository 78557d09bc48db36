"""Networks half way: trained once, the same every time, on crops of the right cases."""

import torch

from dualseg import halfway as module
from dualseg.halfway import halfway
from dualseg.lessons import notebook_settings


def test_trained_once_and_the_same_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "project_folder", lambda: tmp_path)
    settings = notebook_settings(profile="smoke", dataset="phantom", data_dir="", seed=3)
    first = halfway(settings)
    trained = first.run.weights_path.stat().st_mtime_ns
    again = halfway(settings)
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
    assert halfway(settings, draw=1).batch.ids != ids or not torch.equal(
        halfway(settings, draw=1).batch.image, first.batch.image
    )
