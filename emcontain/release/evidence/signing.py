"""Signing the evidence folder with model-signing; a private key works offline."""

from __future__ import annotations

from pathlib import Path

from emcontain.errors import UserError

SIGNATURE = "evidence.sig"
_INSTALL = "signing is not installed: pip install 'emcontain[release]'"


def sign(folder: Path, private_key: Path) -> Path:
    """Sign all files of a folder with an elliptic-curve private key (PEM).

    Returns:
        The signature: a Sigstore bundle, written into the folder.

    Raises:
        UserError: model-signing is not installed, or the key cannot be used.
    """
    try:
        from model_signing.signing import Config
    except ImportError:
        raise UserError(_INSTALL) from None
    path = folder / SIGNATURE
    path.unlink(missing_ok=True)
    try:
        signer = Config().use_elliptic_key_signer(private_key=private_key)
    except (ValueError, TypeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"key '{private_key}' cannot sign ({reason[:120]}): give an EC private key in PEM") from None
    signer.sign(folder, path)
    return path


def verify(folder: Path, public_key: Path) -> None:
    """Check a signed folder.

    Raises:
        UserError: no signature, another key, or files that were changed, added or removed.
    """
    try:
        from model_signing.verifying import Config
    except ImportError:
        raise UserError(_INSTALL) from None
    path = folder / SIGNATURE
    if not path.is_file():
        raise UserError(f"'{folder}' has no {SIGNATURE}: it was not signed")
    try:
        Config().use_elliptic_key_verifier(public_key=public_key).verify(folder, path)
    except (ValueError, TypeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"'{folder}' is not what was signed ({reason[:160]})") from None
