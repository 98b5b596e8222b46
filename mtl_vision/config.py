"""Everything that a run can be told, typed. Recipes (configs/*.yaml) and the command line fill it in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class RunConfig:
    """Where a run goes and how.

    Args:
        name: folder under `dir`; made from the data and the balancer if not given
        dir: where run directories are made
        resume: go on with the interrupted run of this name (or the newest one)
        seed: seeds weights, data order and augmentation
        device: auto, cpu, cuda or cuda:N
        precision: auto (bf16 on CUDA, fp32 on CPU), fp32 or bf16
        tensorboard: write TensorBoard events
    """

    name: str | None = None
    dir: str = "runs"
    resume: bool = False
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    tensorboard: bool = True


@dataclass
class DataConfig:
    """What is trained on.

    Args:
        root: folder of the data set; synthetic rooms are made if not given
        description: dataset.yaml for a root that has none beside its data, or the name of a known form, such as mtan
        classes: nyu13 or nyu40 to have labels in that set; as stored if not given
        size: height and width of the network's input
        train_split: split that is trained on
        eval_split: split that is measured at the end; test, or val if there is none; holdout for the part held out
        holdout: training samples that are held out to choose settings on; always the same ones
        augment: none, flip, standard, strong or heavy (with blur, noise and holes)
        batch_size: samples a step, over all accumulated micro-batches of one process
        workers: loading processes; 0 loads in the main one
        cache: folder for decoded copies of the data; null decodes every time
        on_error: stop at a sample that can not be read, or skip it: all are read once at the start, and counted
        synthetic_count: rooms to make when no root is given
    """

    root: str | None = None
    description: str | None = None
    classes: str | None = None
    size: tuple[int, int] = (120, 160)
    train_split: str = "train"
    eval_split: str | None = None
    holdout: int = 0
    augment: str = "standard"
    batch_size: int = 8
    workers: int = 1
    cache: str | None = "data/cache"
    on_error: str = "stop"
    synthetic_count: int = 1000


@dataclass
class ModelConfig:
    """The network.

    Args:
        backbone: any timm model that gives features
        pretrained: true (timm's weights, fetched), false, or a local weights file
        width: channels of the fusion and of z, a multiple of 16
    """

    backbone: str = "mobilenetv4_conv_small"
    pretrained: bool | str = False
    width: int = 64


@dataclass
class DepthConfig:
    """Depth.

    Args:
        loss: l1, squared, silog or berhu
        max_depth: metres at the upper end of the output's range
    """

    loss: str = "l1"
    max_depth: float = 10.0


@dataclass
class NormalsConfig:
    """Normals.

    Args:
        loss: cosine or angular
    """

    loss: str = "cosine"


@dataclass
class SegmentationConfig:
    """Segmentation.

    Args:
        label_smoothing: share of the target spread over all classes
        class_weights: a weight a class; all 1 if not given
    """

    label_smoothing: float = 0.0
    class_weights: list[float] | None = None


@dataclass
class TasksConfig:
    """The tasks.

    Args:
        names: the tasks to train; one alone is a single-task run
    """

    names: list[str] = field(default_factory=lambda: ["depth", "normals", "segmentation"])
    depth: DepthConfig = field(default_factory=DepthConfig)
    normals: NormalsConfig = field(default_factory=NormalsConfig)
    segmentation: SegmentationConfig = field(default_factory=SegmentationConfig)


@dataclass
class BalancerConfig:
    """How the losses are balanced. A setting that is not given is the method's own default.

    Args:
        name: gradnorm, equal, fixed, uncertainty, dtp, converged_gradients, db_mtl; or by TorchJD dwa, famo, imtl_l,
            rlw, geometric_mean, upgrad, pcgrad, cagrad, mgda, nash_mtl, aligned_mtl, imtl_g
        alpha: gradnorm: pull towards a common training rate (0 equalises gradient norms); dtp: share of the newest
            indicator
        lr: gradnorm, uncertainty, famo, imtl_l: learning rate of the weights
        initial: gradnorm: L_i(0) is first, mean or theoretical
        initial_steps: gradnorm: batches that initial=mean averages
        interval: gradnorm: steps between updates of the weights
        start: gradnorm: steps before the first update
        parametrisation: gradnorm: direct or exponential
        place: gradnorm, db_mtl: layer whose weight is W; last_shared, or backbone, the first one above it (costs more)
        weights: fixed: a weight a task
        norms: converged_gradients: a gradient norm a task
        scale: converged_gradients: multiplies all weights
        runs: run directories; fixed: a former run, whose mean weights are taken (GradNorm static); converged_gradients:
            a single-task run a task; not read where weights or norms are given
        gamma: dtp: focusing exponent
        beta: db_mtl: forgetting factor
        temperature: dwa: higher is nearer to equal weights
        c: cagrad: radius
    """

    name: str = "gradnorm"
    alpha: float | None = None
    lr: float | None = None
    initial: str | None = None
    initial_steps: int | None = None
    interval: int | None = None
    start: int | None = None
    parametrisation: str | None = None
    place: str | None = None
    weights: dict[str, float] | None = None
    norms: dict[str, float] | None = None
    scale: float | None = None
    runs: list[str] | None = None
    gamma: float | None = None
    beta: float | None = None
    temperature: float | None = None
    c: float | None = None


@dataclass
class TrainConfig:
    """The training.

    Args:
        epochs: passes over the training split
        lr: AdamW's highest learning rate
        backbone_lr: the backbone's rate as a share of lr; below 1 keeps more of a pretrained one
        weight_decay: AdamW's, on weights of two or more dimensions
        warmup: share of all steps over which the rate rises
        clip: largest norm of the model's gradient; 0 for none
        accumulate: micro-batches a step
        eval_every: epochs between evaluations on the way; 0 for the end alone
    """

    epochs: int = 20
    lr: float = 2e-3
    backbone_lr: float = 1.0
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 0.0
    accumulate: int = 1
    eval_every: int = 0


@dataclass
class Config:
    """A whole run."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    balancer: BalancerConfig = field(default_factory=BalancerConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
