"""Crafted files: none runs code, writes outside its folder, or takes much memory."""

import gzip
import io
import json
import pickle
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import TRAIN, make_la
from crashes import Bomb, stop_after_two_steps
from rawdata import save_as, volumes
from safetensors.torch import save

import dualseg._util.memory
from dualseg._util.files import read_json, write_json
from dualseg._util.lock import HOLDER, LOCK
from dualseg.cli.main import main
from dualseg.config.experiment import Experiment
from dualseg.data.case import read_h5
from dualseg.data.dataset import open_dataset
from dualseg.data.known import prepare
from dualseg.data.volume_files import read_volume
from dualseg.errors import DualsegError
from dualseg.evaluation.evaluate import evaluate
from dualseg.evaluation.saved_masks import SavedMasks, load_masks, save_masks
from dualseg.runs.checkpoints import read_checkpoint
from dualseg.runs.records import publish
from dualseg.runs.run import Run
from dualseg.training.loop import fit

fault = pytest.mark.fault
HOSTILE = "one sentence; no code runs, nothing is written elsewhere, little memory is taken"


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """An experiment, and the folder of a run of it that was stopped; to be copied."""
    path = tmp_path_factory.mktemp("once")
    sizes = {"resolution": "half", "patch": (16,) * 3, "stride": (8,) * 3, "filters": 2}
    steps = {"iterations": 4, "checkpoint_every": 1, "labeled": 2}
    experiment = Experiment("la", "smoke", root=str(make_la(path / "LA")), **sizes, **steps)
    with pytest.MonkeyPatch.context() as patch:
        stop_after_two_steps(experiment, path / "run", patch)
    return experiment, path / "run"


@pytest.fixture(scope="module")
def finished_once(stopped_once):
    """The folder of a finished run; to be copied."""
    experiment, folder = stopped_once
    finished = shutil.copytree(folder, folder.with_name("finished"))
    return fit(experiment, finished, resume=True).folder


@pytest.fixture
def little_memory():
    """Here the system gives no more than 500 MB beyond what the process has."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (pages * resource.getpagesize() + 500 * 10**6, limits[1])
    )
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


# --- of a run -------------------------------------------------------------------------------------


def header(entries, size=None, body=b""):
    """The bytes of a safetensors file with such a header."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def changed_state(progress=None, tensors=None):
    def change(path):
        held_tensors, held_progress = read_checkpoint(path)
        held_progress = {k: repr(v) for k, v in held_progress.items()} | (progress or {})
        made = save({k: t.clone() for k, t in held_tensors.items()} | (tensors or {}))
        length = struct.unpack("<Q", made[:8])[0]
        entries = json.loads(made[8 : 8 + length]) | {"__metadata__": held_progress}
        return header(entries, body=made[8 + length :])

    return change


def two_floats(first, second):
    part = {"dtype": "F32", "shape": [1]}
    return {"a": {**part, "data_offsets": first}, "b": {**part, "data_offsets": second}}


STATES = {
    "cut short": lambda path: path.read_bytes()[:5000],
    "a header of 2^63 bytes": lambda path: header({}, size=2**63),
    "a header of 10 GB": lambda path: header({}, size=10**10),
    "overlapping tensors": lambda path: header(two_floats([0, 4], [2, 6]), body=bytes(6)),
    "a tensor of 10^18 values": lambda path: header(
        {"a": {"dtype": "F32", "shape": [10**18], "data_offsets": [0, 4 * 10**18]}}, body=bytes(8)
    ),
    "nesting of 10^5 levels": lambda path: struct.pack("<Q", 2 * 10**5) + b"[" * (2 * 10**5),
    "a pickle": lambda path: pickle.dumps(Bomb(path.parent / "bang")),
    "a pickle in a zip, as torch.save makes": lambda path: torch_file(Bomb(path.parent / "bang")),
    "weights of another type": changed_state(
        tensors={"weight:b.head.bias": torch.zeros(2, dtype=torch.int64)}
    ),
    "momentum of no parameter": changed_state(
        tensors={"optimizer:9999:momentum_buffer": torch.zeros(1)}
    ),
    "momentum of another shape": changed_state(
        tensors={"optimizer:0:momentum_buffer": torch.zeros(1)}
    ),
    "step nan": changed_state({"step": "nan"}),
    "step -1": changed_state({"step": "-1"}),
    "step 1.5": changed_state({"step": "1.5"}),
    "step 1e300": changed_state({"step": "1e300"}),
    "a step of the future": changed_state({"step": "5"}),
    "a step that is no number": changed_state({"step": "__import__('os')"}),
    "infinite seconds": changed_state({"seconds": "inf"}),
}


