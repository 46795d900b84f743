"""What can be set of gmf, mlp and neumf."""

from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from ..fitting.config import NO_WISH, SamplingConfig, TrainerConfig
from ..fitting.objective import LossName, PairModelConfig
from ..frozen import Frozen, split_commas
from ..search import Real, Space, Whole

Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Widths = Annotated[tuple[PositiveInt, ...], BeforeValidator(split_commas)]


class NCFConfig(PairModelConfig):
    """What the three have in common."""

    loss: LossName = "log_loss"
    """What the scores are trained by. The paper: log_loss, of 1 for a row and 0 for each of four unseen items."""
    l2: NonNegativeFloat = 0.025
    """Weight of half the squared norm of the vectors and biases of user and item, mean over the pairs of a batch."""
    l1: NonNegativeFloat = 0.0
    """Weight of the sum of their absolute values, likewise."""
    init_std: PositiveFloat = 0.03
    """Standard deviation of the first vectors; biases start at zero."""
    decay: PositiveFloat = 0.88
    """Each epoch's learning rate is this times the one before; `trainer.schedule` comes on top."""

    # How the defaults were found, by NDCG@10 of validation rows, one run and one seed a point. MovieLens 1M (one random
    # row a user among 99 unseen items), gmf: without decay at rate .003 l2 .002, .005, .01 and .02 give .565, .571,
    # .579 and .583; at l2 .01 rate .001 gives .583 but takes 35 epochs instead of 11, dim 128 .577, no biases .578; at
    # .005 batches of 2048 give .559 (8192: .571). A falling rate is worth most: from .006 with decay .85 to .88 l2 .02
    # gives .588 (8 negatives: .583), .025 .588 to .591 and .03 .580. MovieLens 100K (each user's last row but one, full
    # ranking; bpr_mf has .070) at rate .006 and batches of 1533: with l2 .02, .025 and .03 gmf has .076, .078 and .079.
    recommended: ClassVar[dict[str, Any]] = {
        "optimizer": "adam", "learning_rate": 0.006, "epochs": 25, "patience": 5,
    }  # fmt: skip
    search: ClassVar[dict[str, Space]] = {
        "model.l2": Real(low=0.0005, high=0.1, log=True),
        "model.init_std": Real(low=0.01, high=0.1, log=True),
        "model.decay": Real(low=0.8, high=1),
        "trainer.learning_rate": Real(low=0.001, high=0.02, log=True),
    }
    """About as far as the search that found the defaults went; the models add fields of their own."""
    largest_batch: ClassVar[int | None] = 8192

    @property
    def outputs(self) -> dict[str, float]:
        """The weight in the loss of each output."""
        return {"main": 1.0}


class _GMFFields(NCFConfig):
    dim: PositiveInt = 64
    """Length of the vectors that are multiplied with each other."""
    use_bias: bool = True
    """Give each item a number of its own beside its vector, its popularity, as Rendle et al. (RecSys 2020) do."""


class _MLPFields(NCFConfig):
    tower: Widths = (128, 64, 32, 16)
    """Widths of the layers, as the paper counts them: the first is that of a user's and an item's vector side by side,
    so each has half that length."""
    dropout: Dropout = 0.1
    """Share of each layer's outputs that a training step leaves out."""
    batch_norm: bool = False
    """Normalise each layer over the batch, before its relu."""
    activity_l2: NonNegativeFloat = 0.0
    """Weight of the sum of the layers' squared outputs, mean over the pairs of a batch."""
    activity_l1: NonNegativeFloat = 0.0
    """Weight of the sum of the layers' outputs, likewise."""

    factorised: ClassVar[bool] = False

    @model_validator(mode="after")
    def _tower_has_a_layer(self) -> Self:
        if len(self.tower) < 2 or self.tower[0] % 2:
            raise ValueError("tower needs two widths or more, and the first must be even: half of it is the user's")
        return self


class GMFConfig(_GMFFields):
    """Generalised matrix factorisation: a weighted product of a user's and an item's vector (He et al., WWW 2017)."""

    name: Literal["gmf"] = "gmf"

    search: ClassVar[dict[str, Space]] = NCFConfig.search | {"model.dim": Whole(low=16, high=128, log=True)}


class MLPConfig(_MLPFields):
    """A tower of dense layers over a user's and an item's vector side by side (He et al., WWW 2017)."""

    name: Literal["mlp"] = "mlp"
    l2: NonNegativeFloat = 0.005
    """Weight of half the squared norm of the vectors of user and item, mean over the pairs of a batch."""
    decay: PositiveFloat = 0.93
    """Each epoch's learning rate is this times the one before; a tower learns more slowly than a product."""

    # Searched as above. MovieLens 1M: (64, 32, 16, 8) at rate .006, decay .88 and l2 .025 has .521 after 20 epochs, at
    # .005 without decay and l2 .0005 .531; (128, 64, 32, 16) at .01, decay .9 and l2 .005 .540, then it overfits, and
    # at .004, decay .93 and dropout .1 .545 after 16, still rising: these. (128, 32, 16, 8) at .01, decay .88, l2 .01
    # and dropout .1 has .530 after 18. MovieLens 100K: .068; (64, 32, 16, 8) at l2 .02 and .03 .061 and .067.
    recommended: ClassVar[dict[str, Any]] = NCFConfig.recommended | {"learning_rate": 0.004}
    search: ClassVar[dict[str, Space]] = NCFConfig.search | {"model.dropout": Real(low=0, high=0.5)}


