"""A mean with its interval, and paired tests between two ways of treating the same images."""

import warnings

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def mean_and_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of values (image), and the 95 % interval of the mean by Student's t distribution.

    NaN, all three, of fewer than two values, but for the mean of one.
    """
    count = len(values)
    if count < 2:
        return (float(values[0]) if count else np.nan), np.nan, np.nan
    with np.errstate(invalid="ignore"):  # infinite PSNRs have no deviation
        mean = values.mean()
        half = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * values.std(ddof=1) / count**0.5
        return float(mean), float(mean - half), float(mean + half)


def paired_tests(differences: np.ndarray) -> tuple[float, float]:
    """Two-sided p of differences (image) by the paired t test and Wilcoxon's signed-rank test.

    Wilcoxon's leaves out differences of nought, and is exact of few images (scipy says of how
    many). NaN for fewer than two images, and where all differences are the same.
    """
    if len(differences) < 2 or not np.isfinite(differences).all() or not np.ptp(differences):
        return np.nan, np.nan
    with warnings.catch_warnings():
        # Of nearly equal differences scipy warns that p is imprecise: it is nought in any case.
        warnings.filterwarnings("ignore", message="Precision loss", category=RuntimeWarning)
        t = stats.ttest_1samp(differences, 0).pvalue
    return float(t), float(stats.wilcoxon(differences).pvalue)
