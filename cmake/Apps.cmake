# Apps.cmake - programs and examples. They link the static library and see packllm.h, apps/common and
# src/base; nothing else of src/ is on their include path.

if(NOT TARGET packllm_static)
  return()
endif()

file(GLOB _cli CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/apps/cli/*.c)
if(_cli)
  add_executable(packllm_cli ${_cli})
  set_target_properties(packllm_cli PROPERTIES OUTPUT_NAME packllm
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} LINKER_LANGUAGE C)
  packllm_room_includes(packllm_cli common eval server)
  packllm_embed(packllm_cli ${CMAKE_SOURCE_DIR}/tools/fetch-models.sh fetch_models)
  if(TARGET apart_eval)
    target_link_libraries(packllm_cli PRIVATE apart_eval)
  endif()
  if(TARGET apart_common)
    target_link_libraries(packllm_cli PRIVATE apart_common)
  endif()
  if(TARGET apart_server)
    target_link_libraries(packllm_cli PRIVATE apart_server)
  endif()
  target_link_libraries(packllm_cli PRIVATE packllm_static)
endif()

# Examples are outsiders: the public header and the library, nothing more.
file(GLOB _examples CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/examples/*.c)
foreach(_source IN LISTS _examples)
  get_filename_component(_name ${_source} NAME_WE)
  add_executable(example_${_name} ${_source})
  set_target_properties(example_${_name} PROPERTIES OUTPUT_NAME ${_name}
    RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/examples LINKER_LANGUAGE C)
  target_link_libraries(example_${_name} PRIVATE packllm_static)
endforeach()
