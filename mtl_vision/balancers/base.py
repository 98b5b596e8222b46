"""What a balancer is: it runs the backward pass of a step from the tasks' losses, and steers their weights.

`Balancer` drives micro-batches, processes and missing tasks. A method says how it weighs, within the backward pass
(`weigh`, from the losses, or `gradient_at_z`, from the gradients), and how it learns, once a step (`learn`).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import attrgetter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mtl_vision.balancers.cut import Shared
from mtl_vision.balancers.finite import fault, is_finite, negative, parameters_of
from mtl_vision.balancers.task_means import Mean, TaskMeans, identity
from mtl_vision.runtime.near import did_you_mean

Place = Literal["last_shared", "backbone", "encoder"]
Source = Literal["loss", "kpi", "W_gradient"]


@dataclass(frozen=True)
class TaskLoss:
    """What a method may want to know of a task's loss.

    Attributes:
        uninformed: its value before anything is learnt, such as log C for the cross-entropy of C classes; or what
            finds it, if asked
        classification: whether it is a cross-entropy
    """

    uninformed: float | Callable[[], float | None] | None = None
    classification: bool = False


Tasks = Sequence[str] | Mapping[str, TaskLoss]


class Balancer(nn.Module):
    """Base of all methods, and the plain weighted sum: L = sum_i w_i L_i with the weights as they are.

    A micro-batch calls `backward`; an optimiser step calls `step` once, before the optimiser's; `state_dict` has all.

    A loss, or a task's gradient, that is not finite raises FloatingPointError with task and step: in `step`, in
    `backward` of the methods that weigh gradients by a solver, and on all processes. All state is then as it was after
    the step before, and the next `backward` begins a new step; the gradients that were added to the model's parameters
    are the caller's to zero.

    Args:
        tasks: the tasks' names, or what is known of the loss of each

    Attributes:
        tasks (tuple[str, ...]): their names, the order of all (T,) tensors
        weight (torch.nn.Parameter): w (T,), float32
        steps (int): how many were taken
    """

    place: Place = "last_shared"  # the layer whose weight is W
    observes = False  # whether `observe` is to be called before `backward`
    needs_positive = False  # whether the method takes ratios or logarithms of the losses
    wants_after_step = False  # whether `after_step` is to be called after the optimiser's step
    learns_from: tuple[Source, ...] = ()  # what `learn` takes: a task's loss, performance indicator, gradient at W
    reads: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}  # settings that may be previous runs; how they are read
    kept: tuple[str, ...] = ()  # attributes that are state, beside parameters, buffers and `steps`
    moved: tuple[str, ...] = ()  # state that `backward` moves, and `forget` puts back

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        if not tasks or isinstance(tasks, str) or len(set(tasks)) < len(tasks):
            raise ValueError(f"tasks is {tasks!r}: expected the names of at least one task, each once")
        self.tasks = tuple(tasks)
        self.weight = nn.Parameter(torch.ones(len(tasks)), requires_grad=False)
        self.steps = 0
        self.values: dict[str, float] = {}  # the last step's mean losses
        self._means: defaultdict[Source, TaskMeans] = defaultdict(TaskMeans)
        self._shares: dict[str, float] | None = None  # of this step's micro-batches, by task; None: there were none
        self._before: dict[str, Any] = {}  # what `moved` were when this step began
        self._gradient = self.weight.new_zeros(0)  # (T + 1,), 0, or NaN: of a task, and of several at once, at z
        self._heads: dict[str, list[Tensor]] = {}  # the parameters of each
        self._W = self.weight.detach()  # that of the last cut
        self._report: dict[str, Tensor] = {}

    @classmethod
    def resolve(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The method's settings, with numbers in place of the previous runs that they are read from."""
        runs = {key for key in cls.reads if not isinstance(settings.get(key, {}), Mapping)}
        return {key: cls.reads[key](value) if key in runs else value for key, value in settings.items()}

    def weigh(self, losses: Mapping[str, Tensor], mean: Mean) -> Tensor:
        """The weights (T,) for a micro-batch with these losses."""
        return self.weight

    def gradient_at_z(self, losses: Mapping[str, Tensor], shared: Shared, share: float, mean: Mean) -> Tensor | None:
        """Run the heads backward, and leave in `_report` what they are weighed by.

        Returns the gradient that the trunk is run backward from, in z's shape; without losses none is needed.
        """
        weight = self.weigh(losses, mean)
        self._report = {"weight": weight.detach().clone()}
        if not losses:
            return None
        for name, loss in losses.items():
            if name not in self._heads:
                self._heads[name] = parameters_of(loss, shared.leaf)
        total = reduce(torch.add, (weight[self.tasks.index(name)] * loss for name, loss in losses.items()))
        return self.run_heads(share * total, shared, *losses)

    def run_heads(self, objective: Tensor, shared: Shared, *names: str) -> Tensor:
        """Run the heads of these tasks backward from a scalar; its gradient at z, which `step` expects to be finite."""
        dz = shared.backward_heads(objective, *names)
        at = self.tasks.index(names[0]) if len(names) == 1 else -1
        self._gradient[at] += (0 * dz).sum()  # a norm may overflow
        return dz

    def learn(self, names: list[str], means: Mapping[Source, Tensor]) -> None:
        """Steer by the means (len(names), ...) of each source over micro-batches and processes; without gradients.

        All are finite, but for performance indicators.
        """

    def positive(self) -> Collection[str]:
        """The tasks of whose losses this step takes ratios or logarithms: one below 0 is an error."""
        return self.tasks if self.needs_positive else ()

    def observe(self, kpi: Mapping[str, Tensor], share: float = 1.0) -> None:
        """Tell how well each task does on the micro-batch; DTP wants it, before `backward`.

        Args:
            kpi: a key performance indicator in [0, 1] a task, higher is better
            share: 1 / number of micro-batches a step
        """
        for name, value in kpi.items():
            self._means["kpi"].add(name, value, share)

    def backward(self, losses: Mapping[str, Tensor], shared: Shared, share: float = 1.0, mean: Mean = identity) -> None:
        """Add the gradients of share * sum_i w_i L_i to the model's parameters; those of `shared.scale` times that.

        Args:
            losses: a scalar a task, from heads that took `shared.leaf`; a task that the batch lacks is left out
            shared: the cut of this forward pass
            share: 1 / number of micro-batches a step
            mean: of a tensor over processes, where there are more; all of them call `backward` equally often

        Raises:
            ValueError: a loss of an unknown task, or one that does not depend on `shared.leaf`.
            RuntimeError: more micro-batches than a step has: `step` was not called.
        """
        if self._shares is None:
            self._shares, self._gradient = {}, self.weight.new_zeros(len(self.tasks) + 1)
            values = {key: attrgetter(key)(self) for key in self.moved}
            self._before = {key: v.detach().clone() if isinstance(v, Tensor) else v for key, v in values.items()}
        self._W = shared.W.detach()
        for name, loss in losses.items():
            if name not in self.tasks:
                near = did_you_mean(name, self.tasks)
                raise ValueError(f"a loss of unknown task '{name}'{near}: expected {', '.join(self.tasks)}")
            self._shares[name] = self._shares.get(name, 0.0) + share
            if self._shares[name] > 1 + 1e-6:
                raise RuntimeError(
                    f"the micro-batches since the last step() are {self._shares[name]:g} of a step for '{name}': call "
                    "step() after each step's backward(), with share=1/N where a step has N micro-batches"
                )
            self._means["loss"].add(name, loss, share)
        dz = self.gradient_at_z(losses, shared, share, mean)
        if losses:
            assert dz is not None  # a method gives one wherever there are losses
            shared.backward_trunk(dz)

    @torch.no_grad()
    def step(
        self, mean: Mean = identity, shares: Mapping[str, float] | None = None, norm: Tensor | None = None
    ) -> None:
        """Steer the weights once all gradients of a step are there. It waits for the device once.

        Args:
            mean: of a tensor over processes, where there are more
            shares: the share of all processes' micro-batches that had a task; by default, of this process' own
            norm: of the gradient of the model, if the step is to be left out where that is not finite

        Raises:
            RuntimeError: no `backward` since the last step, or no `observe` where the method wants it.
            FloatingPointError: a loss or gradient is not finite; the balancer is as after the step before.
            ValueError: a loss is below 0, and the method takes ratios or logarithms of losses; likewise.
        """
        if self._shares is None:
            raise RuntimeError("step() before backward(losses, cut): expected both in each step, in the other order")
        shares = self._shares if shares is None else shares
        names = [name for name in self.tasks if shares.get(name, 0) > 0]
        means: dict[Source, Tensor] = {}
        for source in dict.fromkeys((*self.learns_from, "loss")) if names else ():
            if unseen := self._shares.keys() - self._means[source].sums.keys():
                raise RuntimeError(f"no {source} of {', '.join(sorted(unseen))}: call observe() before step()")
            like = self._W if source == "W_gradient" else self.weight.new_zeros(())
            means[source] = self._means[source].over(names, shares, mean, like)
        if means:
            self.expect_finite(names, means, mean, norm)
            self.learn(names, means)
        self._before = {}
        self.forget()
        self.steps += 1

    def expect_finite(
        self, names: list[str], means: Mapping[Source, Tensor], mean: Mean, norm: Tensor | None = None
    ) -> None:
        """Forget the step and raise FloatingPointError where means, gradients at z, or the norm are not finite.

        Leaves the mean losses in `values`.
        """
        gradient = mean(self._gradient)
        if "W_gradient" in means:
            norms = torch.linalg.vector_norm(means["W_gradient"].flatten(1), dim=1)
            gradient[:-1][self.at(names)] += 0 * norms
        norms = [] if norm is None else [0 * norm[None]]
        found = torch.cat([t.to(means["loss"]) for t in (means["loss"], gradient, *norms)]).tolist()
        self.values = dict(zip(names, found, strict=False))
        *alone, together = found[len(names) : len(names) + len(gradient)]
        bad = [name for name, value in zip(self.tasks, alone, strict=True) if value != 0]
        if together != 0 and not bad:
            bad = self._bad_heads(names, mean)
        self.raise_fault(self.values, bad)
        if norm is not None and found[-1] != 0:
            self.forget()
            raise FloatingPointError(f"the gradient of the model is not finite at step {self.steps}")
        taken = {name: value for name, value in self.values.items() if name in self.positive()}
        if (text := negative(taken, self.steps, type(self).__name__)) is not None:
            self.forget()
            raise ValueError(text)

    def _bad_heads(self, names: list[str], mean: Mean) -> list[str]:
        """The tasks whose heads have gradients that are not finite; all where that cannot be told."""
        own = [float(not is_finite(self._heads.get(name, []))) for name in names]
        bad = mean(self.weight.new_tensor(own)).tolist()  # other processes have other gradients
        return [name for name, value in zip(names, bad, strict=True) if value] or names

    def raise_fault(self, losses: Mapping[str, float], gradients: Sequence[str] = ()) -> None:
        """Forget the step and raise FloatingPointError if one of the losses is not finite, or gradients has a task."""
        if (text := fault(losses, gradients, self.steps)) is not None:
            self.forget()
            raise FloatingPointError(text)

    @torch.no_grad()
    def forget(self) -> None:
        """Leave a step out: nothing of the `observe` and `backward` calls since the last `step` counts.

        The gradients that they added to the model's parameters are the caller's to zero.
        """
        for key, value in self._before.items():
            self._set(key, value)
        self._before = {}
        self._means.clear()
        self._shares = None

    def after_step(self, losses: Mapping[str, Tensor]) -> None:
        """The losses of the same batches after the optimiser's step, means over micro-batches and processes."""

    def end_epoch(self) -> None:
        """The training data were seen once more."""

    def report(self) -> dict[str, Tensor]:
        """What the last micro-batch was weighed by and the step learnt, a (T,) tensor a name, on its device.

        `weight` at least, of the trunk's gradient; `head_weight` where the heads had others. NaN: task missing.
        """
        return self._report or {"weight": self.weight.detach().clone()}

    def get_extra_state(self) -> dict[str, Any]:
        values = {key: attrgetter(key)(self) for key in ("steps", *self.kept)}
        return {key: value.state_dict() if isinstance(value, Optimizer) else value for key, value in values.items()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for key, value in state.items():
            if isinstance(own := attrgetter(key)(self), Optimizer):
                own.load_state_dict(value)
            else:
                self._set(key, on_device(value, self.weight.device))

    def _set(self, key: str, value: Any) -> None:
        """Set an attribute, its own or a part's, such as method.last."""
        owner, _, name = key.rpartition(".")
        part = attrgetter(owner)(self) if owner else self
        if isinstance(own := getattr(part, name), nn.Parameter):
            own.copy_(value)
        else:
            setattr(part, name, value)

    def at(self, names: Sequence[str]) -> slice | list[int]:
        """Where these tasks are in (T,) tensors; all of them as a slice: a list would make a GPU wait."""
        return slice(None) if len(names) == len(self.tasks) else [self.tasks.index(name) for name in names]

    def weight_gradient(self, name: str, dz: Tensor, shared: Shared, share: float) -> Tensor:
        """grad_W of what a task's gradient at z comes from; its mean goes to `learn`."""
        gradient = shared.gradient_at_weight(dz)
        self._means["W_gradient"].add_part(name, gradient, share)
        return gradient


def on_device(value: Any, device: torch.device) -> Any:
    """The value with its tensors on the device: a checkpoint is read to the CPU."""
    if isinstance(value, dict):
        return {key: on_device(part, device) for key, part in value.items()}
    if isinstance(value, list):
        return [on_device(part, device) for part in value]
    return value.to(device) if isinstance(value, Tensor) else value
