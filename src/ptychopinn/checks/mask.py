"""The mask of the detector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ptychopinn.checks.base import Look, Noticed, check, finding


@check("inverted-mask")
def inverted_mask(look: Look) -> Iterator[Noticed]:
    """A mask that leaves a small dark part and hides a large bright one has the other meaning."""
    good, mean = look.good, np.nan_to_num(look.mean)
    total = float(mean.sum())
    if good.all() or total <= 0:
        return
    hidden = float(mean[~good].sum()) / total
    if hidden > 0.5 and good.mean() < 0.5:
        yield (
            finding(
                "inverted-mask",
                "fault",
                f"the mask must be True at good pixels, received one that leaves "
                f"{100 * good.mean():.1f} % of the pixels and hides {100 * hidden:.1f} % of the "
                "counts, which looks inverted; invert it.",
                good_share=float(good.mean()),
                hidden_counts=hidden,
            ),
            None,
        )
