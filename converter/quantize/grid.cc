#include "converter/quantize/grid.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>

#include "converter/base/error.h"
#include "converter/quantize/random.h"
#include "schema/packing.h"

namespace svq::convert {
namespace {

// Map of every group of columns, [K / d, d, d] and [K / d, d], f64.
std::pair<at::Tensor, at::Tensor> maps_by_group(const AffineMapsData& maps, int64_t columns) {
  const int64_t d = maps.dim, groups = columns / d;
  TORCH_CHECK(columns % d == 0, "affine maps that mix columns need a multiple of ", d, " columns, got ", columns);
  at::Tensor index = at::arange(groups, at::kLong).mul_(d);
  index = maps.columns_per_map > 0 ? index.div(maps.columns_per_map, "floor") : at::zeros_like(index);
  return {maps.a.to(at::kDouble).index_select(0, index), maps.b.to(at::kDouble).index_select(0, index)};
}

// Integers of a box nearest to a point in the metric of an upper triangular matrix, by depth-first search.
class BoxSearch {
 public:
  static constexpr int kMaxDim = 8;
  using Vector = std::array<double, kMaxDim>;

  BoxSearch(const double* r, int dim, int max_code) : r_(r), dim_(dim), max_code_(max_code) {}

  // Minimises |y − R c|² over c in {0 … max_code}^dim.
  void run(const Vector& y, uint8_t* codes) {
    y_ = y;
    best_ = std::numeric_limits<double>::infinity();
    descend(dim_ - 1, 0.0);
    for (int i = 0; i < dim_; ++i) codes[i] = static_cast<uint8_t>(best_codes_[i]);
  }

 private:
  void descend(int level, double distance) {
    if (level < 0) {
      best_ = distance;
      best_codes_ = codes_;
      return;
    }
    double center = y_[level];
    for (int j = level + 1; j < dim_; ++j) center -= r_[level * dim_ + j] * codes_[j];
    const double scale = r_[level * dim_ + level];
    center /= scale;
    // Nearest first, then outwards on the side that is nearer.
    int below = static_cast<int>(std::clamp(std::floor(center), -1.0, static_cast<double>(max_code_)));
    int above = below + 1;
    while (below >= 0 || above <= max_code_) {
      const bool take_below = above > max_code_ || (below >= 0 && center - below <= above - center);
      const int c = take_below ? below-- : above++;
      const double step = scale * (c - center);
      if (distance + step * step >= best_) return;  // the rest is farther still
      codes_[level] = c;
      descend(level - 1, distance + step * step);
    }
  }

