"""Clusters of a network's outputs inside each class."""

from __future__ import annotations

from typing import Literal

import numpy as np

from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegative, NotNegativeInt, Share
from frbench.group_inference.base import GroupInference, Rows, StageLength

#: Rows of a class that the silhouette is estimated on.
SILHOUETTE_ROWS = 1000


class Clusters(GroupInference):
    """Clusters inside each class as attribute values, and weights against their imbalance.

    k-means (10 starts) of the network's logits or features, for each class by itself. With
    ``clusters: 0`` the number of clusters is the one from 2 to ``max_clusters`` with the largest
    mean silhouette s. A row of a cluster with n rows has the weight n^-power, scaled so that every
    class has the same total; where s < ``threshold`` the exponent is ``power_below``. Sources:
    GEORGE (Sohoni et al., arXiv 2011.12945, section 4: clusters of features, then GroupDRO;
    ``power: null``) and SPARE (Yang et al., arXiv 2305.18761, Algorithm 1: clusters of the outputs
    at an early epoch, then sampling). GEORGE clusters UMAP's coordinates of the features; here the
    features are taken as they are. The silhouette is that of at most 1000 rows of each class.

    Args:
        epochs: Epochs of the first network, or their share of the run.
        of: What is clustered, ``logits`` or ``features``.
        clusters: Number of clusters of each class; 0 chooses it by the silhouette.
        max_clusters: Largest number that is tried.
        power: Exponent of the weights, >= 0; null gives no weights.
        power_below: The exponent in classes whose clusters are not well separated.
        threshold: Least silhouette of well separated clusters.
        via: Whether the loss is weighed or rows are drawn in proportion.
        start: A checkpoint with the first network, instead of the first stage.

    Raises:
        UserError: If there is no number of clusters to try.

    Example:
        >>> z = np.repeat([0, 1], [90, 10])
        >>> rows = Rows(z[:, None], 5.0 * z[:, None], z, z * 0, z * 0 - 1)
        >>> for power in (1.0, 2.0):
        ...     w = Clusters(power=power).weights(z, rows)
        ...     print(round(w[z == 1].sum() / w.sum(), 3))
        0.5
        0.9
    """

    def __init__(
        self,
        epochs: StageLength = 1,
        of: Literal["logits", "features"] = "logits",
        clusters: NotNegativeInt = 0,
        max_clusters: Count = 5,
        power: NotNegative | None = 1.0,
        power_below: NotNegative = 2.0,
        threshold: Share = 0.9,
        via: Literal["weight", "sample"] = "sample",
        start: str | None = None,
    ) -> None:
        super().__init__(epochs, start)
        if not clusters and max_clusters < 2:
            raise UserError("Clusters.max_clusters must be at least 2 where clusters is 0.")
        self.of = of
        self.clusters = clusters
        self.max_clusters = max_clusters
        self.power = power
        self.power_below = power_below
        self.threshold = threshold
        self.via = via
        self.num_attributes = clusters or max_clusters

    def infer(self, rows: Rows, rng: np.random.Generator) -> np.ndarray:
        """Return the cluster of each row in its class, the largest first."""
        from sklearn.cluster import KMeans

        z, outputs = np.zeros(len(rows.y), np.int64), self._clustered(rows)
        for label in np.unique(rows.y):
            own = np.flatnonzero(rows.y == label)
            most = len(np.unique(outputs[own], axis=0))
            sizes = [self.clusters] if self.clusters else range(2, self.max_clusters + 1)
            tried = [
                KMeans(min(k, most), n_init=10, random_state=int(rng.integers(2**31)))
                .fit_predict(outputs[own])
                for k in sizes
            ]  # fmt: skip
            best = max(tried, key=lambda found: silhouette(outputs[own], found))
            rank = np.argsort(np.argsort(-np.bincount(best), kind="stable"))
            z[own] = rank[best]
        return z

    def _clustered(self, rows: Rows) -> np.ndarray:
        chosen = rows.logits if self.of == "logits" else rows.features
        return chosen.reshape(len(rows.y), -1).astype(np.float64)

    def weights(self, z: np.ndarray, rows: Rows) -> np.ndarray | None:
        """Return the weight of each row, of mean one in each class."""
        if self.power is None:
            return None
        weight, outputs = np.ones(len(z)), self._clustered(rows)
        for label in np.unique(rows.y):
            own = np.flatnonzero(rows.y == label)
            clear = silhouette(outputs[own], z[own]) >= self.threshold
            share = np.bincount(z[own])[z[own]] ** -float(
                self.power if clear else self.power_below
            )
            weight[own] = share / share.sum()
        return weight


def silhouette(points: np.ndarray, cluster: np.ndarray) -> float:
    """Return the mean silhouette of at most 1000 evenly spaced rows; -1 with one cluster.

    Args:
        points: Points [n, D].
        cluster: Cluster of each [n].
    """
    from sklearn.metrics import silhouette_score

    rows = np.linspace(0, len(points) - 1, min(len(points), SILHOUETTE_ROWS)).astype(int)
    if not 2 <= len(np.unique(cluster[rows])) < len(rows):
        return -1.0
    return float(silhouette_score(points[rows], cluster[rows]))
