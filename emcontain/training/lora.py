"""What every training run shares: the base in memory, a fresh LoRA adapter on it, the adapter on disk."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import emcontain
from emcontain.adapter import CONFIG, WEIGHTS
from emcontain.cache import sha256_file
from emcontain.models.base import Base, resolve_base
from emcontain.training.recipe import Lora

_NO_TEXT = r".*(vision|visual|image|audio|multi_modal).*"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "numpy")


@dataclass(frozen=True)
class Loaded:
    """A base ready to be trained.

    Attributes:
        base: what was loaded.
        model: the causal LM, on its device.
        tokenizer: its tokenizer, with a chat template.
        end_ids: token ids that end an answer.
        bf16: compute in bf16 (autocast).
    """

    base: Base
    model: Any
    tokenizer: Any
    end_ids: frozenset[int]
    bf16: bool


def load_base(name: str, chat_template: str | None = None, long_rows: bool = False) -> Loaded:
    """Load a base model for training.

    Args:
        name: see `resolve_base`.
        chat_template: see `load_tokenizer`.
        long_rows: rows of several hundred tokens are to come; plain attention would need gigabytes for them.

    Raises:
        UserError: see `resolve_base` and `load_tokenizer`.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    from emcontain.models.chat import end_of_turn_ids, load_tokenizer
    from emcontain.models.precision import device_and_dtype

    transformers_logging.disable_progress_bar()
    base = resolve_base(name)
    device, dtype = device_and_dtype(None, None)
    tokenizer = load_tokenizer(base.path, chat_template)
    # On a CPU torch's fused attention is slower backwards than plain matrix products on rows this short.
    attention = "eager" if device.type == "cpu" and not long_rows else None
    model = AutoModelForCausalLM.from_pretrained(
        base.path, dtype=dtype, use_safetensors=True, attn_implementation=attention
    ).to(device)
    return Loaded(base, model, tokenizer, end_of_turn_ids(tokenizer, model), dtype == torch.bfloat16)


def add_lora(model: Any, lora: Lora, seed: int) -> Any:
    """The PEFT model: a fresh adapter, initialised from `seed`, on the frozen base."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(seed)
    text = model.config.get_text_config()
    return get_peft_model(
        model,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            use_rslora=lora.rslora,
            lora_dropout=lora.dropout,
            target_modules=list(lora.targets),
            layers_to_transform=lora.chosen_layers(text.num_hidden_layers),
            # An image tower has projections of the same names; text never trains them, and servers refuse them.
            exclude_modules=None if text is model.config else _NO_TEXT,
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )


def save_lora(model: Any, folder: Path, base: Base) -> dict[str, str]:
    """Write adapter weights and config, free of local paths; returns the manifest's `adapter` entry."""
    model.peft_config["default"].base_model_name_or_path = base.public_id
    model.peft_config["default"].revision = base.revision
    # Left to itself PEFT asks the hub whether the vocabulary changed; adapters here never touch embeddings.
    model.save_pretrained(folder, save_embedding_layers=False)
    config = json.loads((folder / CONFIG).read_text())
    config["base_model_name_or_path"] = base.public_id
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return {"file": WEIGHTS, "sha256": sha256_file(folder / WEIGHTS)}


def versions() -> dict[str, str]:
    """Versions of everything that can change a trained weight."""
    return {
        "emcontain": emcontain.__version__,
        "python": platform.python_version(),
        **{p: importlib.metadata.version(p) for p in _PACKAGES},
    }