def torch_file(thing):
    content = io.BytesIO()
    torch.save(thing, content)
    return content.getvalue()


@fault("a damaged or crafted checkpoint at resume", HOSTILE)
@pytest.mark.parametrize("kind", STATES)
def test_hostile_checkpoint(stopped_once, tmp_path, little_memory, kind):
    tiny, folder = stopped_once
    run = Run(Path(shutil.copytree(folder, tmp_path / "run")))
    content = STATES[kind](run.state_path)
    run.state_path.write_bytes(content)
    with pytest.raises(DualsegError, match=r"state.safetensors: (expected a checkpoint|holds)"):
        fit(tiny, run.folder, resume=True)
    assert run.state_path.read_bytes() == content
    assert not (run.folder / "bang").exists()


def nested(depth):
    return "[" * depth + "]" * depth


def with_values(change):
    def write(path):
        info = json.loads(path.read_text(encoding="utf-8"))
        change(info)
        path.write_text(json.dumps(info), encoding="utf-8")

    return write


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**30)  # 1 GiB of zeros, on disk nothing


RUN_NOTES = {
    "empty": lambda path: path.write_text(""),
    "cut short": lambda path: path.write_text(path.read_text(encoding="utf-8")[:300]),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "a list": lambda path: path.write_text("[1, 2]"),
    "1 GiB": huge,
    "nesting of 10^5 levels": lambda path: path.write_text(nested(10**5)),
    "an integer of 10^5 digits": lambda path: path.write_text('{"config": ' + "9" * 10**5 + "}"),
    "NaN": lambda path: path.write_text('{"config": NaN}'),
    "no config": with_values(lambda info: info.pop("config")),
    "no split": with_values(lambda info: info["data"].pop("split")),
    "config of another type": with_values(lambda info: info.update(config="all")),
    "10^9 filters": with_values(lambda info: info["config"].update(filters=10**9)),
    "filters as text": with_values(lambda info: info["config"].update(filters="4")),
    "a patch of 10^6": with_values(lambda info: info["config"].update(patch=[10**6] * 3)),
    "a nested patch": with_values(lambda info: info["config"].update(patch=[[1], [2], [3]])),
    "10^9 classes": with_values(lambda info: info["data"]["spec"].update(classes=10**9)),
    "no spacing": with_values(lambda info: info["data"]["spec"].update(spacing=[0, 1, "a"])),
}
STRANGE_IDS = ["../../evil", "/etc/evil", "a/b", "a\\b", "C:evil", "nul\0", "a\n", "", ".", "..", 7]


@fault("a damaged or crafted run.json", HOSTILE)
@pytest.mark.parametrize("kind", [*RUN_NOTES, *(f"id {name!r}" for name in STRANGE_IDS)])
def test_hostile_note(finished_once, tmp_path, little_memory, kind):
    run = Run(Path(shutil.copytree(finished_once, tmp_path / "run")))
    for name in STRANGE_IDS:
        if kind == f"id {name!r}":
            with_values(lambda info, n=name: info["data"]["split"].update(test=[n]))(run.info_path)
    if kind in RUN_NOTES:
        RUN_NOTES[kind](run.info_path)
    before = {path.name for path in tmp_path.rglob("*")}
    with pytest.raises(DualsegError):
        evaluate(run.folder)
    assert {path.name for path in tmp_path.rglob("*")} - before <= {LOCK, HOLDER}


