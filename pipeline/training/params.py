"""Section train of params.yaml: architecture, optimisation and augmentation, described as in `pipeline.params`."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.sections import Section, Seed


class Augmentation(Section):
    """How far a training image is changed at random in each epoch; 0 or false switches a change off."""

    flip: bool = True
    """Left-right, for half of the images."""
    rotation: Annotated[float, Field(ge=0, le=180)] = 0
    """Degrees, at most, in either direction."""
    shift: Annotated[float, Field(ge=0, le=0.5)] = 0
    """Share of the side, at most, in each direction."""
    zoom: Annotated[float, Field(ge=0, le=0.9)] = 0
    """Share by which an image is made larger or smaller, at most."""
    crop: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the images that are cropped at random; one with boxes is cropped around one of them."""
    crop_zoom: Annotated[float, Field(ge=1, le=4)] = 2
    """Times that a cropped image is blown up, at most."""
    contrast: Annotated[float, Field(ge=0, le=0.9)] = 0
    """Share by which contrast is raised or lowered, at most; brightness by 64 grey levels times this."""
    noise: Annotated[float, Field(ge=0, le=64)] = 0
    """Grey levels; standard deviation of Gaussian noise, at most."""
    quarter_turns: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the images that are turned by 0, 90, 180 or 270 degrees."""
    shrink: Annotated[float, Field(ge=0, le=0.9)] = 0
    """Share of the size lost, at most, by a fifth of the images that are not cropped."""
    gamma: Annotated[float, Field(ge=1, le=5)] = 1
    """Exponent of the grey levels, at most; one over it, at least. 1: off."""
    fade: Annotated[float, Field(ge=0, le=0.95)] = 0
    """Share of the contrast lost, at most; up to 0.3 is gained."""
    brightness: Annotated[float, Field(ge=0, le=128)] = 0
    """Grey levels added or taken away, at most."""
    exposure: Annotated[float, Field(ge=0, le=0.9)] = 0
    """Share by which one edge is brighter than the middle and the other darker, at most."""
    blur: Annotated[float, Field(ge=0, le=10)] = 0
    """Pixels; standard deviation of a Gaussian blur, at most."""
    resolution: Annotated[float, Field(gt=0, le=1)] = 1
    """Share of the resolution that is kept, at least."""
    grain: Annotated[float, Field(ge=0, le=64)] = 0
    """Grey levels; standard deviation of strong noise, at most: of one pixel's grain, or of two."""
    grey_step: Annotated[float, Field(ge=1, le=64)] = 1
    """Grey levels from one to the next, at most; 1: off."""
    bars: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the images with a bright bar, as arrows and markers are."""
    respread: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the images whose grey levels are spread again over the range that serving spreads them over."""
    frames: Annotated[float, Field(ge=0, le=1)] = 0
    """Share of the images with a frame of any grey around their content."""


