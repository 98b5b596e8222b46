"""A training from beginning to end, and its directory, `runs/NAME/`."""

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from mtl_vision.balancers import Balancer
from mtl_vision.config import Config, flat
from mtl_vision.datasets.description import FILE_NAME
from mtl_vision.engine import build, checkpoint, checks, distributed, nonfinite
from mtl_vision.engine.compiled import expect_compiler
from mtl_vision.engine.crowding import asleep_when_crowded
from mtl_vision.engine.details import write_details
from mtl_vision.engine.device import pick_device, pick_precision
from mtl_vision.engine.ema import Ema
from mtl_vision.engine.evaluate import Evaluation, evaluate
from mtl_vision.engine.folder import (
    CONFIG,
    METRICS,
    MOVED,
    full_disk_is_told,
    is_resumed,
    make_folder,
    new_folder,
    remove_unbegun,
    resumed_folder,
    write_json,
)
from mtl_vision.engine.loop import Trainer
from mtl_vision.engine.nonfinite import NonFiniteError
from mtl_vision.engine.optimizer import make_optimizer, make_schedule
from mtl_vision.engine.parse import write_config
from mtl_vision.engine.plots import plot_panel, plot_weights
from mtl_vision.engine.report import brief, describe_protocol, facts, introduction, table
from mtl_vision.engine.sync_norm import synchronise
from mtl_vision.engine.tracking import Tracker
from mtl_vision.history import read_history
from mtl_vision.models import Network
from mtl_vision.models.parts import parts_of
from mtl_vision.report.page import REPORT, write_report
from mtl_vision.runtime.files import atomic_write, sweep
from mtl_vision.runtime.terminal import say
from mtl_vision.tasks import Depth, Task

# settings in which a resumed run may differ from what its checkpoint was made with
FREE = ("run.name", "run.dir", "run.resume", "run.tensorboard", *MOVED)


