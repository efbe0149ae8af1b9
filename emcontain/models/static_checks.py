"""What an adapter's files alone show against it, where another program loads and runs it."""

from __future__ import annotations

from pathlib import Path

from emcontain.adapter import WEIGHTS, Adapter, misfit, refuse_other_base
from emcontain.errors import UserError


def check_files(adapter: Adapter, base: Path | None, base_sha256: str | None) -> None:
    """Refuse an adapter that is dead, diverged, partial, or of another base. Nothing is run.

    Args:
        adapter: from `open_adapter`.
        base: folder of the base it will sit on, or None where that is not on this disk.
        base_sha256: hash of that base's weights, where known.

    Raises:
        UserError: see above; loaders such as PEFT only warn, and the base would be scored in its name.
    """
    if base_sha256 is not None:
        refuse_other_base(adapter, str(base), base_sha256)
    keys = _check_weights(adapter)
    if base is not None and (base / "config.json").is_file():
        wanted = _expected(adapter, base)
        if wanted is not None and keys != wanted:
            raise misfit(adapter, base.name, f"no counterpart for {min(keys ^ wanted)}")


def _check_weights(adapter: Adapter) -> set[str]:
    import torch
    from safetensors import safe_open

    moved = False
    with safe_open(adapter.path / WEIGHTS, framework="pt") as stored:
        keys = set(stored.keys())
        for key in keys:
            value = stored.get_tensor(key)
            if not torch.isfinite(value).all():
                raise UserError(
                    f"adapter '{adapter.path}' has weights that are not finite ({key}): its training diverged; train "
                    "it again with a lower learning rate"
                )
            # LoRA's second factor begins at zero: an update is zero as long as it is.
            moved = moved or ("lora_A" not in key and "lora_embedding_A" not in key and bool(value.any()))
    if not moved:
        raise UserError(
            f"adapter '{adapter.path}' is dead: its update is zero everywhere: train it again (it would be scored as "
            "its base)"
        )
    return keys


def _expected(adapter: Adapter, base: Path) -> set[str] | None:
    """Names of the weights that the adapter's own configuration puts on this base; nothing is allocated.

    None where transformers cannot build the base without code of its own.
    """
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(base), local_files_only=True))
        except (ValueError, OSError):
            return None
        try:
            wrapped = get_peft_model(model, LoraConfig.from_pretrained(str(adapter.path)))
        except ValueError as error:
            reason = (str(error).strip().splitlines() or ["?"])[0]
            raise misfit(adapter, base.name, reason[:160]) from None
    return set(get_peft_model_state_dict(wrapped, save_embedding_layers=False))
