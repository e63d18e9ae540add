// The tables, one per instruction set, and the choice between them.
#include <cstdlib>
#include <cstring>
#if defined(__aarch64__)
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "kernels-neon/kernels.h"
#include "kernels-neon/attention/attention.h"
#include "kernels-neon/elementwise/elementwise.h"
#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemv/gemv.h"
#include "kernels-neon/input_transform/input_transform.h"
#include "kernels-neon/lookup/lookup.h"
#include "kernels-neon/matmul_f16/matmul_f16.h"
#include "kernels-neon/output_transform/output_transform.h"
#include "kernels-neon/rotate/rotate.h"
#if defined(__aarch64__)
#include "kernels-neon/sse_table.h"
#endif

namespace svq::kernels {
namespace {

constexpr Table kScalarTable = {
    .name = "scalar",
    .isa = Isa::kScalar,
    .rotate = scalar::rotate,
    .scale_rotate = scalar::scale_rotate,
    .affine_quantize = scalar::affine_quantize,
    .gemv = scalar::gemv,
    .gemm_panel = scalar::gemm_panel,
    .gemm_pack = scalar::gemm_pack,
    .gemm = scalar::gemm,
    .dequantize = scalar::dequantize,
    .rotate_scale = scalar::rotate_scale,
    .decode_row = scalar::decode_row,
    .decode_block = scalar::decode_block,
    .matmul_f16 = scalar::matmul_f16,
    .row_f16 = scalar::row_f16,
    .rmsnorm = scalar::rmsnorm,
    .rope = scalar::rope,
    .silu_mul = scalar::silu_mul,
    .add = scalar::add,
    .axpby = scalar::axpby,
    .attend_f16 = scalar::attend_f16,
    .attend_i8 = scalar::attend_i8,
    .store_f16 = scalar::store_f16,
    .store_i8 = scalar::store_i8,
};

#if defined(__x86_64__)

constexpr Table make_avx2() {
  Table t = kScalarTable;
  t.name = "avx2";
  t.isa = Isa::kAvx2;
  t.rotate = avx2::rotate;
  t.scale_rotate = avx2::scale_rotate;
  t.affine_quantize = avx2::affine_quantize;
  t.gemv = avx2::gemv;
  t.gemm = avx2::gemm;
  t.gemm_pack = avx2::gemm_pack;
  t.dequantize = avx2::dequantize;
  t.rotate_scale = avx2::rotate_scale;
  t.matmul_f16 = avx2::matmul_f16;
  t.row_f16 = avx2::row_f16;
  t.rmsnorm = avx2::rmsnorm;
  t.rope = avx2::rope;
  t.silu_mul = avx2::silu_mul;
  t.add = avx2::add;
  t.axpby = avx2::axpby;
  t.attend_f16 = avx2::attend_f16;
  t.attend_i8 = avx2::attend_i8;
  t.store_f16 = avx2::store_f16;
  t.store_i8 = avx2::store_i8;
  return t;
}

constexpr Table make_avxvnni() {
  Table t = make_avx2();
  t.name = "avxvnni";
  t.isa = Isa::kAvxVnni;
  t.gemv = avxvnni::gemv;
  t.gemm_pack = avxvnni::gemm_pack;
  t.gemm = avxvnni::gemm;
  return t;
}

constexpr Table make_avx512() {
  Table t = kScalarTable;
  t.name = "avx512";
  t.isa = Isa::kAvx512;
  t.rotate = avx512::rotate;
  t.scale_rotate = avx512::scale_rotate;
  t.affine_quantize = avx512::affine_quantize;
  t.gemv = avx512::gemv;
  t.gemm = avx512::gemm;
  t.gemm_pack = avx512::gemm_pack;
  t.dequantize = avx512::dequantize;
  t.rotate_scale = avx512::rotate_scale;
  t.matmul_f16 = avx512::matmul_f16;
  t.row_f16 = avx512::row_f16;
  t.rmsnorm = avx512::rmsnorm;
  t.rope = avx512::rope;
  t.silu_mul = avx512::silu_mul;
  t.add = avx512::add;
  t.axpby = avx512::axpby;
  t.attend_f16 = avx512::attend_f16;
  t.attend_i8 = avx512::attend_i8;
  t.store_f16 = avx512::store_f16;
  t.store_i8 = avx512::store_i8;
  return t;
}

constexpr Table kAvx2Table = make_avx2();
constexpr Table kAvxVnniTable = make_avxvnni();
constexpr Table kAvx512Table = make_avx512();

// AMD's cores take the weights best as one stream (gemv/x86_avx512.cc).
constexpr Table make_avx512_amd() {
  Table t = make_avx512();
  t.gemv = avx512::gemv_one_stream;
  return t;
}
constexpr Table kAvx512AmdTable = make_avx512_amd();

constexpr Table make_amx() {
  Table t = make_avx512();
  t.name = "amx";
  t.isa = Isa::kAmx;
  t.gemm_pack = amx::gemm_pack;
  t.gemm = amx::gemm;
  return t;
}
constexpr Table kAmxTable = make_amx();

// The builtin also asks the operating system (XGETBV) whether it saves the wide registers.
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
// The compilers' builtins do not all know the younger sets.
bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

// Linux gives tiles to a process that asks for them, once; it refuses where an alternate signal stack would be too
// small to save them on.
bool ask_for_amx() {
  if (!has_avx512()) return false;
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (kTile | kInt8)) != (kTile | kInt8)) return false;
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
bool has_amx() {
  static const bool has = ask_for_amx();
  return has;
}

const Table* supported(Isa isa) {
  if (isa == Isa::kAmx && has_amx()) return &kAmxTable;
  if (isa == Isa::kAvx2 && has_avx2()) return &kAvx2Table;
  if (isa == Isa::kAvxVnni && has_avxvnni()) return &kAvxVnniTable;
  if (isa == Isa::kAvx512 && has_avx512()) return __builtin_cpu_is("amd") ? &kAvx512AmdTable : &kAvx512Table;
  return nullptr;
}

#elif defined(__aarch64__)

constexpr Table make_neon() {
  Table t = with_sse(kScalarTable);
  t.name = "neon";
  t.isa = Isa::kNeon;
  t.gemv = neon::gemv;
  t.gemm = neon::gemm;
  return t;
}

constexpr Table make_dotprod() {
  Table t = make_neon();
  t.name = "dotprod";
  t.isa = Isa::kDotprod;
  t.gemv = dotprod::gemv;
  t.gemm_pack = dotprod::gemm_pack;
  t.gemm = dotprod::gemm;
  return t;
}

constexpr Table make_i8mm() {
  Table t = make_dotprod();
  t.name = "i8mm";
  t.isa = Isa::kI8mm;
  t.gemm_panel = i8mm::gemm_panel;
  t.gemm_pack = i8mm::gemm_pack;
  t.gemm = i8mm::gemm;
  return t;
}

constexpr Table kNeonTable = make_neon();
constexpr Table kDotprodTable = make_dotprod();
constexpr Table kI8mmTable = make_i8mm();

const Table* supported(Isa isa) {
  if (isa == Isa::kNeon) return &kNeonTable;     // part of every AArch64
  constexpr unsigned long kAsimdDp = 1ul << 20;  // HWCAP_ASIMDDP
  constexpr unsigned long kI8mm = 1ul << 13;     // HWCAP2_I8MM
  const bool dotprod = getauxval(AT_HWCAP) & kAsimdDp;
  if (isa == Isa::kDotprod && dotprod) return &kDotprodTable;
  if (isa == Isa::kI8mm && dotprod && (getauxval(AT_HWCAP2) & kI8mm)) return &kI8mmTable;
  return nullptr;
}

#else

const Table* supported(Isa) { return nullptr; }

#endif

constexpr const char* kNames[] = {"scalar", "neon",    "dotprod", "i8mm",
                                  "avx2",   "avxvnni", "avx512",  "amx"};  // by Isa's value

}  // namespace

