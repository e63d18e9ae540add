# Imported interface target `svq_torch`: libtorch with its headers and OpenMP (ATen's parallel loops are inline OpenMP).
#
# A libtorch named by Torch_DIR or CMAKE_PREFIX_PATH comes first, through its own package file. Otherwise Debian's
# libtorch-dev is taken library by library: its package file asks for parts that the package does not hold.
if(NOT TARGET svq_torch)
  find_package(OpenMP REQUIRED COMPONENTS CXX)
  add_library(svq_torch INTERFACE IMPORTED GLOBAL)
  target_link_libraries(svq_torch INTERFACE OpenMP::OpenMP_CXX)
  # Headers by operator (ATen/ops/mm.h) instead of ATen/ATen.h: a third of the compile time.
  target_compile_definitions(svq_torch INTERFACE AT_PER_OPERATOR_HEADERS)

  find_package(Torch CONFIG QUIET NO_CMAKE_SYSTEM_PATH NO_SYSTEM_ENVIRONMENT_PATH NO_CMAKE_PACKAGE_REGISTRY)
  if(Torch_FOUND)
    target_link_libraries(svq_torch INTERFACE ${TORCH_LIBRARIES})
    target_include_directories(svq_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
    separate_arguments(_svq_torch_flags NATIVE_COMMAND "${TORCH_CXX_FLAGS}")
    target_compile_options(svq_torch INTERFACE ${_svq_torch_flags})
    set(SvqTorch_VERSION "${Torch_VERSION}")
    message(STATUS "libtorch: ${TORCH_INSTALL_PREFIX}")
    set(SvqTorch_READY TRUE)
  else()
    find_path(SVQ_TORCH_INCLUDE ATen/ATen.h)
    find_path(SVQ_TORCH_API_INCLUDE torch/torch.h PATH_SUFFIXES torch/csrc/api/include)
    find_library(SVQ_TORCH_LIBRARY torch)
    find_library(SVQ_TORCH_CPU_LIBRARY torch_cpu)
    find_library(SVQ_C10_LIBRARY c10)
    if(SVQ_TORCH_INCLUDE AND SVQ_TORCH_API_INCLUDE AND SVQ_TORCH_LIBRARY AND SVQ_TORCH_CPU_LIBRARY AND SVQ_C10_LIBRARY)
      target_link_libraries(svq_torch INTERFACE ${SVQ_TORCH_LIBRARY} ${SVQ_TORCH_CPU_LIBRARY} ${SVQ_C10_LIBRARY})
      target_include_directories(svq_torch SYSTEM INTERFACE ${SVQ_TORCH_INCLUDE} ${SVQ_TORCH_API_INCLUDE})
      if(EXISTS ${SVQ_TORCH_API_INCLUDE}/torch/version.h)
        file(READ ${SVQ_TORCH_API_INCLUDE}/torch/version.h _svq_torch_version)
        if(_svq_torch_version MATCHES "\"([0-9]+[.][0-9]+[.][0-9]+)\"")
          set(SvqTorch_VERSION ${CMAKE_MATCH_1})
        endif()
      endif()
      message(STATUS "libtorch: ${SVQ_TORCH_LIBRARY} (${SvqTorch_VERSION})")
      set(SvqTorch_READY TRUE)
    endif()
    mark_as_advanced(SVQ_TORCH_INCLUDE SVQ_TORCH_API_INCLUDE SVQ_TORCH_LIBRARY SVQ_TORCH_CPU_LIBRARY SVQ_C10_LIBRARY)
  endif()
else()
  set(SvqTorch_READY TRUE)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(SvqTorch
  REQUIRED_VARS SvqTorch_READY
  REASON_FAILURE_MESSAGE "install libtorch-dev, pass -DCMAKE_PREFIX_PATH=<libtorch>, or build without the converter (-DSVQ_BUILD_CONVERTER=OFF)")
