"""Fetching what may be fetched: each file checked against its SHA-256 before it takes its place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import pooch
import requests
from tqdm import tqdm

from ..errors import DualsegError, require_one_of
from .case import checked_case
from .case_sources import CaseFiles
from .known import DATASETS, published_lists
from .preparation.contact_sheet import draw_sheet
from .prepared_folder import MANIFEST, case_record, has_lists, read_lists, write_manifest
from .spec import DatasetSpec, noted_spec

WORKERS = 4
pooch.get_logger().setLevel("WARNING")  # one progress bar says it all


def checksums(name: str) -> dict[str, str]:
    """SHA-256 of each case's public file, by case id."""
    path = resources.files("dualseg.data") / "resources" / "checksums" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def fetch(
    name: str,
    root: str | Path,
    source: str | None = None,
    expected: Mapping[str, str] | None = None,
) -> list[Path]:
    """Download a data set's files, then describe them in a manifest.

    A file that is there with the right content is left alone, so an interrupted fetch goes on where
    it stopped. The lists are the folder's own where it has both, else the published ones, without
    ids that are not expected.

    Parameters
    ----------
    name : str
        Name of a data set that a program may fetch.
    root : str or Path
        Folder to put the files in.
    source : str, optional
        Another base address (a mirror).
    expected : mapping of str to str, optional
        Other SHA-256 checksums by case id.

    Returns
    -------
    list of Path
        The files that were fetched.

    Raises
    ------
    DualsegError
        For an unknown data set, and, after all other files are fetched, naming each file that is
        missing at the source, arrived damaged, or stands in `root` with other content (which is
        never overwritten).
    """
    require_one_of("dataset", name, [known for known, spec in DATASETS.items() if spec.download])
    spec, root = DATASETS[name], Path(root)
    assert spec.published_files is not None  # what may be downloaded can be read as it is
    files = spec.published_files(root)
    expected = checksums(name) if expected is None else expected
    source = (source or spec.download).rstrip("/")
    paths = {case: files.path(case) for case in expected}
    problems, wanted = [], []
    for case, path in tqdm(paths.items(), desc=f"looking for {name}", unit="file", leave=False):
        if not path.exists():
            wanted.append(case)
        elif pooch.file_hash(path) != expected[case]:
            problems.append(
                f"{path}: stands there with other content than the public file; move it away, or "
                "use it as it is"
            )
    arriving = root / ".arriving"
    jobs = []
    for case in wanted:
        url = f"{source}/{paths[case].relative_to(root).as_posix()}"
        jobs.append((url, arriving / f"{case}.part", paths[case], expected[case]))
    problems += _fetch_all(name, jobs)
    shutil.rmtree(arriving, ignore_errors=True)
    if problems:
        listed = "\n- ".join(sorted(problems))
        raise DualsegError(
            f"{len(problems)} of {len(paths)} files of {name} are not in place, the others are; "
            f"the same command tries again:\n- {listed}"
        )
    if wanted or not (root / MANIFEST).is_file():
        _describe(spec, files, paths)
    return [paths[case] for case in wanted]


def _fetch_all(name: str, files: list[tuple[str, Path, Path, str]]) -> list[str]:
    """Call `_fetch_file` for all files, several at a time; returns what went wrong."""
    with ThreadPoolExecutor(WORKERS) as pool:
        jobs = [pool.submit(_fetch_file, *file) for file in files]
        try:
            done = tqdm(as_completed(jobs), total=len(jobs), desc=f"fetching {name}", unit="file")
            return [problem for job in done if (problem := job.result())]
        except BaseException:  # Ctrl-C: files whose download has not begun are left out
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _describe(spec: DatasetSpec, files: CaseFiles, paths: Mapping[str, Path]) -> None:
    """Write manifest, lists and alignment sheet."""
    root, records = files.root, {}
    for case_id, path in tqdm(paths.items(), desc=f"describing {spec.name}", unit="case"):
        arrays = files.read(case_id)
        case = checked_case(case_id, *arrays, str(path), len(spec.classes), spec.channels)
        file = path.relative_to(root).as_posix()
        record = case_record(file, case.image, case.label, spec.spacing)
        records[case_id] = record | {"orientation": spec.orientation}
    train, test = ([case for case in ids if case in paths] for ids in published_lists(spec.name))
    if has_lists(root):
        train, test = map(list, read_lists(root))
    manifest = {"dataset": spec.name, **noted_spec(spec), "labeled": min(spec.labeled, len(train))}
    manifest["cases"] = records
    write_manifest(root, manifest, train, test)
    draw_sheet(root, manifest)


def _fetch_file(url: str, arriving: Path, path: Path, sha256: str) -> str | None:
    """Fetch one file by way of the file `arriving`; returns what went wrong, or None."""
    address = quote(url, safe=":/")
    try:
        arrived = pooch.retrieve(
            address,
            known_hash=f"sha256:{sha256}",
            fname=arriving.name,
            path=arriving.parent,
            downloader=pooch.HTTPDownloader(timeout=60),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(arrived, path)
    except requests.HTTPError as error:
        assert error.response is not None  # it was raised for the response's status
        return f"{path}: {address} answered {error.response.status_code} {error.response.reason}"
    except (requests.RequestException, OSError) as error:
        return f"{path}: {address} could not be fetched ({type(error).__name__})"
    except ValueError:  # pooch: the hash does not match
        return (
            f"{path}: arrived from {address} with another SHA-256 than the public file's, not kept"
        )
    return None
