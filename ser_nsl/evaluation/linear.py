"""The linear classifier that shows what embeddings hold, without any network."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

INVERSE_REGULARISATION = 0.01
"""C of the logistic regression where nothing chooses it: embeddings are wide and clips few."""


CHOICES = (0.001, 0.01, 0.1, 1.0)
"""Values of C among which clips of other speakers than those of training choose."""


def linear_classifier(inverse_regularisation: float = INVERSE_REGULARISATION) -> Pipeline:
    """Makes standardisation and logistic regression, untrained.

    Args:
        inverse_regularisation: C of the logistic regression, above 0.

    Returns:
        An estimator of scikit-learn.

    Example:
        >>> classifier = linear_classifier().fit([[0.0], [1.0]], ["sad", "glad"])
        >>> list(classifier.predict([[-1.0], [2.0]]))
        ['sad', 'glad']
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=inverse_regularisation, max_iter=2_000)
    return make_pipeline(StandardScaler(), regression)
