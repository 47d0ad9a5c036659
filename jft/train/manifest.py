"""What a run's numbers depend on, for `manifest.json`."""

from typing import Any

from jft import config as configs
from jft.train.setup import Setup


def inputs(setup: Setup) -> dict[str, Any]:
    """Return seed, weights and data with their digests, as JSON values."""
    report = setup.pretrained.report
    return {
        "seed": setup.config.seed,
        "not_repeatable": setup.rules.objects.names(),
        "fingerprint": configs.fingerprint(setup.config),
        "weights": {
            "source": report.source,
            **setup.pretrained.about,
            "sha256": report.sha256,
            "reinitialised": report.reinitialised,
        },
        "data": {
            "source": setup.config.data,
            "fingerprint": setup.splits.fingerprint,
            "train": len(setup.splits.train),
            "test": len(setup.splits.test),
        },
    }
