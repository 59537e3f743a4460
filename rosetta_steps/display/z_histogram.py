"""The histogram of z over all pairs of units, beside the normal of permuted images."""

import argparse

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from scipy.special import ndtr

from rosetta_steps.display.drawing import SMALL, STYLE, new_figure, save_figures
from rosetta_steps.evidence.permutations import measure
from rosetta_steps.maps.sources import prepare

SIZE = 3.4, 2.4  # inches: a column of a page of two
COARSE = 8  # bins of the store that are drawn as one
# Colours that are told apart without seeing red and green, and in grey.
PAIRS, BUDDIES, DECOYS = "#8da9c4", "#b8390e", "#0b2545"


def histogram_of_z(found: xr.Dataset) -> Figure:
    """Draw the histogram of z.

    Args:
        found: As evidence.permutations.z_of gives it.

    Returns:
        A figure of one column, with a logarithmic axis of counts.
    """
    of = {name: found[name].values for name in ("pairs", "decoys", "lower", "z")}
    width = of["lower"][2] - of["lower"][1]
    edges = np.append(of["lower"], of["lower"][-1] + width)
    edges[0] = edges[1] - width
    edges = edges[::COARSE]
    counts, decoys = (of[name].reshape(-1, COARSE).sum(1) for name in ("pairs", "decoys"))
    z = np.clip(of["z"][~np.isnan(of["z"])], edges[0], edges[-1] - width / 2)
    buddies = np.histogram(z, edges)[0]
    expected = found.attrs["all_pairs"] * np.diff(ndtr(edges))
    shown = np.flatnonzero(counts + decoys + buddies)
    with matplotlib.rc_context(STYLE | {"axes.spines.top": False, "axes.spines.right": False}):
        figure = new_figure(*SIZE)
        axes = figure.subplots()
        axes.stairs(counts, edges, fill=True, color=PAIRS, label="all pairs")
        axes.stairs(buddies, edges, fill=True, color=BUDDIES, label="best buddies")
        axes.stairs(decoys, edges, color=DECOYS, lw=0.8, label="images moved")
        middle = (edges[1:] + edges[:-1]) / 2
        inside = expected >= 0.3
        axes.plot(middle[inside], expected[inside], "--", color="black", lw=0.9, label="N(0, 1)")
        threshold = found.attrs["threshold"]
        if np.isfinite(threshold):
            axes.axvline(threshold, color="black", lw=0.6, ls=":")
            axes.text(
                threshold,
                1.0,
                f" q ≤ {found.attrs['false_discovery_rate']:g}",
                transform=axes.get_xaxis_transform(),
                size=SMALL,
                va="top",
            )
        axes.set_yscale("log")
        axes.set_ylim(0.5)
        if len(shown):
            axes.set_xlim(edges[shown[0]] - 1, edges[shown[-1] + 1] + 1)
        axes.set_xlabel("z of a pair of units against permuted images")
        axes.set_ylabel("pairs of units")
        axes.tick_params(labelsize=SMALL)
        axes.legend(frameon=False, fontsize=SMALL, loc="upper right")
        figure.subplots_adjust(0.14, 0.16, 0.98, 0.96)
    return figure


def summary(found: xr.Dataset) -> str:
    """What the store says, in lines to read: its centre, its threshold, and decoys by level."""
    known = found.attrs
    lines = [
        f"{known['all_pairs']} pairs of units: median z {known['median']:.2f}, spread "
        f"{known['spread']:.2f} (1 if images did not matter); with images moved "
        f"{known['decoy_median']:.2f} and {known['decoy_spread']:.2f}.",
        f"q <= {known['false_discovery_rate']:g} from z = {known['threshold']:.2f}: "
        f"{known['pairs_found']} pairs, and {int((found['z'] >= known['threshold']).sum())} of "
        f"{found.sizes['pair']} best buddies; p of {int(found['simulated'].sum())} by permutations "
        "carried out.",
        "z above   all pairs   images moved   expected",
    ]
    for level, pairs, decoys, expected in zip(
        found["level"].values,
        found["pairs_above"].values,
        found["decoys_above"].values,
        found["expected_above"].values,
        strict=True,
    ):
        lines.append(f"{level:7g} {pairs:11d} {decoys:14d} {expected:10.1f}")
    return "\n".join(lines)


def carry_out(a: argparse.Namespace) -> None:
    """Write the store and the figure that a command line asks for, and print a summary."""
    prepare([a.a, a.b], a.threads)
    found = measure(
        (a.a, a.b),
        a.buddies,
        a.samples,
        a.output,
        level=a.level,
        images_per_block=a.images_per_block,
        identity=a.identity,
    )
    print(summary(found))
    save_figures({a.output.with_suffix(""): histogram_of_z(found)}, a.identity)