  const double* r_;
  int dim_, max_code_;
  Vector y_{};
  std::array<int, kMaxDim> codes_{}, best_codes_{};
  double best_ = 0;
};

}  // namespace

at::Tensor round_to_f16(const at::Tensor& x) { return x.to(at::kHalf).to(at::kFloat); }

double closed_form_step(int bits) {
  // Max, "Quantizing for minimum distortion" (1960), table II: equal steps, 2^bits levels.
  constexpr double kSteps[] = {0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308};  // 2 … 8 bits
  return kSteps[bits - 2];
}

at::Tensor lattice_basis(const QuantizeOptions& options, const std::string& name) {
  const int64_t d = options.group_dim;
  if (options.lattice == LatticeInit::kIdentity) return at::eye(d, at::kFloat);
  if (options.lattice == LatticeInit::kD4) {
    // UniSVQ (arXiv 2606.10520), appendix A.2, as columns, scaled to the determinant 1.
    const at::Tensor g = at::zeros({4, 4}, at::kFloat);
    constexpr float kGenerator[4][4] = {{1, 0, 0, 0}, {-1, 1, 0, 0}, {0, -1, 1, 1}, {0, 0, -1, 1}};
    std::copy_n(&kGenerator[0][0], 16, g.data_ptr<float>());
    return round_to_f16(g * std::pow(2.0, -0.25));
  }
  NamedRandom random(options.seed, name + "/lattice");
  at::Tensor g = at::empty({d, d}, at::kDouble);
  double* m = g.data_ptr<double>();
  for (int64_t i = 0; i < d * d; ++i) m[i] = random.normal();
  // Rows made orthonormal one after the other; twice, so that rounding leaves no trace.
  for (int64_t i = 0; i < d; ++i) {
    for (int round = 0; round < 2; ++round) {
      for (int64_t j = 0; j < i; ++j) {
        double dot = 0;
        for (int64_t k = 0; k < d; ++k) dot += m[i * d + k] * m[j * d + k];
        for (int64_t k = 0; k < d; ++k) m[i * d + k] -= dot * m[j * d + k];
      }
      double norm = 0;
      for (int64_t k = 0; k < d; ++k) norm += m[i * d + k] * m[i * d + k];
      for (int64_t k = 0; k < d; ++k) m[i * d + k] /= std::sqrt(norm);
    }
  }
  return round_to_f16(g);
}

AffineMapsData make_maps(const at::Tensor& basis, double magnitude, int bits, int64_t columns, int columns_per_map) {
  AffineMapsData maps;
  maps.dim = static_cast<int>(basis.size(0));
  maps.columns_per_map = columns_per_map;
  const int64_t count = columns_per_map > 0 ? (columns + columns_per_map - 1) / columns_per_map : 1;
  const double middle = format::middle_code(bits);
  const at::Tensor a = basis.to(at::kDouble) * magnitude;
  maps.a = round_to_f16(a).unsqueeze(0).repeat({count, 1, 1});
  maps.b = round_to_f16(a.sum(1) * -middle).unsqueeze(0).repeat({count, 1});
  return maps;
}

bool is_scalar(const AffineMapsData& maps) {
  const at::Tensor identity = at::eye(maps.dim, at::kFloat).mul_(maps.a[0][0][0]);
  return maps.a.eq(identity).all().item<bool>() && maps.b.eq(maps.b[0][0]).all().item<bool>();
}

at::Tensor to_code_units(const at::Tensor& targets, const at::Tensor& row_scale, const AffineMapsData& maps) {
  const at::Tensor inverse_scale = at::where(row_scale.eq(0), at::zeros_like(row_scale), row_scale.reciprocal());
  if (is_scalar(maps)) {
    at::Tensor x = targets.t().contiguous();
    if (x.is_same(targets) || x.data_ptr() == targets.data_ptr()) x = x.clone();
    x.mul_(inverse_scale.unsqueeze(0)).sub_(maps.b[0][0]);
    return x.div_(maps.a[0][0][0]);
  }
  const int64_t n = targets.size(0), columns = targets.size(1), d = maps.dim;
  const auto [a, b] = maps_by_group(maps, columns);
  // [groups, d, n]
  at::Tensor x = (targets * inverse_scale.unsqueeze(1)).t().reshape({columns / d, d, n});
  x = x.sub_(b.to(at::kFloat).unsqueeze(2));
  return at::bmm(at::linalg_inv(a).to(at::kFloat), x).reshape({columns, n}).contiguous();
}

at::Tensor to_code_units(const at::Tensor& hessian, const AffineMapsData& maps) {
  if (is_scalar(maps)) return hessian;
  const int64_t columns = hessian.size(0), d = maps.dim;
  const at::Tensor at_ = maps_by_group(maps, columns).first.to(hessian.scalar_type()).transpose(1, 2);
  // Aᵀ from the left on the rows of every group, twice: H' = Aᵀ (Aᵀ H)ᵀ, H being symmetric.
  at::Tensor half = at::bmm(at_, hessian.reshape({columns / d, d, columns})).reshape({columns, columns});
  at::Tensor whole = at::bmm(at_, half.t().reshape({columns / d, d, columns})).reshape({columns, columns});
  return whole.add(whole.t()).mul_(0.5);
}

at::Tensor decode(const at::Tensor& codes, const AffineMapsData& maps) {
  at::Tensor c = codes.to(at::kFloat);
  if (is_scalar(maps)) return c.mul_(maps.a[0][0][0]).add_(maps.b[0][0]);
  const int64_t n = codes.size(0), columns = codes.size(1), d = maps.dim;
  const auto [a, b] = maps_by_group(maps, columns);
  const at::Tensor grouped = c.reshape({n, columns / d, d}).transpose(0, 1);  // [groups, n, d]
  at::Tensor q = at::bmm(grouped, a.to(at::kFloat).transpose(1, 2)).add_(b.to(at::kFloat).unsqueeze(1));
  return q.transpose(0, 1).reshape({n, columns}).contiguous();
}

at::Tensor nearest_codes(const at::Tensor& targets, const at::Tensor& a, const at::Tensor& b, int bits) {
  const int dim = static_cast<int>(a.size(0));
  TORCH_CHECK(dim <= BoxSearch::kMaxDim && targets.dim() == 2 && targets.size(1) == dim,
              "nearest_codes: targets [m, d], d <= 8");
  at::Tensor q, r;
  std::tie(q, r) = at::linalg_qr(a.to(at::kDouble));
  r = r.contiguous();
  const at::Tensor pivots = r.diagonal().abs();
  if (!(pivots.min().item<double>() > 1e-9 * pivots.max().item<double>())) {
    throw Error("the matrix A of an affine map is singular; an invertible one was expected");
  }
  const at::Tensor y = at::mm(targets.to(at::kDouble).sub(b.to(at::kDouble)), q).contiguous();
  at::Tensor codes = at::empty({targets.size(0), dim}, at::kByte);
  const double* values = y.data_ptr<double>();
  uint8_t* out = codes.data_ptr<uint8_t>();
  at::parallel_for(0, targets.size(0), 256, [&](int64_t begin, int64_t end) {
    BoxSearch search(r.data_ptr<double>(), dim, (1 << bits) - 1);
    for (int64_t i = begin; i < end; ++i) {
      BoxSearch::Vector point{};
      std::copy(values + i * dim, values + (i + 1) * dim, point.begin());
      search.run(point, out + i * dim);
    }
  });
  return codes;
}

}  // namespace svq::convert
