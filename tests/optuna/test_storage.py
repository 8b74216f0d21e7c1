"""Optuna's own storage tests, unchanged, by its own client."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest
from cluster import Cluster
from optuna.storages import GrpcStorageProxy
from optuna.testing.pytest_storages import StorageTestCase

from heats.optuna import HeatsStorage

warnings.filterwarnings("ignore", message=".*experimental.*")


def _emptied(host: str) -> GrpcStorageProxy:
    """The storage as the tests expect to find it."""
    storage = GrpcStorageProxy(host=host, port=13000)
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)
    return storage


class TestOneCoordinator(StorageTestCase):
    """Against a cluster of one."""

    @pytest.fixture
    def storage(self, one: Cluster) -> Iterator[GrpcStorageProxy]:
        storage = _emptied(one.hosts[0])
        yield storage
        storage.close()


class TestAllOfThree(StorageTestCase):
    """The same through the client of Heats, which knows all three."""

    @pytest.fixture
    def storage(self, three: Cluster) -> Iterator[GrpcStorageProxy]:
        _emptied(three.hosts[0]).close()
        storage = HeatsStorage(*three.hosts)
        yield storage
        storage.close()


class TestFollowerOfThree(StorageTestCase):
    """Against three replicas, through one that does not lead."""

    @pytest.fixture
    def storage(self, three: Cluster) -> Iterator[GrpcStorageProxy]:
        follower = (three.leader() + 1) % 3
        storage = _emptied(three.hosts[follower])
        yield storage
        storage.close()
