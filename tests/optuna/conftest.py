"""Clusters for the tests, made once for all of a kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cluster import Cluster


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one coordinator."""
    cluster = Cluster(tmp_path_factory.mktemp("one"), 1)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of three."""
    cluster = Cluster(tmp_path_factory.mktemp("three"), 3, block=1)
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Another of three, which has sweeps as well."""
    cluster = Cluster(tmp_path_factory.mktemp("mixed"), 3, block=3)
    yield cluster
    cluster.close()
