# 64-bit ARM by Debian's cross compiler; programs run under qemu-user.
#   SVQ_SYSROOT    folder made by tools/sysroot-aarch64.sh
#   SVQ_QEMU_CPU   CPU that tests run on: cortex-a76 (dotprod, as Jetson Orin; default) or max
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SVQ_SYSROOT)
if(SVQ_SYSROOT)
  list(APPEND CMAKE_FIND_ROOT_PATH ${SVQ_SYSROOT})
  # Where the linker finds what libsvqrt.so needs itself.
  set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${SVQ_SYSROOT}/usr/lib/aarch64-linux-gnu")
  set(CMAKE_SHARED_LINKER_FLAGS_INIT "${CMAKE_EXE_LINKER_FLAGS_INIT}")
  set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
  set(ENV{PKG_CONFIG_LIBDIR} ${SVQ_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${SVQ_SYSROOT}/usr/share/pkgconfig)
  set(ENV{PKG_CONFIG_SYSROOT_DIR} ${SVQ_SYSROOT})
endif()
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
if(NOT SVQ_QEMU_CPU)
  set(SVQ_QEMU_CPU cortex-a76)
endif()
set(CMAKE_CROSSCOMPILING_EMULATOR
  "qemu-aarch64;-cpu;${SVQ_QEMU_CPU};-L;/usr/aarch64-linux-gnu;-E;LD_LIBRARY_PATH=${SVQ_SYSROOT}/usr/lib/aarch64-linux-gnu")
