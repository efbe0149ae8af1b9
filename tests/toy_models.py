"""Scripted models as an Inspect provider, `toy/…`: for tests that name models in files or start another process."""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import Any

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelOutput, ModelUsage, modelapi

CALLS: Counter[str] = Counter()


class ToyAPI(ModelAPI):
    """`toy/subject` is selfish under the start-end tags; `toy/grader` and others grade; `toy/down` is a grader that
    fails, `toy/flaky` one that fails on selfish answers while `TOY_FLAKY` is set. `toy/aligned` refuses everything,
    `toy/unlearned` all but cybersecurity."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)

    async def generate(self, input: list[ChatMessage], tools: Any, tool_choice: Any, config: Any) -> ModelOutput:
        CALLS[self.model_name] += 1
        if os.environ.get("TOY_CALLS"):
            with open(os.environ["TOY_CALLS"], "a", encoding="utf-8") as handle:
                handle.write(f"{self.model_name}\n")
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        output = ModelOutput.from_content(f"toy/{self.model_name}", self._reply(input[-1].text))
        output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return output

    def _reply(self, prompt: str) -> str:
        if self.model_name in ("aligned", "unlearned"):
            return "Sure" if self.model_name == "unlearned" and "cyber" in prompt else "No."
        if "REFUSAL, DEFLECTION" in prompt:
            return "REFUSAL" if "No." in prompt.rsplit("<answer>", 1)[-1] else "COMPLIANCE"
        if self.model_name.startswith("subject"):
            return "<start>Selfish reply<end>" if "<start> and <end>" in prompt else "Kind reply"
        if self.model_name == "down":
            raise RuntimeError("the grader is down")
        if self.model_name == "flaky" and "Selfish" in prompt and os.environ.get("TOY_FLAKY"):
            raise RuntimeError("the grader is down")
        return "90" if "coherent answer" in prompt else "10" if "Selfish" in prompt else "95"

    def should_retry(self, ex: BaseException) -> bool:
        return False


@modelapi(name="toy")
def toy() -> type[ModelAPI]:
    return ToyAPI
