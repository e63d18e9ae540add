// Attention over a vector struct (simd/): one kernel, two cache formats behind the small Cache structs.
#pragma once
#include <cstring>

#include "kernels-neon/attention/attention.h"
#include "kernels-neon/simd/exp.h"

namespace svq::kernels {
namespace {

// Asks for the n elements from p on.
template <class T>
inline void fetch(const T* p, size_t n) {
  for (size_t i = 0; i < n * sizeof(T); i += 64) __builtin_prefetch(reinterpret_cast<const char*>(p) + i);
}

template <class V>
struct F16Cache {
  static constexpr bool kScaled = false;
  const uint16_t* base;
  size_t stride;
  const uint16_t* at(size_t p) const { return base + p * stride; }
  static typename V::F load(const uint16_t* p) { return V::load_f16(p); }
};

template <class V>
struct I8Cache {
  static constexpr bool kScaled = true;
  const int8_t* base;
  size_t stride;
  const float* scales;
  size_t scale_stride;
  const int8_t* at(size_t p) const { return base + p * stride; }
  static typename V::F load(const int8_t* p) { return V::load_i8(p); }
  float scale(size_t p) const { return scales[p * scale_stride]; }
};

// The element type has no lane to read alone, so a tail is copied into a padded vector.
template <class V, class Cache, class T>
inline typename V::F load_tail(const T* p, size_t n) {
  T tail[V::kLanes] = {};
  std::memcpy(tail, p, n * sizeof(T));
  return Cache::load(tail);
}

// Up to four queries and the block of positions they are at. Scores lie as [position][4 queries]: a vector holds
// kLanes / 4 positions, and what softmax needs of a query stands in the same place of every quad.
template <class V, class Cache, int Q>
struct AttendTile {
  using F = typename V::F;
  static constexpr size_t kLanes = V::kLanes;
  static constexpr int kPositions = kLanes / 4;         // of a vector of scores
  static constexpr int kVectors = kLanes == 4 ? 4 : 1;  // of scores at a time: 16, 8, 16 accumulators
  // Vectors of output columns at a time: some eight sums under way, as many as two multiply-adds a cycle keep busy, and
  // no more registers than there are.
  static constexpr int kColumns = kLanes == 4 || kLanes == 16 ? 4 : Q == 1 ? 8 : Q == 2 ? 4 : 2;
  static constexpr int kStep = kPositions * kVectors;
  static_assert(kAttentionBlock % kStep == 0);

  const AttendQuery* query;
  const Cache& keys;
  const Cache& values;
  const uint32_t head_dim;
  const float scale;
  const bool ahead;  // asks for the next block
  const size_t whole = head_dim / kLanes * kLanes, rest = head_dim - whole;

  float out_tail[Q][kLanes] = {};             // elements past `whole`
  alignas(64) float packed[kMaxHeadDim * Q];  // the queries: kLanes of one, of the next, …; padded with zeros
  alignas(64) float score[kAttentionBlock * 4];
  float shrink[kLanes];
  uint64_t begin = 0;                 // first position of the block: a multiple of kAttentionBlock, as sums go by lane
  uint32_t low = 0, n = 0;            // [low, n): the block's positions that a query attends
  uint32_t from[Q] = {}, to[Q] = {};  // [from, to): those of each query

  // Not an aggregate, whose arrays would be cleared for every tile.
  AttendTile(const AttendQuery* queries, const Cache& k, const Cache& v, uint32_t d, float factor, bool first)
      : query(queries), keys(k), values(v), head_dim(d), scale(factor), ahead(first) {}

  // score[j …] for kStep positions at a time up to n; those outside [low, n) repeat its ends, and the mask overwrites
  // them. Not inlined, as is weigh(): what stands around it would take registers from the sums.
  __attribute__((noinline)) void dots() {
    const auto* const base = keys.at(begin);
    const F factor = V::splat(scale);
    for (uint32_t j = low / kStep * kStep; j < n; j += kStep) {
      F sum[kStep][4];
      for (int p = 0; p < kStep; ++p) {
        for (int q = 0; q < 4; ++q) sum[p][q] = V::zero();
      }
      decltype(keys.at(0)) at[kStep];
      for (uint32_t p = 0; p < kStep; ++p) {
        at[p] = base + (j + p < low ? low : j + p < n ? j + p : n - 1) * keys.stride;
      }
      for (uint32_t p = 0; ahead && p < kStep; ++p) {
        fetch(at[p] + kAttentionBlock * keys.stride, head_dim);
        fetch(values.at(begin + j + p + kAttentionBlock), head_dim);
      }
      // Unrolled whole: a sum that is indexed would be kept in memory.
      const auto add = [&](const F* key, const float* x) {
#pragma GCC unroll 4
        for (int q = 0; q < Q; ++q) {
          const F xq = V::load(x + q * kLanes);
#pragma GCC unroll 4
          for (int p = 0; p < kStep; ++p) sum[p][q] = V::fma(xq, key[p], sum[p][q]);
        }
      };
      const float* x = packed;
      for (size_t i = 0; i < whole; i += kLanes, x += Q * kLanes) {
        F key[kStep];
        for (int p = 0; p < kStep; ++p) key[p] = Cache::load(at[p] + i);
        add(key, x);
      }
      if (rest) {
        F key[kStep];
        for (int p = 0; p < kStep; ++p) key[p] = load_tail<V, Cache>(at[p] + whole, rest);
        add(key, x);
      }
      for (int v = 0; v < kVectors; ++v) {
        V::store(score + j * 4 + v * kLanes, V::mul(V::sum_to_quads(sum + v * kPositions), factor));
      }
    }
  }

