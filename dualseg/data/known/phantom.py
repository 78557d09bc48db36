"""Synthetic left-atrium scans: nothing to download, the same voxels on every machine."""

from __future__ import annotations

from dataclasses import replace

from ...config.training import TrainConfig
from ...errors import DualsegError
from ..case_sources import Arrays, CaseSource
from ..phantom import SPACING, VERSION, make_case
from ..spec import LESSON, SMOKE, DatasetSpec


class PhantomCases(CaseSource):
    """Cases that are drawn when they are asked for: phantom_000, phantom_001, ..."""

    where = "generated"

    def stamp(self, case_id: str) -> str:
        return f"phantom {VERSION}"

    def read(self, case_id: str) -> Arrays:
        number = case_id.removeprefix("phantom_")
        if not number.isdecimal():
            raise DualsegError(f"case {case_id}: expected phantom_000, phantom_001 and so on.")
        return make_case(int(number))


PHANTOM = DatasetSpec(
    name="phantom",
    title="synthetic left atrium",
    classes=("background", "left atrium"),
    spacing=SPACING,
    orientation="RAS",
    labeled=4,
    profiles={
        "smoke": replace(SMOKE, resolution="quarter", patch=(16, 16, 16), stride=(8, 8, 8)),
        "lesson": replace(
            LESSON,
            resolution="half",
            patch=(48, 32, 32),
            stride=(24, 16, 16),
            iterations=400,  # for the demo to take 5 minutes
        ),
        "full": TrainConfig(patch=(96, 80, 64), stride=(48, 40, 32), checkpoint_every=500),
    },
    lists={"phantom": "ours"},
    generated=PhantomCases(),
    source_and_terms=(
        "Made by this package (dualseg.data.phantom); no patient, no download, MIT license."
    ),
)
