#!/bin/sh
# encenv hook: nobody commits a plaintext secret. Made by encenv hook install, removed by encenv hook uninstall.
python=@PYTHON@
previous="${0%.legacy}.before-encenv"
# If pre-commit's hook and this one have each kept the other, they would call each other for ever.
if test -n "$PRE_COMMIT_RUNNING_LEGACY" && grep -q pre-commit.com "$previous" 2>/dev/null; then previous=; fi
if test -x "$previous"; then "$previous" "$@" || exit $?; fi
test "$(git config --bool encenv.hook)" = true || exit 0
# -P: nothing is imported from the current folder, which may be anybody's repository.
if "$python" -P -c 'import encenv' 2>/dev/null; then exec "$python" -P -m encenv check --staged --quiet; fi
if command -v encenv >/dev/null 2>&1; then exec encenv check --staged --quiet; fi
echo "encenv: error: encenv is not found, so what is staged is not checked" >&2
echo "encenv: hint: activate the environment that it is installed in, and run: encenv hook install" >&2
exit 1
