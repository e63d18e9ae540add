#include "converter/train/attention_kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "converter/base/clones.h"
#include "converter/base/exp.h"
#include "converter/base/vector.h"

namespace svq::convert {
namespace {

constexpr int64_t W = 16;  // queries of a tile, and lanes

// c_r (+)= Σ_i a[r · a_row + i · a_step] b_i for vectors b_i, c_r of 16 values, b_step and c_row apart.
struct Product {
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_step, rows, inner;
  bool add;
  float* c;
  int64_t c_row;
};

// R rows from `row` on, their sums in registers of V lanes.
template <int V, int R>
SVQ_INLINE void product_rows(const Product& p, int64_t row) {
  using Lanes = typename Vector<V>::Lanes;
  constexpr int kParts = W / V;
  const float* a = p.a + row * p.a_row;
  float* c = p.c + row * p.c_row;
  Lanes sum[R][kParts];
  for (int r = 0; r < R; ++r) {
    for (int i = 0; i < kParts; ++i) sum[r][i] = p.add ? Vector<V>::at(c + r * p.c_row + i * V) : Lanes{};
  }
  for (int64_t i = 0; i < p.inner; ++i) {
    Lanes x[kParts];
    for (int k = 0; k < kParts; ++k) x[k] = Vector<V>::at(p.b + i * p.b_step + k * V);
    for (int r = 0; r < R; ++r) {
      const float factor = a[r * p.a_row + i * p.a_step];
      for (int k = 0; k < kParts; ++k) sum[r][k] += factor * x[k];
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int k = 0; k < kParts; ++k) Vector<V>::at(c + r * p.c_row + k * V) = sum[r][k];
  }
}

template <int V, int R>
SVQ_INLINE void product_by(const Product& p) {
  int64_t row = 0;
  for (; row + R <= p.rows; row += R) product_rows<V, R>(p, row);
  for (; row < p.rows; ++row) product_rows<V, 1>(p, row);
}

#ifdef SVQ_AVX2
SVQ_AVX512 void product(const Product& p) { product_by<16, 8>(p); }
SVQ_AVX2 void product(const Product& p) { product_by<8, 4>(p); }
#endif
SVQ_OTHER void product(const Product& p) { product_by<4, 2>(p); }

// Scores [keys][16] become e^(score − max) (for -inf: 1e-38) with their sums and maxima, by lane.
SVQ_CLONES void exponentials(float* s, int64_t keys, float* most, float* sum) {
  for (int64_t w = 0; w < W; ++w) most[w] = -INFINITY;
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t w = 0; w < W; ++w) most[w] = most[w] < s[j * W + w] ? s[j * W + w] : most[w];
  }
  for (int64_t w = 0; w < W; ++w) sum[w] = 0;
  for (int64_t j = 0; j < keys; ++j) {
    float* row = s + j * W;
    float e[W];
    for (int64_t w = 0; w < W; ++w) e[w] = exp_of(row[w] - most[w]);
    for (int64_t w = 0; w < W; ++w) sum[w] += e[w];
    for (int64_t w = 0; w < W; ++w) row[w] = e[w];
  }
}

// p = e^(score − log_sum) (for -inf: 1e-38), ds = p ⊙ (dp − inner); scores become p, dp becomes ds.
SVQ_CLONES void weights_backward(float* s, float* dp, int64_t keys, const float* log_sum, const float* inner) {
  for (int64_t j = 0; j < keys; ++j) {
    float* row = s + j * W;
    float* d = dp + j * W;
    float p[W];
    for (int64_t w = 0; w < W; ++w) p[w] = exp_of(row[w] - log_sum[w]);
    for (int64_t w = 0; w < W; ++w) row[w] = p[w];
    for (int64_t w = 0; w < W; ++w) d[w] = p[w] * (d[w] - inner[w]);
  }
}

// Queries [begin, begin + count) see keys [first, first + keys).
struct Tile {
  int64_t begin, count, first, keys;
};

Tile tile_at(int64_t begin, const HeadShape& s) {
  const int64_t count = std::min(W, s.length - begin);
  const int64_t first = s.window > 0 ? std::max<int64_t>(0, begin - s.window + 1) : 0;
  return {begin, count, first, begin + count - first};
}

// Rows [count][dim] times `factor` as [dim][16], zeros where there is no row.
void transpose(const float* rows, int64_t count, int64_t dim, float factor, float* out) {
  for (int64_t d = 0; d < dim; ++d) {
    for (int64_t w = 0; w < W; ++w) out[d * W + w] = w < count ? rows[w * dim + d] * factor : 0.0f;
  }
}
void transpose_back(const float* lanes, int64_t count, int64_t dim, const float* factor, float* rows) {
  for (int64_t w = 0; w < count; ++w) {
    for (int64_t d = 0; d < dim; ++d) rows[w * dim + d] = lanes[d * W + w] * factor[w];
  }
}

