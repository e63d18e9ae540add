// What the SSE files give: on ARM all float kernels, on x86 a table for tests alone.
#pragma once
#include "kernels-neon/attention/attention.h"
#include "kernels-neon/elementwise/elementwise.h"
#include "kernels-neon/input_transform/input_transform.h"
#include "kernels-neon/kernels.h"
#include "kernels-neon/matmul_f16/matmul_f16.h"
#include "kernels-neon/output_transform/output_transform.h"
#include "kernels-neon/rotate/rotate.h"

namespace svq::kernels {
namespace {

constexpr Table with_sse(Table t) {
  t.rotate = sse::rotate;
  t.scale_rotate = sse::scale_rotate;
  t.affine_quantize = sse::affine_quantize;
  t.dequantize = sse::dequantize;
  t.rotate_scale = sse::rotate_scale;
  t.matmul_f16 = sse::matmul_f16;
  t.row_f16 = sse::row_f16;
  t.rmsnorm = sse::rmsnorm;
  t.rope = sse::rope;
  t.silu_mul = sse::silu_mul;
  t.add = sse::add;
  t.axpby = sse::axpby;
  t.attend_f16 = sse::attend_f16;
  t.attend_i8 = sse::attend_i8;
  t.store_f16 = sse::store_f16;
  t.store_i8 = sse::store_i8;
  return t;
}

}  // namespace
}  // namespace svq::kernels
