"""Serves optuna-dashboard over a storage, without a change of either: dashboard.py STORAGE-HOST HOST PORT."""

from __future__ import annotations

import sys

import optuna_dashboard
from optuna.storages import GrpcStorageProxy


def main() -> None:
    """Serves until it is killed."""
    storage, host, port = sys.argv[1:]
    optuna_dashboard.run_server(GrpcStorageProxy(host=storage, port=13000), host=host, port=int(port))


if __name__ == "__main__":
    main()
