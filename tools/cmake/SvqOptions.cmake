# Compile options shared by every target of the project: link svq_options privately.
add_library(svq_options INTERFACE)
target_compile_options(svq_options INTERFACE
  -Wall -Wextra -Wshadow -Wno-unused-parameter -Wno-missing-field-initializers
  # GCC 12 sees overlapping copies in std::string where there are none (its bug 105651).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  # A fused multiply-add changes results between code paths that must agree: kernels ask for it by intrinsic.
  -ffp-contract=off
  $<$<BOOL:${SVQ_WERROR}>:-Werror>)
if(SVQ_SANITIZE)
  add_compile_options(-fsanitize=${SVQ_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SVQ_SANITIZE})
  if(SVQ_SANITIZE MATCHES "undefined")
    # The check reads type information of every class with virtual functions; libsentencepiece exports none of its own.
    add_compile_options(-fno-sanitize=vptr)
  endif()
endif()
find_package(Threads REQUIRED)

# Adds a GoogleTest binary NAME from SOURCES, linked to LIBS, run by CTest. SECONDS: about how many a long one takes; the
# longest begin first, so that several processors finish together.
function(svq_add_test name)
  cmake_parse_arguments(T "" "SECONDS" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_link_libraries(${name} PRIVATE svq_options ${T_LIBS} GTest::gtest_main)
  # What is tested is optimised; the tests themselves need not be, and compile in two thirds of the time.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  add_test(NAME ${name} COMMAND ${name})
  # Tests run beside each other: threads that spin at the end of a parallel loop would take the others' processors.
  set_tests_properties(${name} PROPERTIES ENVIRONMENT OMP_WAIT_POLICY=passive)
  if(T_SECONDS)
    set_tests_properties(${name} PROPERTIES COST ${T_SECONDS})
  endif()
endfunction()