class TrainParams(Section):
    """Stage train: architecture, optimisation and augmentation."""

    architecture: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")] = "cnn"
    """`cnn`, the classic one, EfficientNetLite0 or 2, or the name of a backbone in keras.applications."""
    architecture_options: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Arguments of the backbone's constructor, such as {alpha: 0.75}."""
    weights: Annotated[str, Field(min_length=1)] = "none"
    """Where training begins: none, imagenet (downloads), release (the last in models/), or a file.

    A .weights.h5 or .npz file of the backbone, or a whole network of the same architecture and head: a .keras file, or
    an .npz file that holds its last layer. Nothing can check what a whole network was trained on: leave it no
    validation or test image that it saw.
    """
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 12
    """Epochs in all."""
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    """First epochs in which a pretrained backbone does not move; fewer than `epochs`."""
    trainable_from: str = ""
    """Name of the first layer of the backbone that moves after the frozen epochs; empty for all of them."""
    batch_statistics: Literal["frozen", "adapted"] = "frozen"
    """Whether a pretrained backbone's batch normalisation stays, or adapts while it is fine-tuned.

    With the weights of a whole network, that of the head too.
    """
    head: Literal["pooled", "location"] = "pooled"
    """`pooled` answers for the image; `location` for every 8 x 8 pixels, supervised by boxes (not for cnn)."""
    location_weight: Annotated[float, Field(ge=0, le=1000)] = 1
    """Weight of the places' loss beside that of the image, with head: location."""
    location_targets: Literal["covered", "gaussian"] = "covered"
    """What a cell should say: how much of it is covered by a fracture, or how near a fracture's middle it is.

    `gaussian` comes with the focal loss, counted over an average image's cells above a half.
    """
    image_gradient: Annotated[float, Field(ge=0, le=1)] = 1
    """Share of the image loss's gradient that reaches the maps, with head: location; it learns labels by heart."""
    patch_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs after the frozen ones on windows of the images, half of them with a fracture (head: location)."""
    patch_size: Annotated[int, Field(ge=32, le=2048, multiple_of=32)] = 192
    """Pixels; side of such a window, a multiple of 32."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    """Images a step."""
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    """The optimizer of Keras with this name."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.004
    """Decoupled weight decay of adamw; the others have none."""
    gradient_norm: Annotated[float, Field(ge=0, le=1000)] = 0
    """Global norm that the gradient of a step is cut to; 0: it is not cut."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """First steps of each phase in which the learning rate rises to its value."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """From scratch, and in the frozen epochs of a pretrained backbone."""
    fine_tune_learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    """After the frozen epochs of a pretrained backbone."""
    learning_rate_schedule: Literal["constant", "cosine", "plateau"] = "constant"
    """constant; cosine falls to 0; plateau times 0.3 after 2 epochs without a better validation loss."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of the activations before the last layer that is dropped."""
    class_weights: Literal["none", "balanced"] = "balanced"
    """balanced: each class weighs the same in the loss; none: each image does."""
    early_stopping_patience: Annotated[int, Field(ge=0)] = 5
    """Epochs without a better validation loss after which training ends; 0 switches it off."""
    average_epochs: Annotated[int, Field(ge=0, le=100)] = 0
    """The model is the mean of the weights of this many last epochs; 0 for those of the best epoch."""
    weight_average: Annotated[float, Field(ge=0, lt=1)] = 0
    """Share that the moving average of the weights keeps in a step; validated and kept is the average. 0: off."""
    distil: str = ""
    """Folder of one teacher a fold, fold-<number>.npz or fold-<number>/model.keras; empty: none (distillation.py)."""
    distil_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the loss that compares with the teachers; the rest compares with labels and boxes."""
    contradicted_weight: Annotated[float, Field(ge=0, le=1)] = 1
    """Weight of a training image whose label its out-of-fold score contradicts, beside 1 of any other; 1: off."""
    contradicted_below: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Probability of its label, by that score, below which a label is contradicted."""
    out_of_fold: str = ""
    """The table of these scores, teachers/out_of_fold.csv, as `fracture teachers` writes it; empty: none.

    DVC does not watch the file.
    """
    seed: Seed = 7
    """Seed of weights, order and augmentation."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes that share each batch; 2 or more run on a Ray cluster (docs/training.md, Several machines).

    No choice of the model: a training that was stopped goes on with another number.
    """
    backend: Literal["tensorflow"] = "tensorflow"
    """Library that Keras computes with. JAX is left out (docs/training.md)."""
    augmentation: Augmentation = Augmentation()
    """How far training images are changed at random."""

    @field_validator("backend", mode="before")
    @classmethod
    def _computed_here(cls, found: Any) -> Any:
        if found == "jax":
            raise ValueError("JAX is left out, see docs/training.md; set it to tensorflow")
        return found

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.frozen_epochs >= self.epochs:
            raise ValueError(f"frozen_epochs ({self.frozen_epochs}) must be fewer than epochs ({self.epochs})")
        if self.frozen_epochs + self.patch_epochs >= self.epochs:
            first = f"frozen_epochs ({self.frozen_epochs}) and patch_epochs ({self.patch_epochs})"
            raise ValueError(f"{first} together must be fewer than epochs ({self.epochs})")
        if self.patch_epochs and self.head != "location":
            raise ValueError("patch_epochs belong to head: location, which takes images of any size")
        if self.average_epochs > self.epochs - self.frozen_epochs - self.patch_epochs:
            raise ValueError(f"average_epochs ({self.average_epochs}) must not reach into frozen or patch epochs")
        if self.average_epochs and self.early_stopping_patience:
            raise ValueError("average_epochs takes the last epochs: set early_stopping_patience to 0")
        if self.average_epochs and self.weight_average:
            raise ValueError("average_epochs and weight_average are two ways to one end: set one of them to 0")
        if self.workers > self.batch_size:
            raise ValueError(f"batch_size ({self.batch_size}) must give each of workers ({self.workers}) an image")
        return self

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.head != "location" and (self.distil or self.image_gradient < 1 or self.location_targets != "covered"):
            raise ValueError("distil, image_gradient and location_targets belong to head: location")
        if self.contradicted_weight < 1 and not self.out_of_fold:
            raise ValueError("contradicted_weight needs scores: set out_of_fold to their table, or leave it at 1")
        if self.architecture == "cnn" and (self.head != "pooled" or self.trainable_from):
            raise ValueError("head and trainable_from belong to a backbone of keras.applications, not to cnn")
        return self
