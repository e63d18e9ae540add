# Debian packages by CPack: libsvqrt0 (the library), libsvqrt-dev (headers, static library, CMake package, pkg-config),
# svq-tools (svqrun, svqeval, svqbench, svqinspect); where they are built, svq-convert (svqconvert, for workstations) and
# libsvqrt-cuda0 (the GPU module). tools/package.sh builds them.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME svq)
set(CPACK_PACKAGE_VENDOR svq)
if(NOT CPACK_PACKAGE_CONTACT)
  set(CPACK_PACKAGE_CONTACT "svq developers <svq@localhost>")  # Maintainer field; -DCPACK_PACKAGE_CONTACT=… names another
endif()
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS OFF)
set(CPACK_COMPONENTS_ALL runtime dev)
if(SVQ_BUILD_TOOLS)
  list(APPEND CPACK_COMPONENTS_ALL tools)
endif()
if(TARGET svqconvert AND SVQ_TORCH_LIBRARY)  # Debian's libtorch, which a package can name
  list(APPEND CPACK_COMPONENTS_ALL convert)
endif()
if(TARGET svqrt_cuda)
  list(APPEND CPACK_COMPONENTS_ALL cuda)
endif()
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)

set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libsvqrt0)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_RUNTIME_DESCRIPTION "runs .svq language models: shared library
 Two-bit language models on the CPUs of robots, behind a C interface.")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_RECOMMENDS libsentencepiece0)  # loaded when a model's vocabulary needs it

set(CPACK_DEBIAN_DEV_PACKAGE_NAME libsvqrt-dev)
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_COMPONENT_DEV_DESCRIPTION "runs .svq language models: development files
 Headers for C and C++, static library, CMake package and pkg-config file.")
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "libsvqrt0 (= ${PROJECT_VERSION})")
set(CPACK_DEBIAN_DEV_PACKAGE_SUGGESTS "libpcre2-dev, libutf8proc-dev")  # to link statically

set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME svq-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SECTION utils)
set(CPACK_COMPONENT_TOOLS_DESCRIPTION "runs, measures and inspects .svq language models
 svqrun, svqeval, svqbench and svqinspect.")

set(CPACK_DEBIAN_CONVERT_PACKAGE_NAME svq-convert)
set(CPACK_DEBIAN_CONVERT_PACKAGE_SECTION utils)
set(CPACK_COMPONENT_CONVERT_DESCRIPTION "makes .svq language models
 svqconvert quantizes Hugging Face and GGUF models to a few bits. Needs libtorch: for workstations.")
set(CPACK_DEBIAN_CONVERT_PACKAGE_RECOMMENDS libopenblas0-pthread)  # some 30 times faster than the reference BLAS

set(CPACK_DEBIAN_CUDA_PACKAGE_NAME libsvqrt-cuda0)
set(CPACK_DEBIAN_CUDA_PACKAGE_SECTION libs)
set(CPACK_COMPONENT_CUDA_DESCRIPTION "runs .svq language models: NVIDIA GPUs
 A module that libsvqrt opens when a GPU is asked for. Needs NVIDIA's driver.")
set(CPACK_DEBIAN_CUDA_PACKAGE_DEPENDS "libsvqrt0 (= ${PROJECT_VERSION})")

if(CMAKE_CROSSCOMPILING)
  # dpkg-shlibdeps knows this machine's packages alone: the dependencies are read from what the programs need.
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
  set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_BINARY_DIR}/cpack-depends.cmake)
  configure_file(${CMAKE_CURRENT_LIST_DIR}/cpack-depends.cmake.in ${CPACK_PROJECT_CONFIG_FILE} @ONLY)
else()
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
endif()
include(CPack)
