// A loop compiled for several instruction sets, the best one chosen when the program starts. For plain functions
// (templates are not reached). With -ffp-contract=off an elementwise loop gives the same bits in every clone.
#pragma once

// Sanitizers run before the resolver of a cloned function may: they get the plain version.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SVQ_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
// A function written three times, under one name, for these targets: the first two in #ifdef SVQ_AVX2.
#define SVQ_AVX512 __attribute__((target("avx512f")))
#define SVQ_AVX2 __attribute__((target("avx2,fma")))
#define SVQ_OTHER __attribute__((target("default")))
#else
#define SVQ_CLONES
#define SVQ_OTHER
#endif

// For what a cloned function calls and has to be compiled with it.
#define SVQ_INLINE inline __attribute__((always_inline))