  void mask(uint32_t start, uint32_t padded, float value) {
    for (int q = 0; q < Q; ++q) {
      for (uint32_t j = start; j < from[q]; ++j) score[j * 4 + q] = value;
      for (uint32_t j = to[q] > start ? to[q] : start; j < padded; ++j) score[j * 4 + q] = value;
    }
  }

  void scale_scores(const Cache& cache) {
    for (uint32_t j = low; j < n; ++j) {
      for (int q = 0; q < 4; ++q) score[j * 4 + q] *= cache.scale(begin + j);
    }
  }

  // out[C vectors at column i] of one query = out · factor + Σ_j p[j] v_j over [j, end).
  template <int C>
  __attribute__((noinline)) void weigh_alone(int q, size_t i, uint32_t j, uint32_t end, float factor) {
    float* out = query[q].out + i;
    F sum[C];
    for (int c = 0; c < C; ++c) sum[c] = V::mul(V::load(out + c * kLanes), V::splat(factor));
    for (; j < end; ++j) {
      const F p = V::splat(score[j * 4 + q]);
      const auto* value = values.at(begin + j) + i;
      for (int c = 0; c < C; ++c) sum[c] = V::fma(p, Cache::load(value + c * kLanes), sum[c]);
    }
    for (int c = 0; c < C; ++c) V::store(out + c * kLanes, sum[c]);
  }

  // The same of all queries, out · shrink to begin with, in the order of positions for every query.
  template <int C>
  __attribute__((noinline)) void weigh(size_t i, uint32_t common_from, uint32_t common_to) {
    float factor[Q];
    for (int q = 0; q < Q; ++q) {
      const uint32_t end = common_from < to[q] ? common_from : to[q];
      factor[q] = shrink[q];
      if (from[q] < end) {
        weigh_alone<C>(q, i, from[q], end, shrink[q]);
        factor[q] = 1;
      }
    }
    F sum[Q][C];
#pragma GCC unroll 4  // here and below: as in dots()
    for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[q][c] = V::mul(V::load(query[q].out + i + c * kLanes), V::splat(factor[q]));
    }
    const float* weight = score + size_t{4} * common_from;
    const auto* value = values.at(begin + common_from) + i;
    for (uint32_t j = common_from; j < common_to; ++j, weight += 4, value += values.stride) {
      F p[Q];
      for (int q = 0; q < Q; ++q) p[q] = V::splat(weight[q]);
      for (int c = 0; c < C; ++c) {
        const F x = Cache::load(value + c * kLanes);
        for (int q = 0; q < Q; ++q) sum[q][c] = V::fma(p[q], x, sum[q][c]);
      }
    }
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) V::store(query[q].out + i + c * kLanes, sum[q][c]);
    }
    for (int q = 0; q < Q; ++q) {
      const uint32_t start = common_to > from[q] ? common_to : from[q];
      if (start < to[q]) weigh_alone<C>(q, i, start, to[q], 1);
    }
  }

  void weigh_tail() {
    for (int q = 0; q < Q; ++q) {
      F sum = V::mul(V::load(out_tail[q]), V::splat(shrink[q]));
      for (uint32_t j = from[q]; j < to[q]; ++j) {
        sum = V::fma(V::splat(score[j * 4 + q]), load_tail<V, Cache>(values.at(begin + j) + whole, rest), sum);
      }
      V::store(out_tail[q], sum);
    }
  }

  void run() {
    uint64_t position = query[0].first, last = query[0].last;
    for (int q = 0; q < Q; ++q) {
      if (query[q].first < position) position = query[q].first;
      if (query[q].last > last) last = query[q].last;
      for (size_t i = 0; i < whole; i += kLanes) V::store(packed + i * Q + q * kLanes, V::load(query[q].q + i));
      if (rest) {
        float* tail = packed + whole * Q + q * kLanes;
        V::store(tail, V::zero());
        std::memcpy(tail, query[q].q + whole, rest * sizeof(float));
      }
      for (uint32_t i = 0; i < head_dim; ++i) query[q].out[i] = 0;
    }
    // A query without a position yet has the lowest finite number: differences stay finite.
    F largest = V::splat(-__FLT_MAX__), total = V::zero();
    for (; position <= last; position = begin + n) {
      begin = position / kAttentionBlock * kAttentionBlock;
      low = static_cast<uint32_t>(position - begin);
      uint64_t end = begin + kAttentionBlock;
      if (end > last + 1) end = last + 1;
      n = static_cast<uint32_t>(end - begin);
      uint32_t common_from = low, common_to = n;
      for (int q = 0; q < Q; ++q) {
        const uint64_t first = query[q].first, after = uint64_t{query[q].last} + 1;
        from[q] = first <= begin ? 0 : first >= end ? n : static_cast<uint32_t>(first - begin);
        to[q] = after >= end ? n : after <= begin ? 0 : static_cast<uint32_t>(after - begin);
        if (from[q] > common_from) common_from = from[q];
        if (to[q] < common_to) common_to = to[q];
      }
      if (common_from >= common_to) common_from = common_to = n;

      dots();
      if constexpr (Cache::kScaled) scale_scores(keys);
      const uint32_t start = low / kPositions * kPositions, padded = (n + kPositions - 1) / kPositions * kPositions;
      const bool uneven = start != common_from || padded != common_to;
      if (uneven) mask(start, padded, -__builtin_inff());
      F now = largest;
      for (uint32_t i = start * 4; i < padded * 4; i += kLanes) now = V::max(V::load(score + i), now);
      now = V::largest_of_quads(now);
      V::store(shrink, exp<V>(V::sub(largest, now)));
      for (uint32_t i = start * 4; i < padded * 4; i += kLanes)
        V::store(score + i, exp<V>(V::sub(V::load(score + i), now)));
      if (uneven) mask(start, padded, 0);  // exp is never 0
      total = V::mul(total, V::load(shrink));
      for (uint32_t i = start * 4; i < padded * 4; i += kLanes) total = V::add(total, V::load(score + i));
      largest = now;
      if constexpr (Cache::kScaled) scale_scores(values);
      size_t i = 0;
      for (; i + kColumns * kLanes <= whole; i += kColumns * kLanes) weigh<kColumns>(i, common_from, common_to);
      for (; i < whole; i += kLanes) weigh<1>(i, common_from, common_to);
      if (rest) weigh_tail();
    }
    float sum[kLanes], most[kLanes];
    V::store(sum, V::sum_of_quads(total));
    V::store(most, largest);
    for (int q = 0; q < Q; ++q) {
      std::memcpy(query[q].out + whole, out_tail[q], rest * sizeof(float));
      if (query[q].state != nullptr) {
        query[q].state[0] = most[q];
        query[q].state[1] = sum[q];
      } else {
        for (size_t i = 0; i < head_dim; ++i) query[q].out[i] /= sum[q];
      }
    }
  }
};