const Table* table(Isa isa) { return isa == Isa::kScalar ? &kScalarTable : supported(isa); }

size_t available(Isa* out, size_t capacity) {
  size_t n = 0;
  for (int i = 0; i < kIsas; ++i) {
    if (table(static_cast<Isa>(i)) && n < capacity) out[n++] = static_cast<Isa>(i);
  }
  return n;
}

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

bool isa_from_name(const char* name, Isa* out) {
  for (int i = 0; i < kIsas; ++i) {
    if (std::strcmp(name, kNames[i]) == 0) {
      *out = static_cast<Isa>(i);
      return true;
    }
  }
  return false;
}

const Table* select(const char** error) {
  *error = nullptr;
  const char* wanted = std::getenv("SVQ_ISA");
  Isa isa;
  if (wanted && *wanted) {
    if (!isa_from_name(wanted, &isa)) {
      *error = "SVQ_ISA: unknown instruction set; known: scalar, neon, dotprod, i8mm, avx2, avxvnni, avx512, amx";
      return nullptr;
    }
    if (!table(isa)) {
      *error = "SVQ_ISA: this build or this CPU does not have that instruction set";
      return nullptr;
    }
    return table(isa);
  }
  Isa all[kIsas];
  return table(all[available(all, kIsas) - 1]);
}

const Table& reference() { return kScalarTable; }

}  // namespace svq::kernels
