#include "converter/quantize/two_sided.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_solve_triangular.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "converter/quantize/block_kernels.h"
#include "converter/quantize/ldlq.h"

namespace svq::convert {
namespace {

// Rows rounded together, without feedback among them. Small beside their number; kTileRows keeps LDLQ's speed.
int64_t rows_rounded_together(int64_t rows) { return rows >= 8 * kTileRows ? kTileRows : 16; }

constexpr int64_t kDescentRows = 32;  // rows between two matrix products
constexpr int kSearchRounds = 2;      // each over all rows, then all columns

// LDLQ on both sides. With the rows' errors e and output = V diag(d) Vᵀ, block b's share of the objective is
// tr(x_bᵀ S_b x_b H), x_b = e_b + (F_bb)⁻¹ F_b,<b e_<b, F = Vᵀ. errors [N, K]: targets on entry.
void round_rows(at::Tensor& errors, at::Tensor& codes, const CodeMetric& input, const HessianFactor& output, int bits) {
  const int64_t rows = errors.size(0), columns = errors.size(1), step = rows_rounded_together(rows);
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t size = std::min(step, rows - begin);
    at::Tensor own = errors.narrow(0, begin, size);
    at::Tensor wanted = own;
    if (begin > 0) {
      const at::Tensor feedback = output.feedback.narrow(0, begin, size);
      const at::Tensor gain =
          at::linalg_solve_triangular(feedback.narrow(1, begin, size), feedback.narrow(1, 0, begin).contiguous(),
                                      /*upper=*/false, /*left=*/true, /*unitriangular=*/true);
      wanted = own + at::mm(gain, errors.narrow(0, 0, begin));
    }
    at::Tensor values = at::empty({columns, size}, at::kFloat), chosen = at::empty({columns, size}, at::kByte);
    values.copy_(wanted.t());
    ldlq_(values, chosen, input.factor, bits);
    codes.narrow(0, begin, size).copy_(chosen.t());
    own.sub_(chosen.t());
  }
}

// One pass of exact coordinate descent on the whole objective. Row r with the others fixed moves in
// x_r = e_r + Σ_s output_rs / output_rr e_s under H.
int64_t descend_rows(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, const at::Tensor& output,
                     int bits) {
  const int64_t rows = errors.size(0), columns = errors.size(1);
  const at::Tensor change = at::empty({kDescentRows, columns}, at::kFloat);
  const float* h = hessian.data_ptr<float>();
  const float* out = output.data_ptr<float>();
  int64_t moved = 0;
  for (int64_t begin = 0; begin < rows; begin += kDescentRows) {
    const int64_t size = std::min(kDescentRows, rows - begin);
    const at::Tensor x = at::mm(output.narrow(0, begin, size), errors);
    const at::Tensor gradient = at::mm(x, hessian);  // of output_rr x_r
    change.zero_();
    for (int64_t i = 0; i < size; ++i) {
      const int64_t r = begin + i;
      const float own = out[r * rows + r];
      float* g = gradient.data_ptr<float>() + i * columns;
      for (int64_t j = 0; j < i; ++j)
        add_scaled(change.data_ptr<float>() + j * columns, out[r * rows + begin + j], columns, g);
      for (int64_t k = 0; k < columns; ++k) g[k] /= own;
      moved += descent_row(h, columns, (1 << bits) - 1, g, change.data_ptr<float>() + i * columns,
                           errors.data_ptr<float>() + r * columns, codes.data_ptr<uint8_t>() + r * columns);
    }
  }
  return moved;
}

}  // namespace

void choose_codes_two_sided_(at::Tensor& errors, at::Tensor& codes, const CodeMetric& input, at::Tensor& output,
                             double output_damping, int bits, int passes, const SearchOptions& search,
                             const std::string& name) {
  round_rows(errors, codes, input, factor_hessian(output, output_damping, name), bits);
  const at::Tensor metric = output.to(at::kFloat).contiguous();
  for (int pass = 0; pass < passes; ++pass) {
    if (descend_rows(errors, codes, input.hessian, metric, bits) == 0) break;
  }
  // The objective of the transposed matrix is the same: the codes of a column move with the curvature of their outputs.
  const SearchOptions part{(search.moves + kSearchRounds - 1) / kSearchRounds, search.seed};
  for (int round = 0; round < kSearchRounds && part.moves > 0; ++round) {
    search_rows_(errors, codes, input.hessian, metric, bits, part);
    at::Tensor turned = errors.t().contiguous(), turned_codes = codes.t().contiguous();
    search_rows_(turned, turned_codes, metric, input.hessian, bits, part);
    errors.copy_(turned.t());
    codes.copy_(turned_codes.t());
  }
}

}  // namespace svq::convert
