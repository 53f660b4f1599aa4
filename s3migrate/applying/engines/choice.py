"""From the name of an engine to the engine."""

from __future__ import annotations

from s3migrate.applying.engines.engine import Engine
from schema.errors import UsageError

EXPECTED = "local, dask://HOST:PORT, ray://HOST:PORT or slurm"


def engine_of(name: str, most: int) -> Engine:
    """The engine called *name*, for at most *most* workers at once.

    Raises UsageError when there is no such engine or its library is not installed.
    """
    scheme, _, rest = name.partition("://")
    try:
        if name == "local":
            from s3migrate.applying.engines.local import LocalEngine

            return LocalEngine(most)
        if name == "slurm":
            from s3migrate.applying.engines.slurm import SlurmEngine

            return SlurmEngine()
        if scheme == "dask" and rest:
            from s3migrate.applying.engines.dask import DaskEngine

            return DaskEngine(f"tcp://{rest}")
        if scheme == "ray" and rest:
            from s3migrate.applying.engines.ray import RayEngine

            return RayEngine(name)
    except ImportError as error:
        raise UsageError(
            f"--engine {name} needs a library that is not installed ({error}): pip install 's3migrate[{scheme}]'"
        ) from None
    raise UsageError(f"--engine {name!r} is unknown; use {EXPECTED}")
