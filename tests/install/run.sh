#!/bin/sh
# run.sh - installs the build PACKLLM_BUILD into a folder of its own, moves it (an installation must not know where
# it was made), and builds and runs a consumer through pkg-config and CMake, shared and static.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
: "${PACKLLM_BUILD:?names the build folder}"
cc=${CC:-cc}
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT

cmake --install "$PACKLLM_BUILD" --prefix "$temp/made" >"$temp/log" || { cat "$temp/log"; exit 1; }
mv "$temp/made" "$temp/moved"
prefix=$temp/moved
libdir=$(dirname "$(find "$prefix" -name libpackllm.a)")
for file in "$libdir/libpackllm.so" "$libdir/pkgconfig/packllm.pc" "$prefix/include/packllm/packllm.h" "$prefix/bin/packllm" \
    "$prefix/lib/systemd/system/packllm.service" "$prefix/share/doc/packllm/examples/serve.ini" \
    "$prefix/share/man/man1/packllm.1" "$prefix/share/man/man1/packllm-score.1" "$prefix/share/man/man1/packllm-completion.1" \
    "$prefix/share/bash-completion/completions/packllm"; do
    [ -e "$file" ] || { echo "not installed: $file"; exit 1; }
done
export PKG_CONFIG_PATH="$libdir/pkgconfig" LD_LIBRARY_PATH="$libdir"

run() { # what, program
    printf '%s: ' "$1"
    "$2"
}

# The header alone is strict C17, and C++ can read it.
flags=$(pkg-config --cflags packllm)
for std in c99 c17; do
    $cc -std=$std -Wall -Wextra -Wpedantic -Werror $flags -fsyntax-only "$here/consumer.c"
done
if command -v "${CXX:-c++}" >/dev/null; then
    ${CXX:-c++} -std=c++17 -Wall -Wextra -Werror -x c++ $flags -fsyntax-only "$here/consumer.c"
fi

$cc $flags "$here/consumer.c" -o "$temp/shared" $(pkg-config --libs packllm)
run "pkg-config, shared" "$temp/shared"
ldd "$temp/shared" | grep -q libpackllm || { echo "the shared consumer does not use libpackllm.so"; exit 1; }

# The archives by name, since the linker would take libpackllm.so where it finds both.
$cc $flags "$here/consumer.c" -o "$temp/static" $(pkg-config --static --libs packllm | sed 's/-lpackllm /-l:libpackllm.a /')
run "pkg-config, static" "$temp/static"
! ldd "$temp/static" | grep -q libpackllm || { echo "the static consumer uses libpackllm.so"; exit 1; }

cmake -S "$here" -B "$temp/consumer" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" >"$temp/log" 2>&1 &&
    cmake --build "$temp/consumer" >>"$temp/log" 2>&1 || { cat "$temp/log"; exit 1; }
run "CMake, shared" "$temp/consumer/consumer_shared"
run "CMake, static" "$temp/consumer/consumer_static"

# What the shared library shows is the public header's, and the program says its version too.
others=$(nm -D --defined-only "$libdir/libpackllm.so" | awk '{ print $3 }' | grep -v '^packllm_' || true)
[ -z "$others" ] || { echo "libpackllm.so shows: $others"; exit 1; }
