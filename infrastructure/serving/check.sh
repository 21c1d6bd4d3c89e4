#!/bin/sh
# The files of this folder, by their own checkers: part of `make check`, from the repository's root. A warning fails.
set -eu
here=infrastructure/serving

.venv/bin/hadolint --failure-threshold style "$here/Dockerfile" "$here/model.Dockerfile"
# All but kustomization.yaml, which is kustomize's and no Kubernetes resource.
find "$here/kubernetes" -name '*.yaml' ! -name kustomization.yaml -exec .venv/bin/kubernetes-validate --strict --quiet {} +

dclint='npx --yes dclint@2.2.2' # for which the node 18 of Debian 12 is enough
if $dclint --version >/dev/null; then
  $dclint --max-warnings 0 --quiet "$here/compose.yml"
else
  echo "skipped: $here/compose.yml was not checked, for node or its package dclint could not be had (above)"
fi

if command -v nginx >/dev/null || test -x /usr/sbin/nginx; then
  .venv/bin/python -m pytest -q --no-header -k nothing_to_say tests/story/test_behind_nginx.py
else
  echo "skipped: $here/nginx/nginx.conf was not checked, for nginx is not here and could not be installed"
fi