class Run:
    """One training, composed once: what is needed to train, to evaluate, to save and to resume.

    Nothing is written until `train` is called. Raises ValueError or DataError for what does not fit together.
    """

    def __init__(self, config: Config) -> None:
        resuming, self.numbered = is_resumed(config), config.run.name is None
        if resuming:
            self.folder, config = resumed_folder(config)
        self.device = pick_device(config.run.device)
        distributed.start(self.device)
        if config.run.compile:
            expect_compiler(self.device)
        if resuming and distributed.same(str(self.folder)) != str(self.folder):
            raise ValueError(f"processes found different runs to resume, such as {self.folder}: give run.name")
        if config.data.root is None:
            build.check_settings(config)
        root = build.data_root(config.data)
        if not resuming:
            self.folder = new_folder(config, root.name)
            config = replace(config, balancer=build.resolve_balancer(config.balancer))
        processes = config.run.processes or distributed.world()
        self.config = config = replace(config, run=replace(config.run, processes=processes))
        torch.manual_seed(config.run.seed)
        self.data, self.test_data = build.open_data(config, root)
        tasks = build.make_tasks(config.tasks, self.data.classes)
        checks.check_data(config, self.data)
        for depth in (task for task in tasks.values() if isinstance(task, Depth)) if distributed.rank() == 0 else ():
            if said := checks.beyond(self.data, depth):
                print(f"note       {said}")
        balancer = build.make_balancer(config.balancer, tasks, self.data, config.data.size)
        begun = resuming and (self.folder / checkpoint.CHECKPOINT).exists()
        model = build.make_network(config, tasks, pretrained=not begun)  # before the data are packed: it may fail
        checks.check_norm(model, config)
        build.freeze(model, config)
        model.shared_weight(balancer.place)
        self.loader = build.make_loader(config, self.data, self.device, train=True)
        self.test_loader = build.make_loader(config, self.test_data, self.device, train=False)
        model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if distributed.world() > 1 and config.train.sync_norm:
            model = synchronise(model, self.device)
        self.trainer = self._trainer(model, tasks, balancer.to(self.device))
        if begun:
            path = self.folder / checkpoint.CHECKPOINT
            state = checkpoint.load(path)
            try:
                self.trainer.load_state_dict(state)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from error

    def _trainer(self, model: Network, tasks: dict[str, Task], balancer: Balancer) -> Trainer:
        config, t = self.config, self.config.train
        parts = parts_of(model.backbone, config.data.size) if t.layer_decay < 1 else ()
        optimizer = make_optimizer(model, t.lr, t.weight_decay, t.backbone_lr, t.layer_decay, parts)
        steps = len(self.loader) // t.accumulate * t.epochs
        return Trainer(
            model,
            tasks,
            balancer,
            optimizer,
            make_schedule(optimizer, steps, t.warmup),
            device=self.device,
            precision=pick_precision(config.run.precision, self.device, model.backbone),
            clip=t.clip,
            accumulate=t.accumulate,
            on_nonfinite=t.on_nonfinite,
            compile=config.run.compile,
            ema=Ema(model, t.ema) if t.ema else None,
            made_with={"training samples": len(self.data)}
            | {key: value for key, value in flat(config).items() if key not in FREE},
        )

    def train(self) -> Path:
        """Train, measure, write. Returns the run directory."""
        if not self.config.run.resume:
            self._make_folder()
        with full_disk_is_told(self.folder), asleep_when_crowded():
            self._train()
        distributed.barrier()
        return self.folder

    def _train(self) -> None:
        tracker = self._begin() if distributed.rank() == 0 else None  # one process writes
        epochs, every = self.config.train.epochs, self.config.train.eval_every
        start, begun = time.perf_counter(), self.trainer.epochs
        try:
            for epoch in range(begun, epochs):
                # before the next epoch, not after its own: a run that was ended meanwhile does it when it resumes
                if every and epoch and epoch % every == 0:
                    self._measure(epoch, tracker, resumed=epoch == begun)
                self.trainer.epoch(self.loader, epochs, tracker)
                distributed.average_buffers(self.trainer.model)
                if self.trainer.ema is not None:
                    self.trainer.ema.average_over_processes()
                if tracker is not None:
                    checkpoint.save(self.folder / checkpoint.CHECKPOINT, self.trainer.state_dict())
            seconds = time.perf_counter() - start
            evaluation = self.evaluate()
            if tracker is not None:
                self._finish(evaluation, seconds)
        except NonFiniteError as error:
            nonfinite.write(self.folder, error.step)
            distributed.barrier()  # each process has its part; the first one that ends takes the others with it
            path = self.folder / nonfinite.FILE
            skipping = self.config.train.on_nonfinite == "skip"
            more = "" if skipping else "; --run.resume --train.on_nonfinite skip goes on, and leaves such steps out"
            raise FloatingPointError(
                f"{error}: lower train.lr, or set train.clip, and look at that task's data. The step is kept in "
                f"{path} (python -m mtl_vision.engine.reproduce {self.folder}){more}"
            ) from error
        finally:
            if tracker is not None:
                tracker.close()

    def _measure(self, epoch: int, tracker: Tracker | None, resumed: bool) -> None:
        """Add the metrics after `epoch` epochs to the history; where it is resumed there, they may be in it."""
        there = resumed and tracker is not None and "metrics" in (read_history(self.folder) or [{}])[-1]
        if distributed.same(str(there)) == "True":
            return
        evaluation = self.evaluate()
        if tracker is not None:
            tracker.step({"step": self.trainer.steps - 1, "metrics": evaluation.metrics})
            print(f"epoch {epoch}: " + brief(evaluation.metrics, self.trainer.tasks))
            self._report(evaluation)

    def evaluate(self) -> Evaluation:
        """The metrics of all tasks on the evaluation split."""
        with self.trainer.averaged():
            return evaluate(self.trainer.model, self.trainer.tasks, self.test_loader, self.device)

    def _make_folder(self) -> None:
        """Make the run directory; the first process' is that of all."""
        if distributed.rank() == 0:
            self.folder = make_folder(self.folder, self.numbered)
        self.folder = self.folder.with_name(distributed.same(self.folder.name))
        self.config = replace(self.config, run=replace(self.config.run, name=self.folder.name))

    def _begin(self) -> Tracker:
        """Lock the run directory, write the config and the data's description; print what is about to happen."""
        with ExitStack() as failed:
            failed.callback(remove_unbegun, self.folder)
            tracker = Tracker(self.folder, self.config.run.tensorboard, self.trainer.steps)
            failed.callback(tracker.close)
            sweep(self.folder)
            write_config(replace(self.config, run=replace(self.config.run, resume=False)), self.folder / CONFIG)
            atomic_write(self.folder / FILE_NAME, self.data.as_trained().to_yaml().encode())
            print(introduction(self.config, self.trainer, self.data, self.test_data, self.folder))
            failed.pop_all()
        return tracker

    def _report(self, evaluation: Evaluation) -> None:
        """Write evaluation.json and report.html. Whatever goes wrong is told in a line: it is not to cost the run."""
        try:
            with self.trainer.averaged():
                protocol = describe_protocol(self.config, self.test_data)
                told = facts(self.config, self.trainer, self.data, self.test_data)
                write_details(self.folder, self.trainer, self.test_loader, evaluation, protocol, told)
            write_report([self.folder], self.folder / REPORT)
        except Exception as error:  # of any kind: a missing package, a full disk, a task's own drawing
            say(f"warning: no {REPORT} ({type(error).__name__}: {error}); mtl-report {self.folder} makes it again")

    def _finish(self, evaluation: Evaluation, seconds: float) -> None:
        """Weights, metrics, plots, the report, the table and the next command."""
        metrics, model, tasks = evaluation.metrics, self.trainer.model, self.trainer.tasks
        with self.trainer.averaged():
            checkpoint.save_weights(model, self.folder / checkpoint.WEIGHTS)
            plot_panel(model, tasks, self.test_loader.spread(), self.device, self.folder / "panel.png")
        protocol = describe_protocol(self.config, self.test_data)
        title = f"{self.folder.name}: {self.config.balancer.name}"
        plot_weights(read_history(self.folder), self.folder / "weights.png", title)
        self._report(evaluation)
        write_json(self.folder / METRICS, metrics | protocol)  # at last: a run that has it is finished
        print(table(metrics, tasks, protocol))
        if self.trainer.skipped.total:
            print(f"steps left out, not finite: {self.trainer.skipped.total} of {self.trainer.steps}")
        if (scale := self.trainer.loss_scale) is not None and scale.lowered:
            print(f"steps done again with a lower loss scale, since float16 had overflowed: {scale.lowered}")
        print(f"trained in {seconds / 60:.1f} min on {self.device}; everything is in {self.folder}/")
        if (self.folder / REPORT).exists():
            print(f"to look at: {self.folder / REPORT}")
        print(f"\nnext: mtl-export {self.folder}")