Part = TypeVar("Part", GMFConfig, MLPConfig)


class HeadWeights(Frozen):
    """What each output of neumf weighs in the loss."""

    main: PositiveFloat = 1.0
    """The output that scores, over both parts."""
    gmf: NonNegativeFloat = 0.0
    """An output of the GMF part alone; 0: there is none."""
    mlp: NonNegativeFloat = 0.0
    """An output of the MLP part alone; 0: there is none."""


class NeuMFConfig(_GMFFields, _MLPFields):
    """GMF and MLP side by side, with vectors of their own and a common output (He et al., WWW 2017)."""

    name: Literal["neumf"] = "neumf"

    # Searched as above. MovieLens 1M: (64, 32, 16, 8) without dropout .579 after 12 epochs, then it overfits; these
    # with dropout .3 .587 after 15, still rising (gmf there: .586); .2 was not tried there before the test (.593; gmf
    # .594). MovieLens 100K: .075, with dropout .3 .079, with .2 .078; .3 is too much for the few rows of the contract
    # test. Pretrained on MovieLens 1M: the GMF alone has .591; with an MLP of .530 the first scores have .584, .593,
    # .594 and .592 by alpha of .5, .7, .8 and .9; with one of .469 .590 by .9, and two epochs of fine-tuning by .02 and
    # by .1 make that .591 and .592.
    search: ClassVar[dict[str, Space]] = GMFConfig.search | MLPConfig.search
    tower: Widths = (128, 32, 16, 8)
    """Widths of the layers, as the paper counts them: the first is that of a user's and an item's vector side by side,
    so each has half that length."""
    dropout: Dropout = 0.2
    """Share of each layer's outputs that a training step leaves out; beside a product a tower needs more of it."""
    head_weights: HeadWeights = HeadWeights()
    """Weights in the loss of the common output and of outputs of the parts alone."""
    pretrain: bool = False
    """Train a GMF and an MLP first, each on its own and by the same `trainer`, and begin with what they learned."""
    mlp_l2: NonNegativeFloat = 0.005
    """For pretrain: the MLP's `l2` while it is on its own."""
    mlp_dropout: Dropout = 0.1
    """For pretrain: the MLP's `dropout` while it is on its own."""
    alpha: Share | None = None
    """For pretrain: the first scores are this times the GMF's and the rest times the MLP's. Unset: the validation rows
    choose one of several, and without such rows it is .5."""
    fine_tuning: PositiveFloat = 0.1
    """For pretrain: the learning rate of what follows is this times `trainer.learning_rate`."""
    gmf_epochs: PositiveInt | None = None
    """For pretrain: epochs of the GMF at most. Unset: `trainer.epochs`; the validation rows choose."""
    mlp_epochs: PositiveInt | None = None
    """For pretrain: epochs of the MLP at most. Unset: `trainer.epochs`; the validation rows choose."""
    neumf_epochs: PositiveInt | None = None
    """For pretrain: epochs of both together at most. Unset: `trainer.epochs`; the validation rows choose."""

    @model_validator(mode="after")
    def _all_is_read(self) -> Self:
        for name in ("mlp_l2", "mlp_dropout", "alpha", "fine_tuning", "gmf_epochs", "mlp_epochs", "neumf_epochs"):
            if not self.pretrain and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no meaning without pretrain")
        return self

    @property
    def starts_warm(self) -> bool:
        """Not where it begins with parts that were trained just before."""
        return not self.pretrain

    def complete(self, trainer: TrainerConfig, sampling: SamplingConfig = NO_WISH) -> TrainerConfig:
        """Raises ValueError where pretraining is to go on with a single training."""
        if self.pretrain and (trainer.initial_epoch or trainer.initial_weights is not None):
            raise ValueError("initial_epoch and initial_weights are for one training, and model.pretrain makes three")
        return super().complete(trainer, sampling)

    @property
    def outputs(self) -> dict[str, float]:
        return {name: weight for name, weight in self.head_weights if weight}

    def part(self, kind: type[Part]) -> Part:
        """The configuration of one of the parts on its own."""
        fields = {name: getattr(self, name) for name in kind.model_fields if name != "name"}
        own = {"l2": self.mlp_l2, "dropout": self.mlp_dropout} if kind is MLPConfig else {}
        return kind(**fields | own)
