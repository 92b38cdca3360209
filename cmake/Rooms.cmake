# Rooms.cmake - packllm_room(NAME [NEEDS room...] [FOLDER dir] [APART]): one room, one library.
#
# The wall: a room's include path holds one folder for itself and one for each room that it needs,
# directly or through those. Each such folder, build/rooms/<room>/, contains a single link <room> to
# the room's sources, so `#include "solve/gap.h"` compiles only where NEEDS lets it.
# APART keeps a room out of libpackllm (the programs' own rooms).
# A room without sources is skipped, but its name and its needs are known.

set(PACKLLM_ROOMS "")

function(packllm_room NAME)
  cmake_parse_arguments(ROOM "APART" "FOLDER" "NEEDS" ${ARGN})
  if(NOT ROOM_FOLDER)
    set(ROOM_FOLDER src/${NAME})
  endif()
  set(all_needs ${ROOM_NEEDS})
  foreach(need IN LISTS ROOM_NEEDS)
    get_property(known GLOBAL PROPERTY packllm_room_${need}_NEEDS SET)
    if(NOT known)
      message(FATAL_ERROR "room '${NAME}' needs '${need}', which stands on no lower floor")
    endif()
    get_property(further GLOBAL PROPERTY packllm_room_${need}_NEEDS)
    list(APPEND all_needs ${further})
  endforeach()
  list(REMOVE_DUPLICATES all_needs)
  set_property(GLOBAL PROPERTY packllm_room_${NAME}_NEEDS "${all_needs}")

  set(view ${CMAKE_BINARY_DIR}/rooms/${NAME})
  file(MAKE_DIRECTORY ${view})
  file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${ROOM_FOLDER} ${view}/${NAME} SYMBOLIC)

  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${ROOM_FOLDER}/*.c)
  if(PACKLLM_HAVE_LLAMA)
    list(FILTER sources EXCLUDE REGEX "/member_nollama\\.c$")
  else()
    list(FILTER sources EXCLUDE REGEX "/member_llama\\.c$")
  endif()
  if(NOT sources)
    message(STATUS "room ${NAME}: no sources yet, skipped")
    return()
  endif()

  add_library(room_${NAME} OBJECT ${sources})
  packllm_room_includes(room_${NAME} ${NAME})
  # The one file that may see llama.h is the only one whose include path leads to it.
  foreach(source IN LISTS sources)
    if(source MATCHES "/member_llama\\.c$")
      set_source_files_properties(${source} PROPERTIES INCLUDE_DIRECTORIES "${PACKLLM_LLAMA_INCLUDE}")
    endif()
  endforeach()
  if(ROOM_APART)
    add_library(apart_${NAME} STATIC $<TARGET_OBJECTS:room_${NAME}>)
  else()
    set(PACKLLM_ROOMS ${PACKLLM_ROOMS} ${NAME} PARENT_SCOPE)
  endif()
endfunction()

# Gives TARGET the view of the rooms named: themselves, what they need, and the public header.
function(packllm_room_includes TARGET)
  set(rooms ${ARGN})
  foreach(room IN LISTS ARGN)
    get_property(needs GLOBAL PROPERTY packllm_room_${room}_NEEDS)
    list(APPEND rooms ${needs})
  endforeach()
  list(REMOVE_DUPLICATES rooms)
  target_include_directories(${TARGET} PRIVATE ${CMAKE_SOURCE_DIR}/include)
  foreach(room IN LISTS rooms)
    target_include_directories(${TARGET} PRIVATE ${CMAKE_BINARY_DIR}/rooms/${room})
  endforeach()
endfunction()

# All rooms become libpackllm: a static archive, and a shared object that shows packllm_* only.
function(packllm_library)
  if(NOT PACKLLM_ROOMS)
    message(STATUS "no room has sources yet: no library, no programs")
    return()
  endif()
  set(objects "")
  foreach(room IN LISTS PACKLLM_ROOMS)
    list(APPEND objects $<TARGET_OBJECTS:room_${room}>)
  endforeach()
  set(needs ${PACKLLM_LLAMA_TARGETS} ${PACKLLM_LIBS} Threads::Threads ${CMAKE_DL_LIBS} m)

  add_library(packllm_static STATIC ${objects})
  set_target_properties(packllm_static PROPERTIES OUTPUT_NAME packllm
    ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
  target_link_libraries(packllm_static PUBLIC ${needs})
  target_include_directories(packllm_static INTERFACE ${CMAKE_SOURCE_DIR}/include)

  if(PACKLLM_SANITIZE STREQUAL "none" AND NOT PACKLLM_FUZZ)
    set(script ${CMAKE_SOURCE_DIR}/cmake/packllm.map)
    add_library(packllm_shared SHARED ${objects})
    set_target_properties(packllm_shared PROPERTIES OUTPUT_NAME packllm
      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR} LINK_DEPENDS ${script} LINKER_LANGUAGE C
      VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
    target_link_libraries(packllm_shared PRIVATE ${needs})
    target_link_options(packllm_shared PRIVATE -Wl,--version-script=${script} -Wl,--no-undefined)
    target_include_directories(packllm_shared INTERFACE ${CMAKE_SOURCE_DIR}/include)
  endif()
endfunction()
