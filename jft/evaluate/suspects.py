"""Labels that look wrong: confident learning on features of the pretrained network."""

import csv
import dataclasses
import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from jft.data.pipeline import Batches, read
from jft.data.sources import Source
from jft.devices import start_jax
from jft.errors import DataError, InputError
from jft.evaluate.run import open_data
from jft.models.pixels import normalise
from jft.predict.interpolate import interpolate, pretrained_variables
from jft.predict.predictor import Predictor

FOLDS = 5
TABLE, PICTURES = "suspects.csv", "suspects.png"
SIDE, COLUMNS, ROWS = 160, 6, 4  # of an image on the sheet in pixels, and of the sheet


@dataclass(frozen=True)
class Suspect:
    """An image whose label looks wrong.

    Attributes:
        file: Its name within the data.
        label: The class it has.
        suggestion: The class it looks like.
        probability: Of its label, in [0, 1], by a classifier that did not train on it.
        suggested_probability: Of the suggestion.
        pixels: The image, uint8 [S, S, 3].
    """

    file: str
    label: str
    suggestion: str
    probability: float
    suggested_probability: float
    pixels: npt.NDArray[np.uint8]


FIELDS = [f.name for f in dataclasses.fields(Suspect) if f.name != "pixels"]


def find_suspects(
    run: str | os.PathLike[str], data: Any = None, *, batch_size: int = 64
) -> list[Suspect]:
    """Return the images whose label looks wrong, the most suspicious first.

    Both training and test images are judged. A logistic regression on the features of
    the run's pretrained network, which has seen none of the labels, predicts the images
    of each fifth from those of the other four. An image is suspicious if its
    probability of another class is at least the mean probability that the images of
    that class have of it.

    Source: Northcutt et al. 2021, "Confident Learning", section 3.1,
    https://arxiv.org/abs/1911.00068, with the order by self-confidence of cleanlab.

    Args:
        run: The run's folder.
        data: As for `evaluate_run`.
        batch_size: Images per step.

    Raises:
        InputError: The run or the data cannot be used, the run is not for classes of
            images, or it started from random weights.
    """
    start_jax()
    predictor = Predictor.from_run(run)
    if predictor.task.name != "classification":
        raise InputError(
            f"--suspects judges classes of images, and {run} was trained for "
            f"{predictor.task.name}"
        )
    started = pretrained_variables(run, predictor.task)
    variables = interpolate(started, predictor.variables, 0.0)
    splits = open_data(run, predictor, data)
    sources = (splits.train, splits.test)
    features = np.concatenate(
        [_features(predictor, variables, source, batch_size) for source in sources]
    )
    labels = np.concatenate([np.asarray(source.labels) for source in sources])
    names = splits.class_names
    probabilities = out_of_fold(features, labels, len(names))
    images = [(source, i) for source in sources for i in range(len(source))]
    found: list[Suspect] = []
    for i, suggestion in suspicious(probabilities, labels):
        source, index = images[i]
        found.append(
            Suspect(
                source.keys[index],
                names[labels[i]],
                names[suggestion],
                float(probabilities[i, labels[i]]),
                float(probabilities[i, suggestion]),
                source[index][0],
            )
        )
    return found


def _features(
    predictor: Predictor, variables: Any, source: Source, batch_size: int
) -> npt.NDArray[np.float32]:
    """Return what the head sees of each image of a source, float32 [N, C]."""
    model, preprocess = predictor.model, predictor.preprocess

    @jax.jit
    def features(image: jax.Array) -> jax.Array:
        normal = normalise(image, preprocess)
        maps = jnp.asarray(model.apply(variables, normal, stop=model.stages[-2]))
        return maps.reshape(len(maps), -1, maps.shape[-1]).mean(1)

    batches = [features(b["image"]) for b in read(Batches(source, batch_size))]
    return np.concatenate([np.asarray(batch) for batch in batches])[: len(source)]


def out_of_fold(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.integer], classes: int
) -> npt.NDArray[np.float64]:
    """Return probabilities [N, K] of each image by classifiers that did not see it.

    NaN for the images of a class that has fewer images than two.

    Args:
        features: [N, C].
        labels: Class indices [N].
        classes: K.

    Raises:
        DataError: There are fewer than two classes of two images.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(labels, minlength=classes)
    judged = np.flatnonzero(counts[labels] >= 2)
    if len(np.unique(labels[judged])) < 2:
        raise DataError("--suspects needs at least two classes of two images each")
    found = np.full((len(labels), classes), np.nan)
    count = min(FOLDS, int(counts.max()))
    folds = StratifiedKFold(count, shuffle=True, random_state=0)
    x, y = features[judged].astype(np.float64), labels[judged]
    with warnings.catch_warnings():
        # A class of fewer images than folds is missing from some; 200 steps suffice.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        for train, test in folds.split(x, y):
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=0.01, max_iter=200)
            )
            model.fit(x[train], y[train])
            found[judged[test]] = 0.0
            rows = np.ix_(judged[test], model.classes_)
            found[rows] = model.predict_proba(x[test])
    return found


def suspicious(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer]
) -> list[tuple[int, int]]:
    """Return (image, class it looks like), the least confident label first.

    Args:
        probabilities: [N, K], out of fold; rows of NaN are not judged.
        labels: Class indices [N].
    """
    classes = probabilities.shape[1]
    judged = ~np.isnan(probabilities[:, 0])
    thresholds = np.full(classes, np.inf)
    for k in range(classes):
        own = probabilities[judged & (labels == k), k]
        thresholds[k] = own.mean() if len(own) else np.inf
    confident = np.where(probabilities >= thresholds, probabilities, 0.0)
    looks = confident.argmax(1)
    rows = np.arange(len(labels))
    wrong = judged & (confident[rows, looks] > 0) & (looks != labels)
    order = np.argsort(probabilities[rows, labels], kind="stable")
    return [(int(i), int(looks[i])) for i in order if wrong[i]]


def record(suspect: Suspect) -> dict[str, Any]:
    """Return what there is to write of a suspect: all except its pixels."""
    return {name: getattr(suspect, name) for name in FIELDS}


def table(suspects: Sequence[Suspect]) -> str:
    """Return a CSV table of suspects, one line each."""
    text = io.StringIO()
    lines = csv.DictWriter(text, FIELDS, lineterminator="\n")
    lines.writeheader()
    lines.writerows(map(record, suspects))
    return text.getvalue()


def sheet(suspects: Sequence[Suspect]) -> Image.Image:
    """Return a picture of the first suspects, each with its label and suggestion."""
    shown = suspects[: COLUMNS * ROWS]
    columns, caption = min(COLUMNS, len(shown)), 34
    rows = -(-len(shown) // COLUMNS)
    picture = Image.new("RGB", (columns * SIDE, rows * (SIDE + caption)), "white")
    draw = ImageDraw.Draw(picture)
    for i, one in enumerate(shown):
        x, y = i % COLUMNS * SIDE, i // COLUMNS * (SIDE + caption)
        image = Image.fromarray(one.pixels).resize((SIDE - 4, SIDE - 4))
        picture.paste(image, (x + 2, y + 2))
        for line, text in enumerate((one.label, f"looks like {one.suggestion}")):
            short = text if len(text) <= 25 else f"{text[:22]}..."
            draw.text((x + 4, y + SIDE + 14 * line), short, fill="black")
    return picture
