# What is installed: component `runtime` (the shared library), `dev` (headers, static library, CMake package, pkg-config).
include(CMakePackageConfigHelpers)

# Everything in one archive, for those who link statically. Its C++ insides keep their hidden visibility.
add_library(svqrt_archive STATIC $<TARGET_OBJECTS:svqrt_objects> $<TARGET_OBJECTS:svq_tokenizer>
  $<TARGET_OBJECTS:svq_kernels> $<TARGET_OBJECTS:svq_schema>)
set_target_properties(svqrt_archive PROPERTIES OUTPUT_NAME svqrt EXPORT_NAME svqrt_static LINKER_LANGUAGE CXX
  ARCHIVE_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/archive)
target_include_directories(svqrt_archive INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(svqrt PROPERTIES EXPORT_NAME svqrt_shared)

set(SVQ_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/svqrt)
install(TARGETS svqrt EXPORT svqrtSharedTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT dev)
install(TARGETS svqrt_archive EXPORT svqrtStaticTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT dev)
install(EXPORT svqrtSharedTargets NAMESPACE svqrt:: DESTINATION ${SVQ_PACKAGE_DIR} COMPONENT dev)
install(EXPORT svqrtStaticTargets NAMESPACE svqrt:: DESTINATION ${SVQ_PACKAGE_DIR} COMPONENT dev)
install(FILES include/svqrt/svqrt.h include/svqrt/svqrt.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/svqrt COMPONENT dev)

configure_package_config_file(cmake/svqrtConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/svqrtConfig.cmake
  INSTALL_DESTINATION ${SVQ_PACKAGE_DIR} PATH_VARS CMAKE_INSTALL_LIBDIR NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/svqrtConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/svqrtConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/svqrtConfigVersion.cmake
  DESTINATION ${SVQ_PACKAGE_DIR} COMPONENT dev)

file(RELATIVE_PATH SVQ_PC_TO_PREFIX /prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig /prefix)
configure_file(cmake/svqrt.pc.in svqrt.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/svqrt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT dev)