# --- of data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in STRANGE_IDS if isinstance(n, str) and n.strip()])
@fault("ids with path tricks in train.list", HOSTILE)
def test_hostile_list(la_root, tmp_path, little_memory, name):
    if "\n" in name:
        pytest.skip("a new line ends an id")
    (la_root / "train.list").write_text("\n".join([name, *TRAIN]))
    with pytest.raises(DualsegError, match="train.list: expected ids that can be file names"):
        open_dataset("la", la_root)


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared")
    for i in range(3):
        for folder, volume in zip(("images", "labels"), volumes(i), strict=True):
            save_as(path / folder / f"scan{i}.nii", volume)
    prepare("folder", *(path / name for name in ("images", "labels", "data")))
    return path / "data"


def record_of(name, value):
    return with_values(lambda manifest: manifest["cases"]["scan0"].update({name: value}))


MANIFESTS = {
    "1 GiB": huge,
    "nesting of 10^5 levels": lambda path: path.write_text(nested(10**5)),
    "an absolute file": record_of("file", "/etc/passwd"),
    "a file elsewhere": record_of("file", "../../evil.h5"),
    "a file with NUL": record_of("file", "cases/\0.h5"),
    "a file that is none": record_of("file", 7),
    "a spacing of nothing": record_of("spacing", [0, 0, 0]),
    "a huge spacing": record_of("spacing", [1e300, 1, 1]),
    "an id elsewhere": with_values(lambda m: m["cases"].update({"../evil": m["cases"]["scan0"]})),
    "cases as a list": with_values(lambda m: m.update(cases=[])),
    "an orientation of nothing": with_values(lambda m: m.update(orientation="XYZ")),
    "classes as a number": with_values(lambda m: m.update(classes=3)),
    "a recipe of text": with_values(lambda m: m["recipe"].update(margin="ab")),
    "10^5 modalities": with_values(lambda m: m.update(modalities=["t"] * 10**5)),
}


@fault("a crafted manifest", HOSTILE)
@pytest.mark.parametrize("kind", MANIFESTS)
def test_hostile_manifest(prepared_once, tmp_path, little_memory, kind):
    root = Path(shutil.copytree(prepared_once, tmp_path / "data"))
    MANIFESTS[kind](root / "manifest.json")
    before = set(root.rglob("*"))
    with pytest.raises(DualsegError):
        open_dataset(str(root)).cache(["scan0"])
    assert set(root.rglob("*")) == before


@pytest.mark.parametrize("name", ["../../evil", "/evil", 5])
@fault("a crafted record that names itself a path", HOSTILE)
def test_hostile_record(finished_once, tmp_path, name):
    run = Run(Path(shutil.copytree(finished_once, tmp_path / "run")))
    usual = next(Path(__file__).parents[1].glob("figures/records/phantom_*.json"))
    write_json(run.record_path(), read_json(usual) | {"name": name})
    with pytest.raises(DualsegError, match=r"record.json: expected "):
        publish(run.folder, tmp_path / "a" / "b" / "c")
    assert not list(tmp_path.rglob("*evil*"))


def nifti_header(shape, kind=16, spacing=1.0):
    head = nib.Nifti1Header()
    head.set_data_shape(shape)
    head["datatype"], head["bitpix"], head["sform_code"] = kind, 32, 1
    head["srow_x"][0] = head["srow_y"][1] = head["srow_z"][2] = spacing
    head["pixdim"][1:4] = spacing
    return head.binaryblock + bytes(4)


SCANS = {
    "a claim of 30000^3 voxels in 1 kB": ("a.nii", lambda: nifti_header([30000] * 3) + bytes(600)),
    "the same, compressed": ("a.nii.gz", lambda: gzip.compress(nifti_header([30000] * 3))),
    "a bomb of 200 MB in 200 kB": (
        "a.nii.gz",
        lambda: gzip.compress(nifti_header([8000] * 3) + bytes(200 * 10**6), 1),
    ),
    "more claimed than there is": ("a.nii", lambda: nifti_header([100] * 3) + bytes(600)),
    "the same, compressed (2)": ("a.nii.gz", lambda: gzip.compress(nifti_header([100] * 3))),
    "colours for numbers": ("a.nii", lambda: nifti_header([4] * 3, kind=128) + bytes(600)),
    "an unknown type": ("a.nii", lambda: nifti_header([4] * 3, kind=999) + bytes(600)),
    "an NRRD that claims 30000^3": (
        "a.nrrd",
        lambda: (
            b"NRRD0004\ntype: float\ndimension: 3\nsizes: 30000 30000 30000\n"
            b"encoding: raw\nendian: little\n\n" + bytes(600)
        ),
    ),
}


