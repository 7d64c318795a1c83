"""What looks like a secret, by its name or by its content. Names first: a secret should not even be read."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_FOLDERS = {
    ".aws": "cloud credentials",
    ".azure": "cloud credentials",
    ".ssh": "SSH keys",
    ".gnupg": "GPG keys",
    ".kube": "cluster credentials",
}
_NAMES = {
    "an environment file": (".env", ".env.*", "*.env", ".envrc"),
    "a private key": ("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk", "*.kdbx"),
    "an SSH key": ("id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk"),
    "passwords": (".netrc", "_netrc", ".pgpass", ".my.cnf", ".git-credentials", ".htpasswd"),
    "cluster credentials": ("kubeconfig", "*.kubeconfig", "kubeconfig.y*ml", ".vault-token"),
    "registry credentials": (".npmrc", ".pypirc", ".dockercfg", ".dockerconfigjson", "kaggle.json"),
    "cloud credentials": (
        *(".s3cfg", ".boto", "application_default_credentials.json", "client_secret*.json"),
        *("credentials.db", "access_tokens.db"),
    ),
    "service account credentials": ("*service-account*.json", "*service_account*.json"),
    "credentials": tuple(
        f"{word}{end}"
        for word in ("credentials", "secrets", "secret")
        for end in ("", ".json", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".csv", ".txt", ".xml")
    ),
    "infrastructure state, with its secrets": ("terraform.tfstate", "*.tfvars"),
}
#: Made to be shown.
_HARMLESS = (".env.example", ".env.sample", ".env.template", ".env.dist", "example.env", "sample.env")
_CONTENTS = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "cluster credentials": re.compile(rb"^\s*client-key-data:\s*[A-Za-z0-9+/=]{20}", re.MULTILINE),
}


def suspicious_folder(name: str) -> str | None:
    """What a folder of this name would hold, if that should not leave the machine."""
    return _FOLDERS.get(name.lower())


def suspicious_name(name: str) -> str | None:
    """What a file of this name would be, if that should not leave the machine."""
    lower = name.lower()
    if lower in _HARMLESS:
        return None
    return next(
        (kind for kind, patterns in _NAMES.items() if any(fnmatchcase(lower, each) for each in patterns)),
        None,
    )


def suspicious_content(content: bytes) -> str | None:
    """What a file with these bytes is, if that should not leave the machine."""
    return next((kind for kind, pattern in _CONTENTS.items() if pattern.search(content)), None)
