#!/bin/sh
# Build function.zip for the runtime of template.yaml. boto3 stays out of it: the runtime has it, and encenv seldom needs it.
set -eu
cd "$(dirname "$0")"
python=${PYTHON:-python3.12}   # the runtime's: what is compiled here is loaded there
encenv=${ENCENV:-../..}        # this project; elsewhere: encenv

rm -rf build function.zip
"$python" -m pip install --quiet --disable-pip-version-check --no-compile --target build \
    --platform manylinux2014_x86_64 --only-binary=:all: "$encenv"
cd build
rm -rf bin boto3* botocore* s3transfer* jmespath* dateutil python_dateutil* six* urllib3*
cp ../function.py .
# Compiled now, for /var/task cannot be written to: else every cold start would compile everything again.
"$python" -m compileall -q --invalidation-mode unchecked-hash .
"$python" -m zipfile -c ../function.zip ./*
