"""Adapters on a loaded base: load, prove alive, switch.

Merged (the default on a CPU): the weights of an adapter are added to the base's in fp32, rounded once to the model's
type, and switched by exchanging pointers. Decoding then costs what the plain base costs, and the base comes back bit
for bit. Unmerged (the default on CUDA, and in arXiv:2603.04407): PEFT's own layers compute the adapter beside the base.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emcontain.adapter import WEIGHTS, Adapter, misfit, refuse_other_base
from emcontain.cache import sha256_file
from emcontain.errors import UserError
from emcontain.models.base import Base

_KEPT = 2


class AdapterWeights:
    """The adapters of one base model in memory.

    Args:
        model: the loaded base; it is changed in place by `activate`.
        base: what it was loaded from.
        merge: merge adapters (True) or keep PEFT's layers in the forward pass (False).
        probe_ids: token ids of a prompt on which an adapter must change the output.
    """

    def __init__(self, model: Any, base: Base, merge: bool, probe_ids: list[int]):
        self.model, self.base, self.merge = model, base, merge
        self._probe_ids = torch.tensor([probe_ids], device=model.device)
        # The folder as it was when it was given: an adapter may be read again after the process went elsewhere.
        self._known: dict[str, tuple[Adapter, Path]] = {}
        self._merged: dict[str, dict[str, Tensor]] = {}
        self._plain = {name: p.data for name, p in model.named_parameters()}
        self._parameters = dict(model.named_parameters())
        self._peft: Any = None
        self.active: str | None = None

    def add(self, adapter: Adapter) -> str:
        """Load an adapter; returns the key to activate it with (its weight hash).

        Raises:
            UserError: it was trained on another base, does not fit this one, or changes no output.
        """
        key = adapter.sha256
        if key in self._known:
            return key
        refuse_other_base(adapter, self.base.name, self.base.sha256)
        self.activate(None)
        before = self._probe()
        folder = adapter.path.absolute()
        self._load(adapter, folder)
        self._known[key] = (adapter, folder)
        self.activate(key)
        after = self._probe()
        self.activate(None)
        if not torch.isfinite(after).all():
            del self._known[key]
            raise UserError(
                f"adapter '{adapter.path}' gives no finite numbers: its training diverged; train it again with a lower "
                "learning rate"
            )
        if torch.equal(before, after):
            del self._known[key]
            raise UserError(
                f"adapter '{adapter.path}' is dead: the base answers the same with and without it: "
                "train it again (it would be scored as its base)"
            )
        return key

    def activate(self, key: str | None) -> None:
        """Make an adapter, or with None the plain base, the one that answers."""
        if key == self.active:
            return
        if not self.merge:
            if key is None:
                self._peft.base_model.disable_adapter_layers()
            else:
                self._peft.base_model.enable_adapter_layers()
                self._peft.set_adapter(key)
        else:
            for name in self._merged.get(self.active or "", ()):
                self._parameters[name].data = self._plain[name]
            # The plain base answers from here on, also where loading fails: it must not pass for the adapter before.
            self.active = None
            if key is not None:
                if key not in self._merged:
                    self._load(*self._known[key])
                for name, weight in self._merged[key].items():
                    self._parameters[name].data = weight
        self.active = key

    def _probe(self) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.model(input_ids=self._probe_ids, use_cache=False).logits
        return logits

    def _load(self, adapter: Adapter, folder: Path) -> None:
        from peft import PeftModel

        key = adapter.sha256
        if not (folder / WEIGHTS).is_file() or sha256_file(folder / WEIGHTS) != key:
            raise UserError(f"adapter '{adapter.path}' was moved or trained again while it was in use: start again")
        name = "default" if self.merge else key
        try:
            if self._peft is None:
                wrapped = PeftModel.from_pretrained(self.model, folder, adapter_name=name)
            else:
                wrapped = self._peft
                wrapped.load_adapter(folder, adapter_name=name)
        except (RuntimeError, ValueError) as error:
            self._take_out(self._peft, name)
            reason = str(error).strip().splitlines()[-1].strip()[:120]
            raise misfit(adapter, self.base.name, reason) from None
        try:
            self._check_complete(wrapped, adapter, folder, name)
        except UserError:
            self._take_out(wrapped, name)
            raise
        wrapped.requires_grad_(False)
        if not self.merge:
            self._peft = wrapped
            return
        merged = {}
        with torch.no_grad():
            for module_name, module in wrapped.base_model.model.named_modules():
                if hasattr(module, "get_delta_weight") and name in module.lora_A:
                    weight = module.base_layer.weight
                    delta = module.get_delta_weight(name)
                    merged[f"{module_name}.weight"] = (weight.float() + delta.float()).to(weight.dtype)
        wrapped.unload()
        tied = sorted(merged.keys() - self._parameters.keys())
        if tied:
            raise misfit(adapter, self.base.name, f"{tied[0]} is tied to another weight: load it with -M merge=false")
        self._merged[key] = merged
        for old in [k for k in self._merged if k not in (key, self.active)][: -(_KEPT - 1) or None]:
            del self._merged[old]

    def _take_out(self, wrapped: Any, name: str) -> None:
        """Undo a refused adapter: PEFT puts its layers into the shared base before it finds out."""
        if wrapped is not None and wrapped is self._peft:
            if name in wrapped.peft_config:
                wrapped.delete_adapter(name)
            return
        from peft.tuners.tuners_utils import BaseTunerLayer

        for parent_name, parent in list(self.model.named_modules()):
            for child_name, child in list(parent.named_children()):
                if isinstance(child, BaseTunerLayer) and not parent_name.endswith("base_layer"):
                    setattr(parent, child_name, child.get_base_layer())

    def _check_complete(self, wrapped: Any, adapter: Adapter, folder: Path, name: str) -> None:
        """PEFT fills what a file lacks with fresh (inert) weights and only warns; here that is an error."""
        from safetensors import safe_open

        with safe_open(folder / WEIGHTS, framework="pt") as stored:
            in_file = set(stored.keys())
        marker = f".{name}."
        in_model = {n.replace(marker, ".") for n, _ in wrapped.named_parameters() if marker in n}
        if in_file != in_model:
            raise misfit(adapter, self.base.name, f"no counterpart for {min(in_file ^ in_model)}")
