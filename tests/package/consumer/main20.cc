#include "main17.cc"
