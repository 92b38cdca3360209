# Install.cmake - `cmake --install`: header, both libraries, program, pkg-config file, CMake package.
# A static libpackllm needs libllama's archives to link, so they are installed beside it in lib/packllm.

if(NOT TARGET packllm_static OR NOT TARGET packllm_shared)
  return()
endif()

install(TARGETS packllm_static packllm_shared
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/packllm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")
if(TARGET packllm_cli)
  install(TARGETS packllm_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
# The unit and an example of its settings. lib/systemd/system wherever libraries are: systemd looks there.
if(TARGET packllm_cli)
  install(FILES packaging/packllm.service DESTINATION lib/systemd/system)
  install(FILES packaging/serve.ini DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/packllm/examples)
endif()
# Man pages and completion: the program has them, from the one table of its options.
if(TARGET packllm_cli AND NOT CMAKE_CROSSCOMPILING)
  install(CODE "
    set(PROGRAM \"$<TARGET_FILE:packllm_cli>\")
    set(MAN \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_MANDIR}/man1\")
    set(BASH \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/bash-completion/completions\")
    include(\"${CMAKE_SOURCE_DIR}/cmake/Pages.cmake\")")
endif()

# What a static consumer links, in order. Names only: the folders come from the installed files.
set(PACKLLM_STATIC_LIBS ${PACKLLM_LIBS})
set(PACKLLM_STATIC_DIRS "")
if(PACKLLM_HAVE_LLAMA)
  set(_names llama ggml)
  foreach(_target ${_ggml_all_targets} ggml::ggml-base)
    string(REPLACE "ggml::" "" _name ${_target})
    list(APPEND _names ${_name})
  endforeach()
  set(_archives "")
  foreach(_name IN LISTS _names)
    if(EXISTS ${PACKLLM_LLAMA_LIBDIR}/lib${_name}.a)
      list(APPEND _archives ${PACKLLM_LLAMA_LIBDIR}/lib${_name}.a)
    endif()
  endforeach()
  if(_archives)
    install(FILES ${_archives} DESTINATION ${CMAKE_INSTALL_LIBDIR}/packllm)
    set(PACKLLM_STATIC_DIRS packllm)
  endif()
  list(APPEND PACKLLM_STATIC_LIBS ${_names} stdc++)
endif()
list(APPEND PACKLLM_STATIC_LIBS pthread dl m)

list(TRANSFORM PACKLLM_STATIC_LIBS PREPEND "-l" OUTPUT_VARIABLE _flags)
list(JOIN _flags " " PACKLLM_PC_LIBS)
if(PACKLLM_STATIC_DIRS)
  set(PACKLLM_PC_LIBS "-L\${libdir}/packllm ${PACKLLM_PC_LIBS}")
endif()
# The prefix is found from the file's own place, so an installation may be moved.
file(RELATIVE_PATH PACKLLM_PC_PREFIX /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
string(REGEX REPLACE "/$" "" PACKLLM_PC_PREFIX ${PACKLLM_PC_PREFIX})
configure_file(cmake/packllm.pc.in packllm.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/packllm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

include(CMakePackageConfigHelpers)
configure_package_config_file(cmake/packllmConfig.cmake.in packllmConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/packllm
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(packllmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/packllmConfig.cmake ${CMAKE_BINARY_DIR}/packllmConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/packllm)
