# Tests.cmake - finds the tests by their names and gives each the include path of the room it is about.
#   tests/unit/test_<room>_<noun>.c, tests/property/...   cmocka; labels unit, property
#   tests/model/test_<room>_<noun>.c                      tiny real models; label model; may include llama.h
#   tests/cli/, tests/server/, tests/pack/test_*.py       python3 with unittest; labels cli, server, pack
#   tests/tools/test_*.py                                of tools/, the study and the independent check; label tools
#   tests/golden/test_*.c, test_*.py                      against recorded results; label golden
#   tests/fuzz/fuzz_*.c                                   libFuzzer targets, or a replay of their corpus; label fuzz
#   tests/torture/test_*.py                               the server under mixed requests; label torture
#   tests/install/run.sh                                  label install
# A test that leaves with 77 is counted as skipped.

if(NOT TARGET packllm_static)
  return()
endif()
set(_tests ${CMAKE_SOURCE_DIR}/tests)
set(PACKLLM_SHARED $ENV{PACKLLM_SHARED})
if(NOT PACKLLM_SHARED)
  set(PACKLLM_SHARED ${CMAKE_SOURCE_DIR}/../shared)
endif()
set(_environment PACKLLM=${CMAKE_BINARY_DIR}/packllm PACKLLM_SHARED=${PACKLLM_SHARED}
  PACKLLM_SOURCE=${CMAKE_SOURCE_DIR} PACKLLM_BUILD=${CMAKE_BINARY_DIR}
  PACKLLM_LLAMA=${PACKLLM_LLAMA} PACKLLM_LLAMA_PREFIX=${PACKLLM_LLAMA_PREFIX}
  UBSAN_OPTIONS=print_stacktrace=1)

function(packllm_test_properties NAME LABEL TIMEOUT)
  set_tests_properties(${NAME} PROPERTIES LABELS ${LABEL} TIMEOUT ${TIMEOUT} SKIP_RETURN_CODE 77
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR} ENVIRONMENT "${_environment}")
endfunction()

# The file's name says the room: test_<room>_<noun>. The rooms it and its needs offer are what it sees.
function(packllm_test_includes TARGET NAME)
  string(REGEX MATCH "^(test|fuzz)_([a-z0-9]+)" _ ${NAME})
  set(room ${CMAKE_MATCH_2})
  get_property(known GLOBAL PROPERTY packllm_room_${room}_NEEDS SET)
  if(NOT known)
    message(FATAL_ERROR "${NAME}.c: no room is called '${room}'; tests are named test_<room>_<noun>.c")
  endif()
  packllm_room_includes(${TARGET} ${room})
  target_include_directories(${TARGET} PRIVATE ${CMAKE_SOURCE_DIR}/tests/support)
  if(TARGET apart_${room})
    target_link_libraries(${TARGET} PRIVATE apart_${room})
  endif()
endfunction()

find_library(CMOCKA_LIBRARY cmocka)
if(NOT CMOCKA_LIBRARY)
  message(STATUS "cmocka was not found: no C tests (Debian: libcmocka-dev)")
endif()

# What test files share: the top room's view, since a support file may serve any room.
file(GLOB _support CONFIGURE_DEPENDS ${_tests}/support/*.c)
if(_support AND CMOCKA_LIBRARY)
  add_library(tests_support STATIC ${_support})
  packllm_room_includes(tests_support pack)
  target_include_directories(tests_support PRIVATE ${_tests}/support)
endif()

function(packllm_c_tests FOLDER TIMEOUT)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${FOLDER}/test_*.c)
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WE)
    set(target ${FOLDER}_${name})
    add_executable(${target} ${source})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name} LINKER_LANGUAGE C
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/${FOLDER})
    packllm_test_includes(${target} ${name})
    if(TARGET tests_support)
      target_link_libraries(${target} PRIVATE tests_support)
    endif()
    if(FOLDER STREQUAL "model")
      target_include_directories(${target} PRIVATE ${PACKLLM_LLAMA_INCLUDE})
    endif()
    target_link_libraries(${target} PRIVATE packllm_static ${CMOCKA_LIBRARY})
    add_test(NAME ${FOLDER}/${name} COMMAND ${target})
    packllm_test_properties(${FOLDER}/${name} ${FOLDER} ${TIMEOUT})
  endforeach()
endfunction()

function(packllm_python_tests FOLDER TIMEOUT)
  if(NOT TARGET packllm_cli)
    return()
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/${FOLDER}/test_*.py)
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WE)
    add_test(NAME ${FOLDER}/${name} COMMAND python3 -B ${source})
    packllm_test_properties(${FOLDER}/${name} ${FOLDER} ${TIMEOUT})
  endforeach()
endfunction()

if(CMOCKA_LIBRARY)
  packllm_c_tests(unit 300)
  packllm_c_tests(property 600)
  packllm_c_tests(golden 300)
  if(PACKLLM_HAVE_LLAMA)
    packllm_c_tests(model 600)
  endif()
endif()
packllm_python_tests(cli 600)
packllm_python_tests(server 900)
packllm_python_tests(golden 600)
packllm_python_tests(torture 1800)
packllm_python_tests(tools 600)
if(PACKLLM_HAVE_LLAMA)
  packllm_python_tests(pack 2400)
endif()

# Fuzz targets. Without libFuzzer the same function is run over the kept inputs, so that what a fuzzer
# once found is tested in every build.
file(GLOB _fuzz CONFIGURE_DEPENDS ${_tests}/fuzz/fuzz_*.c)
foreach(_source IN LISTS _fuzz)
  get_filename_component(_name ${_source} NAME_WE)
  string(REGEX REPLACE "^fuzz_" "" _corpus ${_name})
  add_executable(${_name} ${_source})
  set_target_properties(${_name} PROPERTIES LINKER_LANGUAGE C
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/fuzz)
  packllm_test_includes(${_name} ${_name})
  target_link_libraries(${_name} PRIVATE packllm_static)
  if(PACKLLM_FUZZ)
    target_link_options(${_name} PRIVATE -fsanitize=fuzzer)
    add_test(NAME fuzz/${_name} COMMAND ${_name} -runs=0 ${_tests}/fuzz/corpus/${_corpus})
  else()
    target_sources(${_name} PRIVATE ${CMAKE_SOURCE_DIR}/cmake/fuzz_replay.c)
    add_test(NAME fuzz/${_name} COMMAND ${_name} ${_tests}/fuzz/corpus/${_corpus})
  endif()
  packllm_test_properties(fuzz/${_name} fuzz 300)
endforeach()

if(TARGET packllm_shared AND NOT PACKLLM_COVERAGE)
  add_test(NAME install/consumers COMMAND sh ${_tests}/install/run.sh)
  packllm_test_properties(install/consumers install 300)
endif()
