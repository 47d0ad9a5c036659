"""Fetches weights that were found: as files on this machine, checked."""

from dataclasses import replace
from pathlib import Path

from jft.errors import InputError
from jft.weights.description import Description
from jft.weights.download import Link, fetch_file, intact
from jft.weights.find import Found
from jft.weights.repository import (
    Repository,
    described_beside,
    fetch_repository,
    weights_in,
)


def fetch(found: Found) -> Description:
    """Return weights as files on this machine; download and check them if needed."""
    known, location = found.published, found.location
    path, described = Path(), Description()
    if isinstance(location, Repository):
        path, described = fetch_repository(location, described=known is not None)
    elif isinstance(location, Link):
        path = fetch_file(location)
    elif location and found.is_run:
        path = location
    elif location:
        path = weights_in(location)
        described = described_beside(location)
    if known:
        described = replace(
            described,
            model=known.model,
            preprocess=known.preprocess,
            class_names=known.class_names or described.class_names,
            licence=known.licence,
        )
        _check_published(found, path)
    return replace(described, path=path, about=_about(found, path, described.licence))


def _about(found: Found, path: Path, licence: str) -> dict[str, str]:
    known = found.published
    facts = {"source": found.name, "licence": licence}
    if isinstance(found.location, Link):
        facts["url"] = found.location.url
    if isinstance(found.location, Repository):
        facts |= {"url": found.location.page, "revision": path.parent.name}
    if known:
        facts["licence"], facts["labels"] = known.licence, known.labels
        facts["top1"] = "" if known.top1 is None else str(known.top1)
    return {name: fact for name, fact in facts.items() if fact}


def _check_published(found: Found, path: Path) -> None:
    known, link = found.published, found.location
    done = isinstance(link, Link) and known and link.digest == known.digest
    if known and known.digest and not done and not intact(path, known.digest):
        raise InputError(
            f"{path} is not the file that was published under this name, "
            f"{known.name} ({known.digest}): download that file, or rename yours"
        )
