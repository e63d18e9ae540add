// The tables, one per instruction set, and the choice between them.
#include <cstdlib>
#include <cstring>

#include "kernels-neon/kernels.h"
#include "kernels-neon/attention/attention.h"
#include "kernels-neon/elementwise/elementwise.h"
#include "kernels-neon/gemm/gemm.h"
#include "kernels-neon/gemv/gemv.h"
#include "kernels-neon/gemv_f32/gemv_f32.h"
#include "kernels-neon/input_transform/input_transform.h"
#include "kernels-neon/lookup/lookup.h"
#include "kernels-neon/matmul_f16/matmul_f16.h"
#include "kernels-neon/output_transform/output_transform.h"
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels {
namespace {

constexpr Table kScalarTable = {
    .name = "scalar",
    .isa = Isa::kScalar,
    .rotate = scalar::rotate,
    .scale_rotate = scalar::scale_rotate,
    .affine_quantize = scalar::affine_quantize,
    .gemv = scalar::gemv,
    .gemm = scalar::gemm,
    .gemm_scratch = scalar::gemm_scratch,
    .gemv_f32 = scalar::gemv_f32,
    .dequantize = scalar::dequantize,
    .rotate_scale = scalar::rotate_scale,
    .decode_row = scalar::decode_row,
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

constexpr const char* kNames[] = {"scalar", "neon", "dotprod", "i8mm", "avx2", "avx512"};  // by Isa's value

}  // namespace

const Table* table(Isa isa) { return isa == Isa::kScalar ? &kScalarTable : nullptr; }

size_t available(Isa* out, size_t capacity) {
  size_t n = 0;
  for (int i = 0; i < 6; ++i) {
    if (table(static_cast<Isa>(i)) && n < capacity) out[n++] = static_cast<Isa>(i);
  }
  return n;
}

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }

bool isa_from_name(const char* name, Isa* out) {
  for (int i = 0; i < 6; ++i) {
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
      *error = "SVQ_ISA: unknown instruction set; known: scalar, neon, dotprod, i8mm, avx2, avx512";
      return nullptr;
    }
    if (!table(isa)) {
      *error = "SVQ_ISA: this build or this CPU does not have that instruction set";
      return nullptr;
    }
    return table(isa);
  }
  Isa all[6];
  return table(all[available(all, 6) - 1]);
}

const Table& reference() { return kScalarTable; }

}  // namespace svq::kernels
