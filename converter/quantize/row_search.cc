#include "converter/quantize/row_search.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "converter/base/vector.h"

namespace svq::convert {
namespace {

constexpr float kNever = std::numeric_limits<float>::infinity();  // dearer than any step
constexpr float kMargin = 1e-5f;                                  // of a diagonal: well above the rounding of f32
constexpr int kDepth = 7;                                         // moves after a kick
constexpr float kDearest = 6;                                     // of a diagonal: what a kick may cost
constexpr int64_t kShortest = 5, kSpread = 10;  // moves for which a code stays where tabu search put it

constexpr int kLanes = 16;

// A pass over a row of H after the code of its column moved by `step`.
struct Pass {
  const float* row;
  float step;
  const float *up, *down;
  int64_t n;
  float* gradient;
};

// gradient −= step · row; then the step of one code, towards the sign of its gradient, that costs least.
template <int W>
SVQ_INLINE float move_and_scan_by(const Pass& pass, int64_t* column) {
  using V = Vector<W>;
  using Lanes = typename V::Lanes;
  using Indices = typename V::Indices;
  const auto [row, step, up, down, n, gradient] = pass;
  Lanes lowest[kLanes / W];
  for (Lanes& l : lowest) l = Lanes{} + kNever;
  Indices at[kLanes / W] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma GCC unroll 4
    for (int part = 0; part < kLanes / W; ++part) {
      const int64_t k = i + part * W;
      const Lanes g = V::at(gradient + k) - step * V::at(row + k);
      V::at(gradient + k) = g;
      const Lanes c = g > 0 ? V::at(up + k) - (g + g) : V::at(down + k) + (g + g);
      at[part] = c < lowest[part] ? Indices{} + static_cast<int32_t>(k) : at[part];
      lowest[part] = c < lowest[part] ? c : lowest[part];
    }
  }
  float least = kNever;
  const auto offer = [&](float cost, int64_t k) {
    if (!(cost < least)) return;
    least = cost;
    *column = k;
  };
  for (int part = 0; part < kLanes / W; ++part) {
    for (int w = 0; w < W; ++w) offer(lowest[part][w], at[part][w] + w);
  }
  for (; i < n; ++i) {
    const float g = gradient[i] -= step * row[i];
    offer(g > 0 ? up[i] - (g + g) : down[i] + (g + g), i);
  }
  return least;
}

#ifdef SVQ_AVX2
SVQ_AVX512 float move_and_scan(const Pass& pass, int64_t* column) { return move_and_scan_by<16>(pass, column); }
SVQ_AVX2 float move_and_scan(const Pass& pass, int64_t* column) { return move_and_scan_by<8>(pass, column); }
#endif
SVQ_OTHER float move_and_scan(const Pass& pass, int64_t* column) { return move_and_scan_by<4>(pass, column); }

}  // namespace

RowSearch::RowSearch(const float* hessian, int64_t columns, int max_code)
    : hessian_(hessian), columns_(columns), max_code_(max_code), up_(columns), down_(columns), best_gradient_(columns) {
  for (int64_t k = 0; k < columns; ++k) diagonal_.push_back(hessian[k * columns + k]);
}

void RowSearch::keep_gradient() { std::copy_n(gradient_, columns_, best_gradient_.data()); }
void RowSearch::restore_gradient() { std::copy_n(best_gradient_.data(), columns_, gradient_); }

void RowSearch::bar(int64_t k) { up_[k] = down_[k] = kNever; }

void RowSearch::release(int64_t k) {
  up_[k] = codes_[k] < max_code_ ? diagonal_[k] : kNever;
  down_[k] = codes_[k] > 0 ? diagonal_[k] : kNever;
}

RowSearch::Move RowSearch::apply(int64_t k, float step) {
  codes_[k] = static_cast<uint8_t>(codes_[k] + static_cast<int>(step));
  bar(k);
  return scan(k, step);
}

RowSearch::Move RowSearch::scan(int64_t k, float step) {
  Move next{0, 0};
  next.cost =
      move_and_scan({hessian_ + k * columns_, step, up_.data(), down_.data(), columns_, gradient_}, &next.column);
  return next;
}

double RowSearch::run(int64_t moves, NamedRandom& random, float* gradient, uint8_t* codes) {
  gradient_ = gradient;
  codes_ = codes;
  for (int64_t k = 0; k < columns_; ++k) release(k);
  const double change = tabu(moves / 5, random);
  return change + kick(moves - moves / 5, random);
}

double RowSearch::tabu(int64_t moves, NamedRandom& random) {
  // Columns barred until the given move, and the steps since the best codes.
  std::vector<std::pair<int64_t, int64_t>> barred;
  std::vector<std::pair<int64_t, float>> since;
  double total = 0, best = 0;
  Move next = scan(0, 0);
  for (int64_t i = 0; i < moves && next.cost < kNever; ++i) {
    const int64_t k = next.column;
    const float step = gradient_[k] > 0 ? 1.0f : -1.0f;
    total += next.cost;
    const bool better = total < best - kMargin * diagonal_[k];
    if (since.empty() && !better) keep_gradient();  // of the best codes so far
    std::erase_if(barred, [&](const auto& b) {
      if (b.second > i) return false;
      release(b.first);
      return true;
    });
    barred.emplace_back(k, i + kShortest + static_cast<int64_t>(random.next() % kSpread));
    next = apply(k, step);
    since.emplace_back(k, step);
    if (better) {
      best = total;
      since.clear();
    }
  }
  if (!since.empty()) {
    for (const auto& [k, step] : since) codes_[k] = static_cast<uint8_t>(codes_[k] - static_cast<int>(step));
    restore_gradient();
  }
  for (int64_t k = 0; k < columns_; ++k) release(k);
  return best;
}

double RowSearch::kick(int64_t moves, NamedRandom& random) {
  double gained = 0;
  keep_gradient();
  std::array<std::pair<int64_t, float>, kDepth + 1> steps;
  for (int64_t done = 0; done < moves;) {
    const auto k = static_cast<int64_t>(random.next() % static_cast<uint64_t>(columns_));
    const float step = random.sign(), first = diagonal_[k] - 2 * step * gradient_[k];
    const int code = codes_[k] + static_cast<int>(step);
    ++done;
    if (code < 0 || code > max_code_ || first > kDearest * diagonal_[k]) continue;
    size_t count = 0;
    float total = first;
    steps[count++] = {k, step};
    Move next = apply(k, step);
    while (count < steps.size() && next.cost < kNever && (next.cost < 0 || total > -kMargin * diagonal_[k])) {
      const float towards = gradient_[next.column] > 0 ? 1.0f : -1.0f;
      total += next.cost;
      steps[count++] = {next.column, towards};
      next = apply(next.column, towards);
      ++done;
    }
    const bool better = total < -kMargin * diagonal_[k];
    if (better) {
      gained += total;
      keep_gradient();
    } else {
      restore_gradient();
    }
    for (size_t i = 0; i < count; ++i) {
      const auto [column, taken] = steps[i];
      if (!better) codes_[column] = static_cast<uint8_t>(codes_[column] - static_cast<int>(taken));
      release(column);
    }
  }
  return gained;
}

}  // namespace svq::convert
