"""What the balancing did, in sentences that are computed from a history."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mtl_vision.report.curves import Table

END = 0.1  # share of the records, at the end, whose mean is where something ended
WINDOW = 50  # a curve is smoothed over the n-th part of its records
SMALL = 0.05  # a change that is none, relative to the value
TINY = 1e-12
NEAR = 0.15  # of a change, within which a value has arrived
TURNS = 4  # from one side of its end to the other, from which on a curve is said to go up and down
PLACES = {
    "last_shared": "at the last shared layer (W)",
    "backbone": "at the backbone's end (W)",
    "encoder": "at the encoder's last layer (W)",
}


def story(tables: Mapping[str, Table], balancer: Mapping[str, Any]) -> list[str]:
    """Sentences on weights, gradients, rates and losses. balancer: that section of the config."""
    losses = tables.get("loss")
    if losses is None or not len(losses.steps):
        return ["No step was taken yet."]
    said = (
        _weights(tables.get("weight", losses), balancer)
        if len(losses.names) > 1
        else ["One task: there is nothing to balance."]
    )
    said += _gradients(tables, balancer)
    return [*said, *_rates(tables), *_losses(losses)]


def _weights(weights: Table | None, balancer: Mapping[str, Any]) -> list[str]:
    if weights is None:
        return []
    name = str(balancer.get("class_path", "")).rpartition(".")[2] or "The balancer"
    values = weights.values[:, ~np.isnan(weights.values).all(axis=0)]
    if not values.size or np.nanmax(values.max(axis=1) - values.min(axis=1), initial=0) <= 1e-6:
        first = {task: f"{v[0]:.3g}" for task, v in zip(weights.names, values, strict=True)}
        alike = len(set(first.values())) == 1
        what = (
            f"all weights were {next(iter(first.values()))}"
            if alike
            else listed([f"{t} {w}" for t, w in first.items()])
        )
        return [f"{name} kept the weights as they were: {what}."]
    return [
        sentence
        for task, row in zip(weights.names, weights.values, strict=True)
        if (sentence := course(f"{own(task)} weight", weights.steps, row))
    ]


def course(what: str, steps: np.ndarray, values: np.ndarray) -> str:
    """How a curve went: from where, to where, within how many steps, and whether it stayed there."""
    known = ~np.isnan(values)
    steps, values = steps[known], values[known]
    if len(values) < 2:
        return ""
    start, end = float(values[0]), ending(values)
    window = max(len(values) // WINDOW, 1)
    smooth = np.convolve(values, np.ones(window) / window, "valid")
    at = steps[window // 2 :][: len(smooth)]  # the middle of each window
    change = abs(end - start)
    low, high = float(smooth.min()), float(smooth.max())
    if change <= SMALL * max(abs(start), abs(end)):
        if high - low <= 2 * SMALL * max(abs(start), abs(end)):
            return f"{what} stayed near {short(end)}."
        return f"{what} moved between {short(low)} and {short(high)} and ended at {short(end)}, near where it began."
    verb = "rose" if end > start else "fell"
    outside = np.flatnonzero(np.abs(smooth - end) > NEAR * change)
    arrived = int(outside[-1]) + 1 if len(outside) else 0
    extreme = _extreme(smooth, at, start, end)
    if arrived >= 0.75 * len(smooth):
        turns = np.count_nonzero(np.diff(np.sign(smooth[outside] - end)))
        if turns >= TURNS:
            return f"{what} went up and down between {short(low)} and {short(high)} to the end."
        return f"{what} {verb} from {short(start)} to {short(end)}{extreme}, and was still moving near the end."
    within = int(at[min(arrived, len(at) - 1)] - steps[0])
    stayed = f"{extreme}, and stayed there." if extreme else " and stayed there."
    return f"{what} {verb} from {short(start)} to {short(end)} within {max(within, 1):,} steps{stayed}"


def _extreme(smooth: np.ndarray, at: np.ndarray, start: float, end: float) -> str:
    """Where the curve went far beyond both ends."""
    beyond = 0.5 * abs(end - start)
    if smooth.max() > max(start, end) + beyond:
        return f", by way of {short(float(smooth.max()))} at step {at[smooth.argmax()]:,}"
    if smooth.min() < min(start, end) - beyond:
        return f", by way of {short(float(smooth.min()))} at step {at[smooth.argmin()]:,}"
    return ""


def _gradients(tables: Mapping[str, Table], balancer: Mapping[str, Any]) -> list[str]:
    """The tasks' own gradients against each other at the end, and how near the weighted ones come to their targets."""
    norms, targets, weights = tables.get("grad_norm"), tables.get("target"), tables.get("weight")
    if norms is None or weights is None or len(norms.names) < 2:
        return []
    said = []
    settings = balancer.get("init_args")
    place = PLACES.get(str(settings.get("place")) if isinstance(settings, dict) else "", "at W")
    if targets is not None and targets.names == norms.names == weights.names:
        at = np.isin(weights.steps, norms.steps)
        if at.sum() == len(norms.steps):  # G_i has the weight in it
            unweighted = norms.values / np.maximum(weights.values[:, at], TINY)
            said += _ratio(dict(zip(norms.names, map(ending, unweighted), strict=True)), place)
        if np.array_equal(targets.steps, norms.steps):
            off = ending(np.abs(norms.values / np.maximum(targets.values, TINY) - 1).T.ravel())
            said.append(
                f"In the last tenth, the weighted gradients were {100 * off:.0f} % off their targets on average."
            )
    else:
        said += _ratio(dict(zip(norms.names, map(ending, norms.values), strict=True)), place)
    return said