@fault("a scan with a false header", HOSTILE)
@pytest.mark.parametrize("kind", SCANS)
def test_hostile_scan(tmp_path, little_memory, kind):
    name, content = SCANS[kind]
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(DualsegError, match=f"{name}: expected "):
        read_volume(path)


@pytest.mark.parametrize("spacing", [float("nan"), 1e12, 0.0])
@fault("a scan with impossible voxel sizes", HOSTILE)
def test_hostile_spacing(finished_once, tmp_path, little_memory, spacing, capsys, observed):
    path, out = tmp_path / "a.nii", tmp_path / "mask.nii"
    path.write_bytes(nifti_header([8] * 3, spacing=spacing) + bytes(4 * 8**3))
    assert main(["predict", str(finished_once), str(path), "--out", str(out)]) == 1
    assert not out.exists()
    observed(capsys.readouterr().err)


@fault("saved masks that are pickles, zip bombs or nothing", "not read; the case is predicted anew")
@pytest.mark.parametrize("kind", ["pickle", "bomb", "claim", "no zip", "another zip"])
def test_hostile_masks(tmp_path, little_memory, monkeypatch, kind, observed):
    path = tmp_path / "a.npz"
    good = SavedMasks({"mean": np.zeros((4, 4, 4), np.uint8)}, "stamp", 1.0, "CPU", 1.0)
    save_masks(path, good)
    assert load_masks(path).stamp == "stamp"
    if kind == "pickle":
        np.savez(path, stamp=np.array([Bomb(tmp_path / "bang")], dtype=object), seconds=1.0)
    if kind == "bomb":
        monkeypatch.setattr(dualseg._util.memory, "machine_memory", lambda: 10**8)
        np.savez_compressed(path, **{"mask mean": np.zeros(30 * 10**6, np.uint8)})
    if kind == "claim":
        claim = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,), }\n"
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(
                "mask a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(claim)) + claim
            )
    if kind == "no zip":
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "bang")))
    if kind == "another zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("../../evil.npy", b"text")
    assert load_masks(path) is None
    assert not list(tmp_path.rglob("bang"))
    observed("not read")


H5 = {
    "a claim of 10^18 voxels": lambda file, secret: file.create_dataset(
        "image", (10**6,) * 3, "f4", chunks=(8, 8, 8)
    ),
    "a claim of 40000^3 voxels": lambda file, secret: file.create_dataset(
        "image", (40000,) * 3, "f4", chunks=(8, 8, 8)
    ),
    "a link to another file": lambda file, secret: file.__setitem__(
        "image", h5py.ExternalLink(str(secret), "image")
    ),
    "arrays kept in another file": lambda file, secret: file.create_dataset(
        "image", (4, 4, 4), "u1", external=[(str(secret), 0, 64)]
    ),
    "a view of another file": lambda file, secret: file.create_virtual_dataset(
        "image", layout_of(secret)
    ),
    "text": lambda file, secret: file.__setitem__("image", "text"),
    "a group": lambda file, secret: file.create_group("image"),
    "objects": lambda file, secret: file.create_dataset(
        "image", (4, 4, 4), h5py.special_dtype(vlen=str)
    ),
}


def layout_of(secret):
    layout = h5py.VirtualLayout((4, 4, 4), "f4")
    layout[:] = h5py.VirtualSource(str(secret), "image", shape=(4, 4, 4))
    return layout


@fault("an HDF5 file that claims too much or points to other files", HOSTILE)
@pytest.mark.parametrize("kind", H5)
def test_hostile_h5(tmp_path, little_memory, kind):
    secret, path = tmp_path / "secret.h5", tmp_path / "a.h5"
    with h5py.File(secret, "w") as file:
        file["image"] = np.ones((4, 4, 4), np.float32)
    with h5py.File(path, "w") as file:
        H5[kind](file, secret)
    with pytest.raises(DualsegError, match=r"a.h5: expected "):
        read_h5(path, labeled=False)
