#!/bin/sh
# git runs this text to show (textconv FILE) and to merge (merge BASE OURS THEIRS MARKER_SIZE PATH) a .env file. It is
# a part of git's configuration, so it still works when encenv is gone.
python=@PYTHON@

encenv_hook() {
    # -P: nothing is imported from the current folder, which may be anybody's repository.
    if "$python" -P -c 'import encenv' 2>/dev/null; then
        "$python" -P -m encenv hook "$@"
    elif command -v encenv >/dev/null 2>&1; then
        encenv hook "$@"
    else
        return 127
    fi
}

case $1 in
textconv)
    encenv_hook textconv -- "$2" && exit 0
    # Without encenv, a diff shows only that the file has changed.
    test $? -eq 127 && echo "not shown: encenv is not found ($(git hash-object --no-filters -- "$2"))"
    ;;
merge)
    shift
    encenv_hook merge -- "$@" && exit 0
    # A driver that fails and leaves no conflict markers has merged nothing: ours is unchanged, and git would take that
    # for the result, without the changes of theirs. So git merges the file as text.
    grep -q '^<<<<' "$2" && exit 1
    git merge-file -L ours -L base -L theirs --marker-size="$4" "$2" "$1" "$3"
    ;;
esac
