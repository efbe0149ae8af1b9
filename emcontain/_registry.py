"""What Inspect finds under the prefix `emcontain/`; nothing else."""

from inspect_ai.model import ModelAPI, modelapi

from emcontain.scorers.human import human_grades
from emcontain.scorers.judge import judge
from emcontain.scorers.metrics import containment_metrics
from emcontain.solvers.arms import answer, apply_arm
from emcontain.solvers.liveness import check_adapter
from emcontain.tasks.containment import containment, controls, rephrased, triggered, untriggered

__all__ = [
    "answer", "apply_arm", "check_adapter", "containment", "containment_metrics", "controls", "embedded",
    "human_grades", "judge", "peft", "rephrased", "triggered", "untriggered",
]  # fmt: skip


@modelapi(name="peft")
def peft() -> type[ModelAPI]:
    """`peft/<base>[:<adapter folder>]`: a local base with a LoRA adapter."""
    from emcontain.models.provider import PeftAPI

    return PeftAPI


@modelapi(name="embedded")
def embedded() -> type[ModelAPI]:
    """`embedded/judge`: the embedded grader."""
    from emcontain.models.judge_provider import EmbeddedJudgeAPI

    return EmbeddedJudgeAPI