def _ratio(norms: Mapping[str, float], place: str) -> list[str]:
    known = {name: value for name, value in norms.items() if value > 0}
    if len(known) < 2:
        return []
    (low, smallest), *_, (high, largest) = sorted(known.items(), key=lambda item: item[1])
    if largest < 1.2 * smallest:
        return [f"Before weighting, the tasks' gradients {place} are of about one size at the end."]
    return [f"Before weighting, {own(high)} gradient {place} is {largest / smallest:.2g} times {own(low)} at the end."]


def _rates(tables: Mapping[str, Table]) -> list[str]:
    rates = tables.get("rate")
    if rates is None or len(rates.names) < 2:
        return []
    ends = {name: ending(row) for name, row in zip(rates.names, rates.values, strict=True)}
    ends = {name: value for name, value in ends.items() if not np.isnan(value)}
    if len(ends) < 2:
        return []
    (fast, low), *_, (slow, high) = sorted(ends.items(), key=lambda item: item[1])
    if high < 1.1 * max(low, TINY):
        return ["All tasks have come about as far as each other."]
    far = f"{slow} has come least far (relative rate {short(high)}), {fast} farthest ({short(low)})"
    return [f"Measured by its loss at the start, {far}."]


def _losses(losses: Table) -> list[str]:
    parts = []
    for name, row in zip(losses.names, losses.values, strict=True):
        known = row[~np.isnan(row)]
        if len(known) > 1 and known[0] > 0:
            first = known[: max(len(known) // 100, 1)].mean()
            parts.append(f"{100 * ending(known) / first:.2g} % ({name})")
    return [f"In training, the losses ended at {listed(parts)} of their first values."] if parts else []


def ending(values: np.ndarray) -> float:
    """The mean of the last records; NaN where there is none."""
    known = values[~np.isnan(values)]
    return float(known[-max(round(END * len(known)), 1) :].mean()) if len(known) else float("nan")


def short(value: float) -> str:
    """Three digits, without an exponent where it is short."""
    return f"{value:.3g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"


def own(name: str) -> str:
    """The name's genitive."""
    return f"{name}'" if name.endswith("s") else f"{name}'s"


def listed(parts: list[str]) -> str:
    """A, B and C."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
