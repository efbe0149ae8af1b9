"""Signing the evidence folder with model-signing; a private key works offline."""

from __future__ import annotations

from pathlib import Path

from emcontain.errors import UserError


def sign(folder: Path, private_key: Path) -> Path:
    """Sign all files of a folder with an elliptic-curve private key (PEM).

    Returns:
        The signature beside the folder, `<folder>.sig`, a Sigstore bundle; `model_signing verify key` checks it.

    Raises:
        UserError: model-signing is not installed, or the key cannot be used.
    """
    try:
        from model_signing.signing import Config
    except ImportError:
        raise UserError("signing is not installed: pip install 'emcontain[release]'") from None
    whole = folder.resolve()
    path = whole.with_name(f"{whole.name}.sig")
    try:
        signer = Config().use_elliptic_key_signer(private_key=private_key)
    except (ValueError, TypeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"key '{private_key}' cannot sign ({reason[:120]}): give an EC private key in PEM") from None
    signer.sign(whole, path)
    return path