// Sets what a query of the tile does not see; lanes without a query are left alone.
void mask(float* weights, const Tile& t, const HeadShape& s, float value) {
  for (int64_t w = 0; w < t.count; ++w) {
    const int64_t last = t.begin + w - t.first;
    for (int64_t j = last + 1; j < t.keys; ++j) weights[j * W + w] = value;
    if (s.window == 0) continue;
    for (int64_t j = 0; j <= last - s.window; ++j) weights[j * W + w] = value;
  }
}

// Scores [keys][16] of a tile.
void scores(const float* q_lanes, const float* k, const Tile& t, const HeadShape& s, float* out) {
  product({k + t.first * s.dim, s.dim, 1, q_lanes, W, t.keys, s.dim, false, out, W});
  mask(out, t, s, -INFINITY);
}

// rows_j (+)= Σ_w p[j][w] x_w for rows of any size; x [16][dim].
void add_outer(const float* p, int64_t keys, const float* x, int64_t dim, float* rows) {
  int64_t d = 0;
  for (; d + W <= dim; d += W) product({p, W, 1, x + d, dim, keys, W, true, rows + d, dim});
  for (; d < dim; ++d) {
    for (int64_t j = 0; j < keys; ++j) {
      float sum = 0;
      for (int64_t w = 0; w < W; ++w) sum += p[j * W + w] * x[w * dim + d];
      rows[j * dim + d] += sum;
    }
  }
}

}  // namespace

void attend_head(const float* q, const float* k, const float* v, const HeadShape& s, float* out, float* log_sum) {
  std::vector<float> lanes(static_cast<size_t>(s.dim * W)), p(static_cast<size_t>((s.length + W) * W));
  float most[W], sum[W], factor[W];
  for (int64_t begin = 0; begin < s.length; begin += W) {
    const Tile t = tile_at(begin, s);
    transpose(q + begin * s.dim, t.count, s.dim, s.scale, lanes.data());
    scores(lanes.data(), k, t, s, p.data());
    exponentials(p.data(), t.keys, most, sum);
    mask(p.data(), t, s, 0);
    product({v + t.first * s.dim, 1, s.dim, p.data(), W, s.dim, t.keys, false, lanes.data(), W});
    for (int64_t w = 0; w < W; ++w) factor[w] = 1.0f / sum[w];
    transpose_back(lanes.data(), t.count, s.dim, factor, out + begin * s.dim);
    for (int64_t w = 0; w < t.count; ++w) log_sum[begin + w] = most[w] + std::log(sum[w]);
  }
}

void attend_head_backward(const float* q, const float* k, const float* v, const float* out, const float* log_sum,
                          const float* d_out, const HeadShape& s, float* dq, float* dk, float* dv) {
  const size_t lane_values = static_cast<size_t>(s.dim * W), weights = static_cast<size_t>((s.length + W) * W);
  std::vector<float> lanes(lane_values), q_rows(lane_values), d_rows(lane_values), p(weights), ds(weights);
  float scale[W];
  std::fill(scale, scale + W, s.scale);
  for (int64_t begin = 0; begin < s.length; begin += W) {
    const Tile t = tile_at(begin, s);
    const int64_t values = t.count * s.dim, offset = begin * s.dim;
    float sums[W] = {}, inner[W] = {};
    for (int64_t w = 0; w < t.count; ++w) {
      sums[w] = log_sum[begin + w];
      for (int64_t d = 0; d < s.dim; ++d) inner[w] += d_out[offset + w * s.dim + d] * out[offset + w * s.dim + d];
    }
    for (int64_t i = 0; i < static_cast<int64_t>(lane_values); ++i) {
      q_rows[i] = i < values ? q[offset + i] * s.scale : 0.0f;
      d_rows[i] = i < values ? d_out[offset + i] : 0.0f;
    }
    transpose(q + offset, t.count, s.dim, s.scale, lanes.data());
    scores(lanes.data(), k, t, s, p.data());
    transpose(d_out + offset, t.count, s.dim, 1.0f, lanes.data());
    product({v + t.first * s.dim, s.dim, 1, lanes.data(), W, t.keys, s.dim, false, ds.data(), W});
    weights_backward(p.data(), ds.data(), t.keys, sums, inner);
    mask(p.data(), t, s, 0);
    mask(ds.data(), t, s, 0);
    product({k + t.first * s.dim, 1, s.dim, ds.data(), W, s.dim, t.keys, false, lanes.data(), W});
    transpose_back(lanes.data(), t.count, s.dim, scale, dq + offset);
    add_outer(ds.data(), t.keys, q_rows.data(), s.dim, dk + t.first * s.dim);
    add_outer(p.data(), t.keys, d_rows.data(), s.dim, dv + t.first * s.dim);
  }
}

}  // namespace svq::convert
