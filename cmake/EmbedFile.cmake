# EmbedFile.cmake - packllm_embed(TARGET FILE NAME): FILE becomes the C array embed_NAME[] in the generated
# header embed_NAME.h on TARGET's include path. Character constants keep every byte, in any encoding.
# Run as a script (cmake -P) it does the conversion itself.

if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${FILE} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
  string(REGEX REPLACE "(('[^']*',)('[^']*',)('[^']*',)('[^']*',)('[^']*',)('[^']*',)('[^']*',)('[^']*',))"
    "\\1\n    " bytes "${bytes}")
  get_filename_component(from ${FILE} NAME)
  file(WRITE ${OUT} "/* Generated from ${from}; do not edit. */\n"
    "static const char embed_${NAME}[] = {\n    ${bytes}'\\0'\n};\n")
  return()
endif()

set(PACKLLM_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

function(packllm_embed TARGET FILE NAME)
  set(folder ${CMAKE_BINARY_DIR}/embed)
  set(out ${folder}/embed_${NAME}.h)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DFILE=${FILE} -DOUT=${out} -DNAME=${NAME} -P ${PACKLLM_EMBED_SCRIPT}
    DEPENDS ${FILE} ${PACKLLM_EMBED_SCRIPT} VERBATIM)
  target_sources(${TARGET} PRIVATE ${out})
  target_include_directories(${TARGET} PRIVATE ${folder})
endfunction()
