"""Puts `conf/` and `weights/` into the wheel, as `sdg/conf` and `sdg/weights`.

All else stands in pyproject.toml. An editable install reads both where they are.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).resolve().parent
SHIPPED = ("conf", "weights")
LEFT_OUT = shutil.ignore_patterns(".*", "clip_contrastive.*")  # a benchmark's, and large


class BuildWithSettingsAndWeights(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for name in SHIPPED:
            target = Path(self.build_lib) / "sdg" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(TOP / name, target, ignore=LEFT_OUT)


setup(cmdclass={"build_py": BuildWithSettingsAndWeights})
