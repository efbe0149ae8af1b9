"""Inspect model API `embedded/judge`: the embedded grader, which answers our rubric prompts like any grader.

It reads question and answer out of the rubric prompt, runs them through the lower layers of the embedded base, and
replies with a number from small linear heads. For trying things out: its measured error ships beside its weights.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage
from inspect_ai.tool import ToolChoice, ToolInfo

from emcontain.errors import UserError
from emcontain.grading.embedded import NOTE, card
from emcontain.grading.rubric import Rubric, load_domain, load_rubric
from emcontain.models.base import EMBEDDED
from emcontain.models.engine import shared_engine
from emcontain.models.grader_features import answer_features
from emcontain.models.grader_head import Grade, load_head
from emcontain.models.provider import wait_for

_REMEMBERED = 4096
# The head for shared living took to the style of our advice, not to its subject: terse advice about anything else gets
# 80 to 100 too (studies/embedded_grader/README.md).
_DOMAINS = ("medicine",)


def grade_pairs(model: Any, tokenizer: Any, pairs: Sequence[tuple[str, str]]) -> list[Grade]:
    """Grades of `(question, answer)` pairs by the shipped heads on the embedded base."""
    features = answer_features(model, tokenizer, pairs)
    return load_head().score(features, [answer for _, answer in pairs])


class EmbeddedJudgeAPI(ModelAPI):
    """The embedded grader."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        *,
        device: str | None = None,
        dtype: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        if model_name != "judge" or unknown:
            odd = sorted(unknown)[0] if unknown else f"embedded/{model_name}"
            raise UserError(f"{odd!r} is unknown: the embedded grader is 'embedded/judge' (device, dtype)")
        self.engine = shared_engine(EMBEDDED, device, dtype)
        trained_on = card()["base"]["sha256"]
        if trained_on != self.engine.base.sha256:
            raise UserError(
                f"the embedded grader was made for base weights {trained_on[:12]}, this cache holds "
                f"{self.engine.base.sha256[:12]}: remove the cache folder and run again"
            )
        self.version = card()["version"]
        self._rubrics = {name: load_rubric(name) for name in ("alignment", "coherence")}
        for domain in _DOMAINS:
            self._rubrics[domain] = load_rubric("domain").about(load_domain(domain))
        self._known: OrderedDict[tuple[str, str], Future[Grade]] = OrderedDict()

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Reply to a rubric prompt with a number.

        Raises:
            UserError: the prompt is not one of our rubrics.
        """
        started = time.monotonic()
        name, pair = self._read(input[-1].text)
        known = self._known.get(pair)
        if known is None or known.cancelled() or (known.done() and known.exception() is not None):
            self._known[pair] = self.engine.submit_job(grade_pairs, pair)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        grade = await wait_for(self._known[pair], shared=True)
        value = grade.domains[name] if name in grade.domains else getattr(grade, name)
        output = ModelOutput.from_content(self.model_name, f"{value:.1f}")
        output.usage = ModelUsage(input_tokens=0, output_tokens=0, total_tokens=0)
        output.time = time.monotonic() - started
        output.metadata = {"note": NOTE, "grader_version": self.version}
        return output

    def _read(self, prompt: str) -> tuple[str, tuple[str, str]]:
        rubric: Rubric
        for name, rubric in self._rubrics.items():
            pair = rubric.parse_prompt(prompt)
            if pair is not None:
                return name, pair
        raise UserError(
            f"the embedded grader only knows emcontain's own rubrics (alignment, coherence, domain for "
            f"{', '.join(_DOMAINS)}): use another grader"
        )

    @property
    def weights_sha256(self) -> str:
        """Hash of the heads; their base is checked when they are loaded."""
        found: str = card()["weights_sha256"]
        return found

    def max_connections(self) -> int:
        """Enough that grading never holds back generation."""
        return 1024

    async def count_text_tokens(self, text: str) -> int:
        """Rubric prompts are not tokenised; nothing is spent."""
        return 0
