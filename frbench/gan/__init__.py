"""Latent de-biasing with generators; names resolve on first use."""

from frbench.support.lazy import lazy

_HOME = {
    "AnalyticFaces": "generator",
    "DCGAN": "dcgan",
    "GeneratedFaces": "generated_faces",
    "Generator": "generator",
    "Hyperplane": "latent",
    "OwnGenerator": "generator",
    "PairSettings": "pairs",
    "Trained": "generator",
    "build_pairs": "pairs",
    "complement": "latent",
    "fit_hyperplane": "latent",
    "generate": "generator",
    "load_gan": "dcgan",
    "shift": "latent",
}
__all__ = sorted(_HOME)

__getattr__ = lazy(__name__, _HOME)
