# ours.cmake - gives libggml's CPU back end the products of gemm.c and the attention of attention.c, without a change to
# its source: the library's own functions are compiled under other names, and ours call them for what they leave.
# build-llama.sh passes this as CMAKE_PROJECT_TOP_LEVEL_INCLUDES. Where the back end is built in another way (variants,
# plug-ins, without llamafile_sgemm) nothing is added.
function(packllm_add_ours)
  if(TARGET ggml-cpu AND GGML_LLAMAFILE)
    get_target_property(folder ggml-cpu SOURCE_DIR)
    set_source_files_properties(${folder}/ggml-cpu/llamafile/sgemm.cpp TARGET_DIRECTORY ggml-cpu
                                PROPERTIES COMPILE_DEFINITIONS llamafile_sgemm=llamafile_sgemm_others)
    set_source_files_properties(
      ${folder}/ggml-cpu/ops.cpp TARGET_DIRECTORY ggml-cpu
      PROPERTIES COMPILE_DEFINITIONS ggml_compute_forward_flash_attn_ext=ggml_compute_forward_flash_attn_ext_others)
    target_sources(ggml-cpu PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/gemm.c
                                    ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/attention.c)
    target_include_directories(ggml-cpu PRIVATE ${folder}/ggml-cpu)
  endif()
endfunction()
cmake_language(DEFER CALL packllm_add_ours)
