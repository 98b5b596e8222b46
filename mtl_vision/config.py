"""The settings of a run, typed. Recipes (configs/*.yaml) and the command line fill them in; components see none."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal

from mtl_vision.ranges import within

GRADNORM = {"alpha": 0.0, "place": "encoder", "interval": 4}  # a run's default; the class's own is the paper's


@dataclass(frozen=True)
class Component:
    """A class, by import path or short name, and its settings, in which a component is a mapping of the same keys.

    Attributes:
        class_path: such as `mtl_vision.balancers.GradNorm`, or `GradNorm`
        init_args: its settings, by the names of its arguments
    """

    class_path: str
    init_args: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The class's own name."""
        return self.class_path.rpartition(".")[2]


@dataclass
class RunConfig:
    """The run.

    Args:
        name: folder under `dir`; made from the data and the balancer if not given
        dir: folder of the run directories
        resume: resume the interrupted run of this name, or the newest one
        seed: seeds weights, data order and augmentation
        device: auto, cpu, cuda or cuda:N
        precision: auto is bf16 on CUDA, and on CPUs that compute in it if the backbone has no depthwise convolutions;
            else fp32; fp16 takes a loss scale
        compile: torch.compile of backbone and heads for the training step; its first steps take minutes
        tensorboard: write TensorBoard events
        processes: whose batches make a step; those that torchrun starts if not given. A run that has more or fewer,
            such as a resumed one, divides the same batches among them
    """

    name: str | None = None
    dir: str = "runs"
    resume: bool = False
    seed: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool = False
    tensorboard: bool = True
    processes: int | None = None

    def __post_init__(self) -> None:
        _within("run", self, seed=(0, 2**32 - 1))
        if self.processes is not None:
            _within("run", self, processes=(1, 65536))


@dataclass
class DataConfig:
    """The data.

    Args:
        root: folder of the data set; synthetic rooms are made if not given
        description: dataset.yaml for a root that has none, or the name of a known layout, such as mtan
        classes: have the labels in this class set; as stored if not given
        size: height and width of the network's input
        train_split: split to train on
        eval_split: split to measure at the end; test, or val if there is none; holdout for the part held out
        holdout: training samples that are held out to choose settings on; always the same ones
        augment: preset of augmentation; heavy adds blur, noise and holes to strong
        batch_size: samples a step, over all accumulated micro-batches of one process (of `run.processes`)
        workers: loading processes; 0 loads in the main one; null: as many as suit the machine
        cache: folder for decoded copies of the data; null decodes every time
        on_error: stop at a sample that cannot be read, or skip it; skip reads all once at the start and counts them
        synthetic_count: rooms to make when no root is given; 0 for 800 new ones every epoch, which are not kept
    """

    root: str | None = None
    description: str | None = None
    classes: Literal["nyu13", "nyu40"] | None = None
    size: tuple[int, int] = (120, 160)
    train_split: str = "train"
    eval_split: str | None = None
    holdout: int = 0
    augment: Literal["none", "flip", "standard", "strong", "heavy"] = "flip"
    batch_size: int = 8
    workers: int | None = None
    cache: str | None = "data/cache"
    on_error: Literal["stop", "skip"] = "stop"
    synthetic_count: int = 1000

    def __post_init__(self) -> None:
        _within("data", self, batch_size=(1, 65536), holdout=(0, 10**9))
        if self.workers is not None:
            _within("data", self, workers=(0, 256))
        if self.synthetic_count != 0:
            try:
                _within("data", self, synthetic_count=(10, 10**6))
            except ValueError as error:
                raise ValueError(f"{error}, or 0 for new rooms every epoch") from None
        if not (len(self.size) == 2 and all(32 <= side <= 8192 for side in self.size)):
            raise ValueError(f"data.size is {list(self.size)!r:.40}: expected height and width, each 32 to 8192")

    @property
    def fresh(self) -> bool:
        """Whether the training rooms are new ones every epoch."""
        return self.root is None and self.synthetic_count == 0


