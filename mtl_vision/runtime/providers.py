"""Where a network runs: onnxruntime's execution providers, chosen from those that are here."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from mtl_vision.runtime.contract import ModelError
from mtl_vision.runtime.model import ONNXRUNTIME, Model, backend_of

PROVIDERS = {
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
AUTO = "auto"
ONLY_IF_ASKED = "tensorrt"  # it takes minutes to build its engine


def choose(name: str, available: Sequence[str]) -> str:
    """The provider of that name; of "auto", the first of PROVIDERS that is available."""
    if name != AUTO:
        return PROVIDERS[name]
    found = (own for key, own in PROVIDERS.items() if own in available and key != ONLY_IF_ASKED)
    return next(found, PROVIDERS["cpu"])


def open_model(
    path: str | Path,
    threads: int | None = None,
    provider: str = AUTO,
    tasks: Collection[str] | None = None,
    backend: str = ONNXRUNTIME,
    report: Callable[[str], object] = lambda text: None,
) -> Model:
    """The model on a provider, by its name in PROVIDERS; on the CPU where it cannot be made, which `report` is told.

    Another backend than onnxruntime knows no providers, which `report` is told, too. Raises what `Model` does.
    """
    if (other := backend_of(Path(path), backend)) != ONNXRUNTIME:
        if provider != AUTO:
            report(f"--provider {provider} is of onnxruntime: {other} does not know it")
        return Model(path, threads, tasks=tasks, backend=backend)
    import onnxruntime  # ncnn runs where it is not installed

    cpu, available = PROVIDERS["cpu"], onnxruntime.get_available_providers()
    chosen = choose(provider, available)
    if chosen == cpu:
        return Model(path, threads, [cpu], tasks)
    here = ", ".join(key for key, own in PROVIDERS.items() if own in available)
    why = f"this onnxruntime has {here}"
    if chosen in available:
        try:
            model = Model(path, threads, [chosen, cpu], tasks)
            if model.provider == chosen:  # onnxruntime leaves out one that finds no device
                return model
            why = "onnxruntime could not start it, for want of a device or of its libraries"
        except ModelError as error:
            why = str(error)
    model = Model(path, threads, [cpu], tasks)  # a model that does not run anywhere is an error
    report(f"{short(chosen)} cannot be used ({why}): the network runs on the CPU")
    return model


def short(provider: str) -> str:
    """A provider's name without what all have in common: CUDA, OpenVINO, CPU."""
    return provider.removesuffix("ExecutionProvider")
