"""What became of a sweep's jobs, wherever a launcher ran them."""

import json
import os
import sys
import traceback
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback

from sdg.app.claim import CLAIM, claim
from sdg.app.explaining import explain
from sdg.app.foreign_folder import check_folder
from sdg.io.files import write_whole
from sdg.io.shipped import CONF

__all__ = ["Jobs"]


class Jobs(Callback):
    """Called by Hydra: in the job's own process when it ends, in the first one when all have.

    A job leaves `FOLDER/jobs/0003.json` with its overrides, its folder and, if it failed, why.

    Arguments:
        sweep: name of the sweep's folder under `hydra.sweep.dir`; the entry point fills it in.
    """

    failed: list[str] = []  # of the last sweep, for the entry point to name

    def __init__(self, sweep: str | None = None):
        self.sweep = sweep

    def folder(self, config) -> Path:
        """The folder of the sweep, absolute."""
        return Path(config.hydra.sweep.dir).resolve() / (self.sweep or "")

    def on_run_start(self, config, **kwargs) -> None:
        check_folder(config)

    def on_multirun_start(self, config, **kwargs) -> None:
        folder = self.folder(config)
        if claim(folder / "jobs") is None:  # until this process ends
            sys.exit(  # Hydra goes on after any other exception of a callback
                f"error: another sweep is at work in {folder}; wait for its end, or write "
                "elsewhere with hydra.sweep.dir=FOLDER."
            )
        for file in (folder / "jobs").glob("*.json"):  # of an earlier start
            file.unlink()

    def on_job_end(self, config, job_return, **kwargs) -> None:
        if config.hydra.mode.name != "MULTIRUN":
            return
        record = {
            "folder": os.path.relpath(HydraConfig.get().runtime.output_dir, self.folder(config)),
            "overrides": list(config.hydra.overrides.task),
            "error": job_return.return_value,
        }
        file = self.folder(config) / "jobs" / f"{config.hydra.job.num:04d}.json"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, json.dumps(record))
        except OSError as error:
            sys.exit(f"error: {file} cannot be written ({error.strerror}); the sweep ends.")

    def on_multirun_end(self, config, **kwargs) -> None:
        Jobs.failed.clear()
        try:
            jobs = self.jobs(self.folder(config))
            Jobs.failed += [f"{job['name']} ({job['error']})" for job in jobs if job["error"]]
            self.report(self.folder(config), [job for job in jobs if not job["error"]], config)
        except Exception as error:  # which Hydra would only warn of
            reason = explain(error, CONF, "sample")
            if reason is None:
                traceback.print_exc()
                reason = " ".join(str(error).split()) or type(error).__name__
            Jobs.failed.append(f"the report of the whole ({reason})")
        finally:
            (self.folder(config) / "jobs" / CLAIM).unlink(missing_ok=True)

    @staticmethod
    def jobs(folder: Path) -> list[dict]:
        """What the jobs left, in order.

        Each has its folder's path and, as its name, the overrides that not all have.
        """
        files = sorted((folder / "jobs").glob("*.json"))
        jobs = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        overrides = [set(job["overrides"]) for job in jobs]
        shared = set.intersection(*overrides) if len(jobs) > 1 else set()
        for job in jobs:
            job["path"] = (folder / job["folder"]).resolve()
            job["name"] = " ".join(word for word in job["overrides"] if word not in shared)
        return jobs

    def report(self, folder: Path, jobs: list[dict], config) -> None:
        """What the jobs that ended well add up to."""
        print(f"results: {folder}", flush=True)
