# Flags.cmake - language, warnings, optimisation and sanitizers, for our own code only.

set(CMAKE_C_STANDARD 17)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
# No -DNDEBUG: assert() guards programmer errors in released programs too.
set(CMAKE_C_FLAGS_RELEASE "-O2 -g")

# Floating point: products are never contracted into fused ones and -ffast-math is out, so that the
# same input gives the same bits with gcc, clang and every processor level.
set(_flags
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wdouble-promotion -Wstrict-prototypes
  -Wmissing-prototypes -Wundef -Wvla -Wcast-qual -Wformat=2
  -ffp-contract=off -fvisibility=hidden -fno-common)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  list(APPEND _flags -Wno-string-conversion) # assert(!"what went wrong") is our way to say unreachable
endif()
if(PACKLLM_WERROR)
  list(APPEND _flags -Werror)
endif()
# Builds leave no folder of the building machine in the program (assert prints __FILE__).
list(APPEND _flags -ffile-prefix-map=${CMAKE_SOURCE_DIR}/= -ffile-prefix-map=${CMAKE_BINARY_DIR}/=)

if(PACKLLM_NATIVE)
  include(CheckCCompilerFlag)
  check_c_compiler_flag(-march=native PACKLLM_HAS_MARCH_NATIVE)
  if(PACKLLM_HAS_MARCH_NATIVE)
    list(APPEND _flags -march=native)
  endif()
endif()

set(_link -Wl,--as-needed)
if(NOT PACKLLM_SANITIZE STREQUAL "none")
  set(_san -fsanitize=${PACKLLM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  list(APPEND _flags ${_san})
  list(APPEND _link ${_san})
endif()
if(PACKLLM_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "PACKLLM_FUZZ needs clang: configure with -DCMAKE_C_COMPILER=clang")
  endif()
  list(APPEND _flags -fsanitize=fuzzer-no-link)
  list(APPEND _link -fsanitize=fuzzer-no-link)
endif()
if(PACKLLM_COVERAGE)
  list(APPEND _flags --coverage -O0)
  list(APPEND _link --coverage)
endif()

add_compile_options(${_flags})
add_compile_definitions(_POSIX_C_SOURCE=200809L)
add_link_options(${_link})

find_package(Threads REQUIRED)
