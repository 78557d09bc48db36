"""A finished or interrupted training: its folder, its experiment and its trained method."""

from __future__ import annotations

import torch

from ..config.experiment import Experiment
from ..data.known import dataset_spec
from ..data.spec import DatasetSpec, prepared_spec
from ..errors import DualsegError
from ..methods import Method, build_method
from .checkpoints import load_weights, read_checkpoint
from .folder import RunFolder


class Run(RunFolder):
    """A run on disk: its folder, and what was trained there."""

    def experiment(self) -> Experiment:
        """What the run was asked to do."""
        try:
            return Experiment.from_flat(self.info()["config"])
        except KeyError as error:
            raise DualsegError(
                f"{self.info_path}: expected the key {error.args[0]!r}, found none; the file is "
                "not one that `dualseg train` wrote."
            ) from error
        except (TypeError, ValueError, AttributeError) as error:
            raise DualsegError(
                f"{self.info_path}: expected the settings of a run, found other types ({error}); "
                "the file is not one that `dualseg train` wrote."
            ) from error

    def spec(self) -> DatasetSpec:
        """The spec of the data that the run was trained on."""
        info = self.info()
        spec = dataset_spec(info["config"]["dataset"])
        return prepared_spec(spec, info["data"].get("spec", {}))

    def load_method(self, device: torch.device) -> Method:
        """Load the trained method.

        Parameters
        ----------
        device : torch.device
            Where it is to work.

        Returns
        -------
        Method
            In evaluation mode.

        Raises
        ------
        DualsegError
            If the run is unfinished, or its weights are damaged or of other networks than run.json
            describes.
        """
        if not self.finished:
            raise DualsegError(
                f"{self.folder}: expected a finished run, found one without last.safetensors; "
                f"finish it with `dualseg train --out {self.folder} --resume`."
            )
        method = build_method(self.experiment(), self.spec())
        tensors, _ = read_checkpoint(self.weights_path)
        load_weights(method, tensors, self.weights_path)
        return method.to(device).eval()
