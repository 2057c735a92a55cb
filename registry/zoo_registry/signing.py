"""Signatures of releases (OpenSSF model-signing with an elliptic-curve key, offline) and whose are trusted."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zoo_registry.errors import MissingDependency, ModelError, ReleaseInvalid, UsageError
from zoo_registry.manifest import SIGNATURE, verify_manifest
from zoo_registry.release import Release


def trusted_keys() -> list[Path]:
    """Return the public keys that the user trusts: ``trusted-keys/*.pem`` in ``$ZOO_CONFIG`` or ``~/.config/zoo``."""
    folder = Path(os.path.expanduser(os.environ.get("ZOO_CONFIG") or "~/.config/zoo"))
    return sorted((folder / "trusted-keys").glob("*.pem"))


def sign(folder: str | Path, private_key: str | Path) -> Path:
    """Sign every file of a release; the signature is written beside them.

    Args:
        folder: The release folder; it is checked first.
        private_key: PEM file of an elliptic-curve key without password.

    Returns:
        Path of the signature.

    Raises:
        ReleaseInvalid: The folder is not what its manifest says.
        UsageError: The key cannot be used.
        MissingDependency: model-signing is not installed.
    """
    folder = Path(folder)
    verify_manifest(folder)
    signing, hashing = _library()
    new = folder.with_name(f".{folder.name}.sig")
    try:
        signing.Config().use_elliptic_key_signer(private_key=private_key).set_hashing_config(_hashing(hashing)).sign(
            folder, new
        )
        os.replace(new, folder / SIGNATURE)
    except (OSError, ValueError, TypeError) as error:
        # Its text is not repeated: it may quote the key.
        raise UsageError(
            f"cannot sign with {private_key} ({type(error).__name__}); give a PEM file as of: openssl ecparam -name "
            "prime256v1 -genkey -noout"
        ) from None
    finally:
        new.unlink(missing_ok=True)
    return folder / SIGNATURE


def check_signature(release: Release, public_keys: Iterable[str | Path]) -> Path:
    """Check that a release was signed, as it is now, by one of some keys.

    Args:
        release: An open release.
        public_keys: PEM files.

    Returns:
        The key that fits.

    Raises:
        ReleaseInvalid: It has no signature, or none of the keys made one over these files.
        UsageError: No keys, or none that can be read.
        MissingDependency: model-signing is not installed.
    """
    keys = [Path(key) for key in public_keys]
    if not keys:
        raise UsageError("no key to check the signature with; give key=FILE, or put it in ~/.config/zoo/trusted-keys.")
    if not (release.path / SIGNATURE).is_file():
        raise ReleaseInvalid(f"{release} is not signed: it has no {SIGNATURE}.")
    _, hashing = _library()
    from model_signing import verifying

    unreadable = []
    for key in keys:
        try:
            verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
        except Exception as error:  # those of the cryptography below share no base class
            unreadable.append(f"{key} is not a public key in PEM form ({type(error).__name__}).")
            continue
        try:
            verifier.set_hashing_config(_hashing(hashing)).verify(release.path, release.path / SIGNATURE)
        except Exception:  # a hostile signature can fail in any way, and none of them is a good one
            continue
        return key
    if len(unreadable) == len(keys):
        raise UsageError(unreadable[0])
    names = ", ".join(key.name for key in keys)
    raise ReleaseInvalid(f"{release}: its signature does not fit its files and any of the keys {names}.")


def is_trusted(release: Release) -> bool:
    """Whether code in a release may be run: it is bundled, vouched for, or signed by a key that the user trusts."""
    keys = trusted_keys()
    if release.trusted or not keys or not (release.path / SIGNATURE).is_file():
        return release.trusted
    try:
        verify_manifest(release.path)
        check_signature(release, keys)
    except ModelError:
        return False
    return True


def _hashing(hashing: Any) -> Any:
    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _library() -> tuple[Any, Any]:
    try:
        from model_signing import hashing, signing
    except ImportError as error:
        raise MissingDependency(f"signatures need {error.name}; pip install 'atomzoo[sign]'") from None
    return signing, hashing
