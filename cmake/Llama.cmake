# Llama.cmake - finds libllama and tells the rest of the build four things:
#   PACKLLM_HAVE_LLAMA      ON or OFF
#   PACKLLM_LLAMA_INCLUDE   where llama.h lies (for the one file that includes it, and for oracles in tests/model)
#   PACKLLM_LLAMA_TARGETS   what to link
#   PACKLLM_LLAMA_PREFIX    the installation's folder (its share/ holds real vocabularies for tests)

set(PACKLLM_HAVE_LLAMA OFF)
set(PACKLLM_LLAMA_INCLUDE "")
set(PACKLLM_LLAMA_TARGETS "")
set(PACKLLM_LLAMA_PREFIX "")

if(PACKLLM_LLAMA STREQUAL "off")
  return()
elseif(PACKLLM_LLAMA STREQUAL "source")
  file(GLOB _ours ${CMAKE_SOURCE_DIR}/tools/llama/*)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tools/build-llama.sh ${_ours})
  # The script prints the folder of the finished installation; with a filled cache it is a look-up.
  message(STATUS "libllama: asking tools/build-llama.sh (a first build takes minutes)")
  execute_process(
    COMMAND sh ${CMAKE_SOURCE_DIR}/tools/build-llama.sh
    OUTPUT_VARIABLE _prefix OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE _status)
  if(NOT _status EQUAL 0)
    message(FATAL_ERROR "libllama could not be built (see above); "
      "-DPACKLLM_LLAMA=system uses an installed one, -DPACKLLM_LLAMA=off builds on fake members only")
  endif()
  # A cache of another key leaves paths behind; the script's answer is the only one that counts.
  unset(llama_DIR CACHE)
  unset(ggml_DIR CACHE)
  unset(llama_LIBRARY CACHE)
  find_package(llama REQUIRED CONFIG PATHS ${_prefix} NO_DEFAULT_PATH)
elseif(PACKLLM_LLAMA STREQUAL "system")
  find_package(llama REQUIRED CONFIG)
else()
  message(FATAL_ERROR "PACKLLM_LLAMA is '${PACKLLM_LLAMA}': it must be source, system or off")
endif()

# llama's own targets ask for a C++ link; ours stay C and name the C++ runtime themselves.
foreach(_target llama ggml::ggml-cpu ggml::ggml-rpc)
  if(TARGET ${_target})
    set_target_properties(${_target} PROPERTIES IMPORTED_LINK_INTERFACE_LANGUAGES "C")
  endif()
endforeach()
get_target_property(PACKLLM_LLAMA_INCLUDE llama INTERFACE_INCLUDE_DIRECTORIES)
get_target_property(_library llama IMPORTED_LOCATION)
get_filename_component(PACKLLM_LLAMA_LIBDIR ${_library} DIRECTORY)
get_filename_component(PACKLLM_LLAMA_PREFIX ${PACKLLM_LLAMA_INCLUDE} DIRECTORY)
# Link-only: nobody who links libpackllm gets llama.h on the include path.
set(PACKLLM_LLAMA_TARGETS $<LINK_ONLY:llama> stdc++)
set(PACKLLM_HAVE_LLAMA ON)
message(STATUS "libllama: ${PACKLLM_LLAMA_PREFIX}")
