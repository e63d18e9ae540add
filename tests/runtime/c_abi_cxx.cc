// The header as C++17 sees it: the C program again.
#include "tests/runtime/c_abi.c"
