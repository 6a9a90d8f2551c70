"""A search over settings, as a Hydra sweeper around Optuna.

It is resumable, and within bounds. Hydra wants its plugins in this package.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    QuotedString,
    RangeSweep,
)
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext

from sdg.app.kinds import NULL, Integer, Section, Text
from sdg.app.opening import shell_command
from sdg.app.setting_checks import check_value
from sdg.errors import UserError, near, number
from sdg.io.plain import flat

__all__ = ["Search"]


SETTINGS = {
    "study": Text() | NULL,
    "storage": Text("a database, such as sqlite:///FILE", pattern=r"\w[\w+]*://.+"),
    "trials": Integer(1),
    "parallel": Integer(1),
    "maximize": Text("a figure of metrics.json"),
    "at_most": Section() | NULL,
    "seed": Integer(0, 2**32 - 1),
}


class Search(Sweeper):
    """Maximises a figure over the swept settings, with bounds on others.

    It does so by the tree-structured Parzen estimator (Bergstra et al. 2011).

    What the study knows is kept in its storage after every trial. A search that was killed counts
    what is done, draws what was not finished, and goes on.

    Arguments:
        study: its name; None follows from the space, the target and the rest of the command.
        storage: a database that Optuna knows, such as sqlite:///FILE.
        trials: in all.
        parallel: at once.
        maximize: a figure of `metrics.json`, dotted.
        at_most: {figure: bound} of trials that may win.
        seed: of the sampler.
    """

    def __init__(
        self,
        study: str | None,
        storage: str,
        trials: int,
        parallel: int,
        maximize: str,
        at_most: Mapping[str, float] | None,
        seed: int,
    ):
        given: dict[str, Any] = {
            "study": study,
            "storage": storage,
            "trials": trials,
            "parallel": parallel,
        }
        given |= {"maximize": maximize, "at_most": at_most, "seed": seed}
        for name, value in given.items():
            check_value(f"hydra.sweeper.{name}", SETTINGS[name], value)
        self.trials, self.parallel, self.seed = trials, parallel, seed
        self.at_most = {
            name: number(f"hydra.sweeper.at_most.{name}", bound)
            for name, bound in (at_most or {}).items()
        }
        self.study, self.storage, self.maximize = study, storage, maximize

    def setup(self, *, hydra_context, task_function, config) -> None:
        self.hydra_context: HydraContext = hydra_context
        self.config = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        try:
            import optuna
        except ImportError:
            raise UserError(
                "hydra/sweeper=search needs optuna: pip install 'optuna>=4,<6'."
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        parsed = parser.parse_overrides(arguments)
        space = {o.get_key_element(): distribution(o) for o in parsed if o.is_sweep_override()}
        rest = [str(o.input_line) for o in parsed if not o.is_sweep_override()]
        if not space:
            raise UserError(
                "hydra/sweeper=search: nothing to search over; give a space, such as "
                "'guidance.gamma=interval(2,100)' or sampler.steps=25,50."
            )
        if match := re.match(r"sqlite:///(.+)", self.storage):
            Path(match[1]).parent.mkdir(parents=True, exist_ok=True)
        distributions = {key: repr(value) for key, value in sorted(space.items())}
        problem = json.dumps([sorted(rest), distributions, self.maximize, self.at_most])
        sampler = optuna.samplers.TPESampler(
            seed=self.seed, constraints_func=lambda trial: trial.user_attrs.get("excess", [0.0])
        )
        study = optuna.create_study(
            storage=self.storage,
            study_name=self.study or hashlib.sha256(problem.encode()).hexdigest()[:10],
            sampler=sampler,
            direction="maximize",
            load_if_exists=True,
        )
        running, complete = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.COMPLETE
        for killed in study.get_trials(states=(running,)):
            study.enqueue_trial(killed.params)
            study.tell(killed.number, state=optuna.trial.TrialState.FAIL)
        done = len(study.get_trials(states=(complete,)))
        if done:
            print(
                f"{done} of {self.trials} trials of the study {study.study_name} are done already."
            )
        for start in range(done, self.trials, self.parallel):
            asked = [study.ask(space) for _ in range(min(self.parallel, self.trials - start))]
            jobs = [[*rest, *overrides(trial.params)] for trial in asked]
            ended = self.launcher.launch(jobs, initial_job_idx=asked[0].number)
            for trial, job in zip(asked, ended, strict=True):
                self.tell(study, trial, job)
        self.name_the_best(study, rest)

    def tell(self, study, trial, job) -> None:
        """Tells the study what became of a trial.

        Raises:
            UserError: a figure that is bounded or maximised is not among those of the run.
        """
        import optuna

        if job.return_value:  # why it failed
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return
        folder = Path(job.hydra_cfg.hydra.runtime.output_dir)
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        figures, excess = {}, []
        for name, bound in self.at_most.items():
            bounded = figure(metrics, name)
            if bounded is None:
                raise UserError(
                    f"hydra.sweeper.at_most.{name}: the trials measure no {name}; distances take "
                    "100 samples or more, num_samples=128. hydra.sweeper.at_most=null: no bound."
                )
            figures[name] = bounded
            excess.append(bounded - bound)
        value = figure(metrics, self.maximize)
        if value is None:
            known = [name for name in flat(metrics) if figure(metrics, name) is not None]
            raise UserError(
                f"hydra.sweeper.maximize={self.maximize}: the trials measure no such figure"
                f"{near(self.maximize, known) or '.'} There are: {', '.join(known)}."
            )
        trial.set_user_attr("excess", excess or [0.0])
        trial.set_user_attr("figures", figures)
        study.tell(trial, value)

    def name_the_best(self, study, rest: Sequence[str]) -> None:
        """Prints the best of the trials that are within bounds, and the command that repeats it.

        Arguments:
            rest: the settings of the search's command that are not searched over.
        """
        import optuna

        done = study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))
        allowed = [trial for trial in done if max(trial.user_attrs["excess"]) <= 0]
        bounds = ", ".join(f"{name} ≤ {bound:g}" for name, bound in self.at_most.items())
        if not allowed:
            print(
                f"none of {len(done)} trials has {bounds}; raise hydra.sweeper.at_most or search "
                "elsewhere."
            )
            return
        best = max(allowed, key=lambda trial: trial.value)
        figures = best.user_attrs["figures"].items()
        beside = "".join(f", {name} = {value:.3g}" for name, value in figures)
        command = shell_command("sample", [*rest, *overrides(best.params)])
        print(
            f"best of {len(done)} trials{' with ' + bounds if bounds else ''}: {self.maximize} = "
            f"{best.value:.3f}{beside}: {command}"
        )


def overrides(params: Mapping) -> list[str]:
    """As the command line says them; numbers to four digits, which is finer than any effect."""
    return [
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    ]


def figure(metrics: Mapping, name: str) -> float | None:
    """A dotted figure of `metrics.json`; of a list, its first number; None for no number."""
    value: Any = metrics
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    value = value[0] if isinstance(value, list) and value else value
    return value if isinstance(value, (int, float)) else None


def distribution(override: Override):
    """What Optuna calls the values of a swept setting."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        words = [
            value.text if isinstance(value, QuotedString) else value
            for value in override.sweep_iterator()
        ]
        return CategoricalDistribution(
            [
                word
                if isinstance(word, (int, float, str, bool)) or word is None
                else json.dumps(word).replace(" ", "")
                for word in words
            ]
        )
    if isinstance(sweep, RangeSweep) and sweep.start is not None and sweep.stop is not None:
        low, high = ends(override, sweep)
        step = abs(sweep.step)
        if isinstance(low, int) and isinstance(high, int) and isinstance(step, int):
            return IntDistribution(low, high, step=step)
        # In decimals, as Optuna counts: 0.3 three times is 0.9.
        steps = round((high - low) / step)
        return FloatDistribution(
            low, float(Decimal(str(low)) + steps * Decimal(str(step))), step=step
        )
    if isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None:
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if isinstance(low, int) and isinstance(high, int) and "int" in sweep.tags:
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    raise UserError(
        f"hydra/sweeper=search cannot search over {override.input_line}; use interval, range or a "
        "list of values."
    )


def ends(override: Override, sweep: RangeSweep) -> tuple[float, float]:
    """The least and the greatest value of a range, whose stop is none of it."""
    swept = sweep.range() if sweep.step else range(0)
    values = swept if isinstance(swept, range) else list(swept)
    if not values:
        raise UserError(f"{override.input_line} has no value; write range(START,STOP,STEP).")
    low, high = sorted((values[0], values[-1]))
    return low, high
