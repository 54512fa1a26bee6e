#!/bin/sh
# Remove what `make` made: the environment, collected files, caches, and the private servers' data.
set -u
if [ -f .state/running.json ] && kill -0 "$(sed 's/.*"pid": *\([0-9]*\).*/\1/' .state/running.json)" 2>/dev/null; then
    echo "Coppice is running from .state. Stop it first." >&2
    exit 1
fi
# Root's PostgreSQL may keep its data elsewhere (config/dev/private_servers.py); the link says where.
if [ -L .state/postgres ]; then
    rm -rf "$(readlink .state/postgres)"
fi
rm -rf .venv .state staticfiles .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
find . -name __pycache__ -type d -prune -exec rm -rf {} +
