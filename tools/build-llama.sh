#!/bin/sh
# build-llama.sh - builds libllama once and prints the folder it is installed in.
#
# The source is the folder vendor/llama.cpp of a pinned, checksummed Python source package. The result lies in the
# cache under a key of everything that shapes it (version, flags, compiler, processor, tools/llama), so a second run is
# a look-up, and a cache carried to a machine without network works. Progress goes to stderr.
#
#   PACKLLM_CACHE         the cache folder             (default: $XDG_CACHE_HOME/packllm or ~/.cache/packllm)
#   PACKLLM_LLAMA_FLAGS   further cmake flags          (for instance -DGGML_CUDA=ON)
#   PACKLLM_JOBS          parallel compile jobs        (default: the number of processors)
#   PACKLLM_FETCH_PIP     the command used for pip     (default: python3 -m pip)
#   CC, CXX, CFLAGS, CXXFLAGS as usual
set -eu

PACKAGE=llama-cpp-python
VERSION=0.3.36
SDIST=llama_cpp_python-$VERSION.tar.gz
SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

say() { printf 'build-llama: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ -n "${PACKLLM_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] || die "no cache folder: set HOME, XDG_CACHE_HOME or PACKLLM_CACHE"
cache=${PACKLLM_CACHE:-${XDG_CACHE_HOME:-${HOME:-}/.cache}/packllm}
case $cache in /*) ;; *) cache=$PWD/$cache ;; esac
cc=${CC:-cc} cxx=${CXX:-c++}
command -v "$cc" >/dev/null || die "no C compiler '$cc' (Debian: apt-get install gcc g++)"
command -v "$cxx" >/dev/null || die "no C++ compiler '$cxx' (Debian: apt-get install gcc g++)"

ours=$(cd "$(dirname "$0")" && pwd)/llama # what is put into the library: see ours.cmake there

# Flags. OpenMP is off because one thread pool is shared by all members; RPC lets a member live on other hosts.
flags="-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON
-DGGML_OPENMP=OFF -DGGML_RPC=ON -DGGML_CCACHE=OFF
-DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=OFF
-DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF ${PACKLLM_LLAMA_FLAGS:-}"

# Virtual machines may list AMX without backing it, and the first matrix product then dies with SIGSEGV. No CMake
# option takes it out of a native build, so the compiler is told, where it knows the flag.
no_amx=
for flag in -mno-amx-tile -mno-amx-int8 -mno-amx-bf16; do
    if echo 'int x;' | $cc -Werror $flag -x c -c -o /dev/null - 2>/dev/null; then
        no_amx="$no_amx $flag"
    fi
done

# Where the linker happens to put a function moved a small model's speed by 5 %: each begins a line of the cache.
align=" -falign-functions=64"

# What -march=native means here is what the compiler predefines under it: a list of the processor's features.
features() {
    # shellcheck disable=SC2086 # flags are words
    $cc -march=native $no_amx -dM -E -x c /dev/null 2>/dev/null || $cc -dM -E -x c /dev/null
}
key=$VERSION-$({
    cat "$ours"/*
    echo "$flags$no_amx$align ${CFLAGS:-} ${CXXFLAGS:-}"
    $cc --version | head -n 1
    $cxx --version | head -n 1
    uname -m
    features | sort
} | sha256sum | cut -c 1-12)
prefix=$cache/llama/$key

# An installation appears by one rename, when everything is in it.
if [ -d "$prefix" ]; then
    echo "$prefix"
    exit 0
fi

mkdir -p "$cache/llama" "$cache/downloads" "$cache/work" 2>/dev/null && [ -w "$cache/llama" ] ||
    die "cannot write the cache folder $cache (PACKLLM_CACHE names another)"
command -v cmake >/dev/null || die "no cmake (Debian: apt-get install cmake make)"

# One build at a time. The lock dies with its holder; without flock(1) each run works in a folder of its own.
work=$cache/work/llama-$key
if command -v flock >/dev/null; then
    exec 9>"$cache/llama/.lock"
    if ! flock -n 9; then
        say "another build is under way, waiting for it"
        flock 9
    fi
    if [ -d "$prefix" ]; then
        echo "$prefix"
        exit 0
    fi
else
    work=$work.$$
fi

sdist=$cache/downloads/$SDIST
intact() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$SHA256" ]; }
if ! intact "$sdist"; then
    say "downloading the source of llama.cpp ($PACKAGE $VERSION, 77 MB)"
    rm -rf "$sdist" "$work.download"
    # shellcheck disable=SC2086 # the command may hold words
    ${PACKLLM_FETCH_PIP:-python3 -m pip} download --quiet --no-deps --no-binary "$PACKAGE" \
        --dest "$work.download" "$PACKAGE==$VERSION" >&2 ||
        die "the download failed: check the network, then run this again"
    intact "$work.download/$SDIST" || die "$SDIST has a wrong checksum: the package index served another file"
    mv "$work.download/$SDIST" "$sdist"
    rmdir "$work.download"
fi

# The work folder outlives an interrupted run, so the next one continues where it stopped.
mkdir -p "$work"
if [ ! -d "$work/source" ]; then
    say "unpacking"
    rm -rf "$work/source.part"
    mkdir "$work/source.part"
    top=llama_cpp_python-$VERSION/vendor/llama.cpp
    (cd "$work/source.part" && tar -xzf "$sdist" --strip-components=3 --no-same-owner \
        $top/CMakeLists.txt $top/cmake $top/ggml $top/include $top/src $top/vendor $top/models $top/LICENSE) ||
        die "unpacking into $work failed: is the disk full?"
    mv "$work/source.part" "$work/source"
fi

jobs=${PACKLLM_JOBS:-$(nproc 2>/dev/null || echo 2)}
# A run that was killed may have left half-written objects; make takes them for done. They are among the newest.
if [ -d "$work/build" ]; then
    find "$work/build" -name '*.a' -exec rm -f {} +
    find "$work/build" -name '*.o' -printf '%T@ %p\n' | sort -rn | head -n $((2 * jobs)) | cut -d ' ' -f 2- |
        while read -r object; do rm -f "$object"; done
fi

say "building libllama once (about two minutes on two cores); log: $work/log"
log=$work/log
# The cache's folders stay out of the library (assertions print file names), if the flag can be spelt.
case $work in *[[:space:]]*) hide= ;; *) hide=-ffile-prefix-map=$work/source/= ;; esac
failed() { tail -n 20 "$log" >&2; die "the build failed; the whole log is $log"; }
# shellcheck disable=SC2086 # flags are words
cmake -S "$work/source" -B "$work/build" -G "Unix Makefiles" $flags \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
    -DCMAKE_C_FLAGS="${CFLAGS:-}$no_amx$align $hide" -DCMAKE_CXX_FLAGS="${CXXFLAGS:-}$no_amx$align $hide" \
    -DCMAKE_PROJECT_TOP_LEVEL_INCLUDES="$ours/ours.cmake" \
    -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib >"$log" 2>&1 || failed
# make's percentages, one line for each tenth
{ cmake --build "$work/build" --target llama -j "$jobs" 2>&1 && : >"$work/built"; } | tee -a "$log" |
    awk '/^\[ *[0-9]+%\]/ { p = substr($0, 2, 3) + 0; if (p >= next_p) { print "build-llama: " p " %"; fflush(); next_p = p - p % 10 + 10 } }' >&2
[ -f "$work/built" ] || failed

say "installing into $prefix"
rm -rf "$work/stage"
DESTDIR=$work/stage cmake --install "$work/build" >>"$log" 2>&1 || failed
share=$work/stage$prefix/share/llama
mkdir -p "$share/vocab"
# Real vocabularies without weights, with tokenizer cases: tests of alignment and bytes read them.
cp "$work/source/models/"ggml-vocab-* "$share/vocab/"
cp "$work/source/LICENSE" "$share/"
mv "$work/stage$prefix" "$prefix"
rm -rf "$work"
echo "$prefix"
