#!/bin/sh
# Build function.zip for the runtime of template.yaml. boto3 is left out: the runtime has it, and encenv seldom needs it.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3.12}   # the runtime's, because it compiles what the runtime loads
encenv=${ENCENV:-../..}        # this project; elsewhere: encenv

rm -rf build function.zip
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --target build \
    --platform manylinux2014_x86_64 --only-binary=:all: "$encenv"
cd build
rm -rf bin boto3* botocore* s3transfer* jmespath* dateutil python_dateutil* six* urllib3*
cp ../function.py .
# Compile now: /var/task is read-only, so every cold start would compile everything again.
"$python" -m compileall -q --invalidation-mode unchecked-hash .
"$python" -m zipfile -c ../function.zip ./*