@dataclass
class ModelConfig:
    """The network.

    Args:
        backbone: a timm name, or a component
        pretrained: timm's weights (true), none (false), or a local file: of a backbone, or a run's model.safetensors
    """

    backbone: str | Component = "resnet10t"
    pretrained: bool | str = False
    decoder: Component = field(default_factory=lambda: Component("mtl_vision.models.Fusion"))
    head: Component = field(default_factory=lambda: Component("mtl_vision.models.ConvHead"))


@dataclass
class TasksConfig:
    """The tasks.

    Args:
        names: tasks, by name or import path
        settings: of each task, by its name
    """

    names: list[str] = field(default_factory=lambda: ["depth", "normals", "segmentation"])
    settings: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"depth": {"loss": {"class_path": "mtl_vision.tasks.depth.Squared"}}}
    )

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"tasks.names is {self.names}: expected at least one task, each once")


@dataclass
class TrainConfig:
    """The training.

    Args:
        epochs: passes over the training split
        lr: AdamW's highest learning rate
        backbone_lr: the backbone's rate as a share of lr; below 1 keeps more of a pretrained one
        layer_decay: the rate of each part of the backbone (stem, stages or blocks) as a share of the next one's; 1: all
            have the same
        freeze: parts of the backbone that stay as they are, counted from its input, the stem first; 0: none
        weight_decay: AdamW's, on weights of two or more dimensions
        warmup: share of all steps over which the rate rises
        clip: largest norm of the model's gradient; 0 for none
        accumulate: micro-batches a step
        eval_every: epochs between evaluations during the training; 0: only at the end
        on_nonfinite: at a step whose loss or gradient is not finite stop, or skip it; after many it stops as well
        sync_norm: batch norm over the samples of all processes; false: of each by itself, which is faster
        ema: measure and keep a moving average of the weights, of which a step keeps this share, such as 0.999; 0: none
    """

    epochs: int = 20
    lr: float = 8e-3
    backbone_lr: float = 1.0
    layer_decay: float = 1.0
    freeze: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 0.0
    accumulate: int = 1
    eval_every: int = 0
    on_nonfinite: Literal["stop", "skip"] = "stop"
    sync_norm: bool = True
    ema: float = 0.0

    def __post_init__(self) -> None:
        _within("train", self, epochs=(1, 10**6), lr=(0, 10), backbone_lr=(0, 100), weight_decay=(0, 10), warmup=(0, 1))
        _within("train", self, clip=(0, 10**6), accumulate=(1, 65536), eval_every=(0, 10**6))
        _within("train", self, layer_decay=(0.01, 1), freeze=(0, 10**6), ema=(0, 0.999999))


@dataclass
class Config:
    """Everything that a run is set to.

    Attributes:
        run: name, folder, seed, device, precision
        data: what is trained on and measured, and how it is read
        model: backbone, decoder, head
        tasks: which, and the settings of each
        balancer: how the tasks' losses are weighed
        train: epochs, rates, and what is done in a step
        words: the options that it was made from, if it was

    Raises:
        ValueError: a value is out of its range; the message names its key.
    """

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    balancer: Component = field(default_factory=lambda: Component("mtl_vision.balancers.GradNorm", dict(GRADNORM)))
    train: TrainConfig = field(default_factory=TrainConfig)
    words: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.data.batch_size % self.train.accumulate:
            batch, parts = self.data.batch_size, self.train.accumulate
            raise ValueError(f"data.batch_size is {batch}: expected a multiple of train.accumulate, which is {parts}")


def _within(section: str, config: object, **ranges: tuple[float, float]) -> None:
    for name, (low, high) in ranges.items():
        within(low, high, **{f"{section}.{name}": getattr(config, name)})


def plain(value: Any) -> Any:
    """A config, or a part of one, as plain data: what a recipe holds."""
    if isinstance(value, TasksConfig):
        return {"names": list(value.names), **plain(value.settings)}
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.compare}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def flat(config: Config) -> dict[str, Any]:
    """Dotted keys and values, as they are given on the command line: balancer.alpha, tasks.depth.loss."""

    def walk(prefix: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            return {prefix: value}
        own = {prefix: value["class_path"]} if "class_path" in value else {}
        inner = value.get("init_args", {}) if own else value
        return own | {k: v for key, item in inner.items() for k, v in walk(f"{prefix}.{key}".lstrip("."), item).items()}

    return walk("", plain(config))