template <class V, class Cache>
void attend_body(const AttendQuery* queries, uint32_t n, const Cache& k, const Cache& v, uint32_t head_dim,
                 float scale) {
  bool ahead = true;
  for (; n >= 4; n -= 4, queries += 4, ahead = false)
    AttendTile<V, Cache, 4>(queries, k, v, head_dim, scale, ahead).run();
  if (n == 3) AttendTile<V, Cache, 3>(queries, k, v, head_dim, scale, ahead).run();
  if (n == 2) AttendTile<V, Cache, 2>(queries, k, v, head_dim, scale, ahead).run();
  if (n == 1) AttendTile<V, Cache, 1>(queries, k, v, head_dim, scale, ahead).run();
}

template <class V>
void store_f16_body(const float* x, uint32_t n, uint16_t* out) {
  uint32_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) V::store_f16(out + i, V::load(x + i));
  if (i < n) {
    float tail[V::kLanes] = {};
    uint16_t halves[V::kLanes];
    std::memcpy(tail, x + i, (n - i) * sizeof(float));
    V::store_f16(halves, V::load(tail));
    std::memcpy(out + i, halves, (n - i) * sizeof(uint16_t));
  }
}

template <class V>
void store_i8_body(const float* x, uint32_t n, int8_t* out, float* scale) {
  using F = typename V::F;
  float last[V::kLanes] = {};
  const uint32_t whole = n / V::kLanes * V::kLanes;
  std::memcpy(last, x + whole, (n - whole) * sizeof(float));
  F most = V::abs(V::load(last)), bad = V::mul(V::load(last), V::zero());
  for (uint32_t i = 0; i < whole; i += V::kLanes) {
    most = V::max(most, V::abs(V::load(x + i)));
    bad = V::fma(V::load(x + i), V::zero(), bad);
  }
  const float largest = V::largest(most);
  const bool finite = V::sum(bad) == 0.0f, usable = finite && largest >= 0x1p-100f;
  *scale = !finite ? __builtin_nanf("") : usable ? largest / 127.0f : 0.0f;
  if (!usable) {
    std::memset(out, 0, n);
    return;
  }
  const F inverse = V::splat(127.0f / largest);
  for (uint32_t i = 0; i < whole; i += V::kLanes) V::store_i8(out + i, V::mul(V::load(x + i), inverse));
  int8_t codes[V::kLanes];
  V::store_i8(codes, V::mul(V::load(last), inverse));
  std::memcpy(out + whole, codes, n - whole);
}

}  // namespace
}  // namespace svq::kernels
