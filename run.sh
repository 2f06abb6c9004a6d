#!/usr/bin/env bash
# Sets up what is missing, quietly, and then is `batch ARGS…`. `./run.sh test` runs the tests.
#
#   ./run.sh ARGS…               batch ARGS…
#   ./run.sh test [PYTEST ARGS]  the tests; with --long those that take minutes, too
#   ./run.sh extra NAME          install what only few need, such as keyring; batch does it by itself when it is needed
#   ./run.sh lock                pin the newest dependencies anew (for developers)
#
# BATCH_WINDOW=1 waits for Enter at the end, before its window closes.
# Needs bash and Python 3.11 or newer (BATCH_PYTHON names one). The first start installs the pinned dependencies into
# .venv beside this file; after that nothing is installed and nothing is asked of the network until a lock file changes.
set -euo pipefail

if [[ ${BATCH_WINDOW-} == 1 ]]; then # set by what is double-clicked: its window would close over the last screen
    trap : INT                       # Ctrl-C ends what runs inside of the window, not the wait
    code=0
    BATCH_WINDOW='' "$BASH" "$0" "$@" || code=$?
    if [[ -t 0 ]]; then read -r -p 'Press Enter to close this window. ' || true; fi
    exit "$code"
fi

this=${BASH_SOURCE[0]}
while [[ -L $this ]]; do # a link to this file, such as ~/bin/batch; not every readlink has -f
    link=$(readlink "$this")
    [[ $link == /* ]] || link=$(dirname -- "$this")/$link
    this=$link
done
here=$(cd -- "$(dirname -- "$this")" && pwd -P)
venv=$here/.venv
python=$venv/bin/python

fail() {
    printf '%s\n' "$@" >&2
    exit 2
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in ${BATCH_PYTHON:+"$BATCH_PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null && is_new_enough "$name"; then
            command -v "$name"
            return
        fi
    done
    fail "batch needs Python 3.11 or newer, and found none. Install it, or name it:  BATCH_PYTHON=/path/to/python3 ./run.sh"
}

# A stamp says what is installed where; it is compared without starting any program.
wanted() { printf '%s\n%s' "$here" "$(<"$1")"; }
is_installed() { [[ -x $python && -f $venv/$2.stamp && $(<"$venv/$2.stamp") == "$(wanted "$1")" ]]; }

hold_lock() { # one set-up at a time, also when two jobs start together on a fresh machine
    local tries=0
    until mkdir "$here/.setup.lock" 2>/dev/null; do
        if [[ -f $here/.setup.lock/pid ]] && ! kill -0 "$(<"$here/.setup.lock/pid")" 2>/dev/null; then
            rm -rf "$here/.setup.lock"
            continue
        fi
        ((++tries < 1200)) || fail "Another start has been setting up for 10 minutes. If there is none:  rm -r $here/.setup.lock"
        sleep 0.5
    done
    printf '%s' $$ >"$here/.setup.lock/pid"
    trap 'rm -rf "$here/.setup.lock"' EXIT
}

make_venv() {
    local base log=$1
    base=$(find_python)
    rm -rf "$venv"
    if ! "$base" -m venv "$venv" >>"$log" 2>&1; then
        rm -rf "$venv"
        fail "Python cannot make a virtual environment: $(tail -n 3 "$log")" "On Debian and Ubuntu:  apt install python3-venv"
    fi
    # a .pth file makes the package importable from everywhere, without a build step
    "$python" -c 'import sys, sysconfig, pathlib; pathlib.Path(sysconfig.get_path("purelib"), "batch.pth").write_text(sys.argv[1])' "$here"
}

install() { # LOCK-FILE NAME
    is_installed "$1" "$2" && return
    [[ -w $here ]] || fail "$here: it cannot be written, so nothing can be installed there."
    hold_lock
    if ! is_installed "$1" "$2"; then
        local log=$here/.setup.lock/log
        [[ -t 2 ]] && printf 'Setting up (first start, about a minute) …\n' >&2
        if [[ ! -x $python ]] || ! is_new_enough "$python" || [[ $(head -n 1 "$venv/run.stamp" 2>/dev/null) != "$here" ]]; then
            make_venv "$log"
        fi
        if ! "$python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes --no-deps -r "$1" >>"$log" 2>&1; then
            tail -n 15 "$log" >&2
            fail "The dependencies could not be installed (see above). Is there a network, or a package index that pip knows?"
        fi
        wanted "$1" >"$venv/$2.stamp"
    fi
    rm -rf "$here/.setup.lock"
    trap - EXIT
}

install_extras() { # --all but the cluster, which long tests alone need, or without it those that are there, which keep up with their lock files
    local lock name
    for lock in "$here"/requirements-*.lock; do
        name=${lock##*/requirements-}
        name=extra-${name%.lock}
        if [[ ${1-} == --all && $name != extra-cluster || -f $venv/$name.stamp ]]; then install "$lock" "$name"; fi
    done
}

write_in_memory() { # what the tests write, where 2 GB are free and programs start: a run waits for the disk 50 times
    local memory=/dev/shm program
    [[ -z ${TMPDIR-} && -w $memory && $(df -Pk "$memory" | awk 'NR == 2 { print $4 }') -gt 2000000 ]] || return 0
    program=$(mktemp "$memory/batch.XXXXXXXX") || return 0
    printf '#!/bin/sh\n' >"$program" && chmod 700 "$program"
    if "$program" 2>/dev/null; then export TMPDIR=$memory; fi
    rm -f "$program"
}

install "$here/requirements.lock" run
install_extras

case ${1-} in
test)
    shift
    install "$here/tests/requirements.lock" test
    install_extras --all
    cd "$here"
    unset PYTHONDONTWRITEBYTECODE # or each process compiles all modules anew
    arguments=()
    if [[ $# == 0 ]]; then # all of them: three at once on two cores, since some of their time is waiting
        write_in_memory
        arguments=(--numprocesses 3 --dist worksteal)
    fi
    for argument in "$@"; do
        if [[ $argument == --long ]]; then
            install "$here/requirements-cluster.lock" extra-cluster
            install "$here/tests/requirements-long.lock" long
            install "$here/tests/requirements-browser.lock" browser # nothing of a browser itself, which the system has
            arguments+=(-m "long or not long")
        else
            arguments+=("$argument")
        fi
    done
    exec "$python" -m pytest ${arguments[@]+"${arguments[@]}"}
    ;;
extra)
    [[ -f $here/requirements-${2-}.lock ]] || fail "There is no extra \"${2-}\"."
    install "$here/requirements-$2.lock" "extra-$2"
    exit
    ;;
lock)
    install "$here/tests/requirements.lock" test
    cd "$here"
    exec "$python" tests/lock.py
    ;;
esac

export BATCH_COMMAND=${BATCH_COMMAND:-$0} BATCH_SETUP=$here/run.sh
exec "$python" -P -X utf8 -m batch "$@" # file names are UTF-8 to polars, whatever the locale says
