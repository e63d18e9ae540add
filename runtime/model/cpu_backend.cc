#include "runtime/model/cpu_backend.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/cpu.h"
#include "schema/packing.h"

namespace svq::rt {

CpuBackend::CpuBackend(const Weights& weights, const CpuOptions& options, const kernels::Table& kernels,
                       ThreadPool* pool, Arena& arena, Arena& cache_arena)
    : w_(weights),
      options_(options),
      k_(kernels),
      pool_(pool),
      arena_(arena),
      cache_(weights.config, options.context, options.kv_bits, cache_arena) {
  const uint64_t n = options_.max_tokens, half = w_.config.head_dim / 2;
  rows_ = arena.take<Row>(n);
  rope_cos_ = arena.take<float>(n * half);
  rope_sin_ = arena.take<float>(n * half);
  // Only threads that share one token's spans need them.
  const uint64_t spans =
      options_.threads > 1 ? (uint64_t{options_.context} + kSpan - 1) / kSpan * w_.config.n_heads : 0;
  span_out_ = arena.take<float>(spans * w_.config.head_dim);
  span_state_ = arena.take<float>(spans * 2);
  k_pad_ = static_cast<uint32_t>(format::padded_columns(w_.max_columns));
  normed_ = arena.take<float>(n * k_pad_);
  rotated_ = arena.take<float>(n * k_pad_);
  z_ = arena.take<float>(n * k_pad_);
  codes_ = arena.take<int8_t>(n * k_pad_);
  quantized_ = arena.take<kernels::Quantized>(n);
  panel_ = arena.take<uint8_t>(k_.gemm_panel(w_.max_columns, options_.max_tokens));
  side_ = arena.take<float>(n * kMaxGroup * w_.max_side_rank);
  acc_values_ = std::max<size_t>(kAccValues, n * kTileRows);
  list_groups();
  ahead_bytes_ = std::min(second_level_cache() / 2, kMostAhead);
  scratch_.resize(options_.threads);
  for (Scratch& s : scratch_) {
    s.acc = arena.take<int32_t>(acc_values_);
    s.rotate = arena.take<float>(std::max(w_.max_columns, w_.max_rotation));
    s.row = arena.take<float>(std::max(w_.max_columns, kTileRows));
    s.attended = arena.take<float>(uint64_t{kAttendQueries} * w_.config.head_dim);
    s.block = arena.take<uint16_t>(options_.float_activations ? format::kRowTile * uint64_t{w_.max_columns} : 0);
  }
}

Buffer CpuBackend::make_buffer(uint32_t width) {
  buffers_.push_back({arena_.take<float>(uint64_t{options_.max_tokens} * width), width});
  return static_cast<Buffer>(buffers_.size() - 1);
}

void CpuBackend::begin(uint32_t position, std::span<const int32_t> tokens) {
  n_ = static_cast<uint32_t>(tokens.size());
  for (uint32_t t = 0; t < n_; ++t) rows_[t] = {tokens[t], position + t, &cache_, nullptr};
  turn_rows();
}

void CpuBackend::begin_rows(std::span<const Row> rows) {
  n_ = static_cast<uint32_t>(rows.size());
  std::copy(rows.begin(), rows.end(), rows_);
  turn_rows();
}

// What every chunk starts with: nothing deferred (a chunk without a head leaves the last sum), the angles of rope.
void CpuBackend::turn_rows() {
  sum_.set = silu_.set = false;
  const uint32_t half = w_.config.head_dim / 2;
  positions_ = 0;
  for (uint32_t t = 0; t < n_; ++t) positions_ = std::max(positions_, rows_[t].position + 1);
  each_token(n_, [&](uint32_t t, uint32_t) {
    rotary_turn(w_.config, rows_[t].position, w_.config.rope_attention_factor, rope_cos_ + size_t{t} * half,
                rope_sin_ + size_t{t} * half);
  });
}

// x = out_scale[token] · scale ⊙ Hᵀ Q_token
void CpuBackend::embed(const Linear& l, Buffer xb) {
  Activations& x = buffer(xb);
  each_token(n_, [&](uint32_t t, uint32_t thread) {
    const auto token = static_cast<uint32_t>(rows_[t].token);
    float* out = x.data + size_t{t} * x.width;
    if (!l.is_packed()) {
      k_.row_f16(l.weight + uint64_t{token} * l.columns, l.columns, out);
      return;
    }
    k_.decode_row(l.packed, w_.affine_maps[static_cast<uint32_t>(l.affine)], token, out);
    if (l.input_transform >= 0) {
      const InputTransform& transform = w_.input_transforms[static_cast<uint32_t>(l.input_transform)];
      k_.rotate(out, transform.rotation, true, scratch_[thread].rotate);
      if (transform.scale != nullptr) {
        float* scale = scratch_[thread].row;
        k_.row_f16(transform.scale, l.columns, scale);
        for (uint32_t i = 0; i < l.columns; ++i) out[i] *= scale[i];
      }
    }
    if (l.out_scale != nullptr) {
      const float scale = kernels::f16_to_f32(l.out_scale[token]);
      for (uint32_t i = 0; i < l.columns; ++i) out[i] *= scale;
    }
  });
}

void CpuBackend::rope_and_store(uint32_t layer, Buffer qb, Buffer kb, Buffer vb, const float* q_norm,
                                const float* k_norm) {
  const Config& c = w_.config;
  const uint32_t d = c.head_dim, half = d / 2;
  const kernels::Rotation turn = key_rotation(d);
  Activations &q = buffer(qb), &k = buffer(kb), &v = buffer(vb);
  each_token(n_, [&](uint32_t t, uint32_t) {
    const KvCache& cache = *rows_[t].cache;
    const float* cos = rope_cos_ + size_t{t} * half;
    const float* sin = rope_sin_ + size_t{t} * half;
    for (uint32_t h = 0; h < c.n_heads; ++h) {
      float* head = q.data + size_t{t} * q.width + size_t{h} * d;
      if (q_norm != nullptr) k_.rmsnorm(head, q_norm, c.norm_eps, d, head);
      k_.rope(head, cos, sin, d);
      if (!cache.is_f16) k_.rotate(head, turn, false, nullptr);
    }
    for (uint32_t h = 0; h < c.n_kv_heads; ++h) {
      float* key = k.data + size_t{t} * k.width + size_t{h} * d;
      const float* value = v.data + size_t{t} * v.width + size_t{h} * d;
      if (k_norm != nullptr) k_.rmsnorm(key, k_norm, c.norm_eps, d, key);
      k_.rope(key, cos, sin, d);
      const uint64_t at = cache.run(layer, h) + rows_[t].position;
      if (cache.is_f16) {
        k_.store_f16(key, d, cache.k16 + at * d);
        k_.store_f16(value, d, cache.v16 + at * d);
      } else {
        k_.rotate(key, turn, false, nullptr);
        k_.store_i8(key, d, cache.k8 + at * d, cache.k_scale + at);
        k_.store_i8(value, d, cache.v8 + at * d, cache.v_scale + at);
      }
    }
  });
}

namespace {

// The first position that the token at position `last` attends to.
uint32_t first_attended(const Config& c, uint32_t last) {
  return c.sliding_window != 0 && last >= c.sliding_window ? last - c.sliding_window + 1 : 0;
}

// What of [first, last] a span from `begin` on holds.
kernels::AttendQuery part_of(const kernels::AttendQuery& query, uint32_t begin, uint32_t span) {
  kernels::AttendQuery part = query;
  part.first = std::max(query.first, begin);
  part.last = std::min(query.last, begin + (span - 1));
  return part;
}

// Results over the positions of `state` and over those of `more` become one over both; state is {largest score, sum}.
void join(float* out, float* state, const float* more, const float* more_state, uint32_t n) {
  const float most = std::max(state[0], more_state[0]);
  const float a = std::exp(state[0] - most), b = std::exp(more_state[0] - most);
  for (uint32_t i = 0; i < n; ++i) out[i] = out[i] * a + more[i] * b;
  state[0] = most;
  state[1] = state[1] * a + more_state[1] * b;
}

void divide(float* x, float by, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) x[i] /= by;
}

}  // namespace

// Some queries of one kv head over positions of one span. False: given up.
bool CpuBackend::attend_part(uint32_t layer, uint32_t kv_head, const KvCache& cache,
                             std::span<const kernels::AttendQuery> part, uint32_t thread) {
  const uint32_t d = w_.config.head_dim;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(d)));
  const uint64_t run = cache.run(layer, kv_head);
  // Whole fours, which share what they read, and several of them: the kernel's first four read ahead for the others. A
  // look between any two batches.
  const uint64_t work = (uint64_t{part[0].last} - part[0].first + 1) * d * 4;
  const auto batch = static_cast<size_t>(std::clamp<uint64_t>(kPollWork / work / 4 * 4, 16, kAttendQueries));
  for (; !part.empty(); part = part.subspan(std::min(batch, part.size()))) {
    const auto n = static_cast<uint32_t>(std::min(batch, part.size()));
    if (stopped(thread, n * work)) return false;
    if (cache.is_f16) {
      k_.attend_f16(part.data(), n, cache.k16 + run * d, cache.v16 + run * d, d, d, scale);
    } else {
      k_.attend_i8(part.data(), n, cache.k8 + run * d, cache.v8 + run * d, cache.k_scale + run, cache.v_scale + run, d,
                   1, d, scale);
    }
  }
  return true;
}

void CpuBackend::attend(uint32_t layer, Buffer qb, Buffer ob) {
  const Config& c = w_.config;
  Activations &q = buffer(qb), &out = buffer(ob);
  const uint64_t units = uint64_t{n_} * c.n_heads, work = units * positions_ * c.head_dim * 4;
  if (n_ == 1 && positions_ > kSpan && options_.threads > 1) {
    attend_spans(layer, q, out);
    return;
  }
  split(units, work,
        [&](uint64_t begin, uint64_t end, uint32_t thread) { attend_rows(layer, begin, end, q, out, thread); });
}

// Units [begin, end) of every kv head's queries: in the order of tokens, a group's heads side by side, so that
// neighbours read the same keys and values.
void CpuBackend::attend_rows(uint32_t layer, uint64_t begin, uint64_t end, const Activations& q, const Activations& out,
                             uint32_t thread) {
  const Config& c = w_.config;
  const uint32_t d = c.head_dim, group = c.n_heads / c.n_kv_heads;
  const uint64_t of_kv_head = uint64_t{n_} * group;
  float state[kAttendQueries][2], more_state[kAttendQueries][2];
  float* const more = scratch_[thread].attended;
  while (begin < end) {
    const auto kv_head = static_cast<uint32_t>(begin / of_kv_head);
    const uint64_t stop = std::min(end, (kv_head + uint64_t{1}) * of_kv_head);
    kernels::AttendQuery queries[kAttendQueries];
    uint32_t count = 0;
    const KvCache& cache = *rows_[begin % of_kv_head / group].cache;
    for (; begin < stop && count < kAttendQueries; ++begin, ++count) {
      const auto t = static_cast<uint32_t>(begin % of_kv_head / group);
      if (rows_[t].cache != &cache) break;
      const uint32_t h = kv_head * group + static_cast<uint32_t>(begin % group), last = rows_[t].position;
      queries[count] = {.q = q.data + size_t{t} * q.width + size_t{h} * d,
                        .out = out.data + size_t{t} * out.width + size_t{h} * d,
                        .first = first_attended(c, last),
                        .last = last};
    }
    // Tokens of one cache stand in the order of their positions.
    for (uint64_t span = queries[0].first / kSpan * kSpan; span <= queries[count - 1].last; span += kSpan) {
      kernels::AttendQuery parts[kAttendQueries];
      uint32_t of[kAttendQueries], n = 0;
      for (uint32_t i = 0; i < count; ++i) {
        kernels::AttendQuery part = part_of(queries[i], static_cast<uint32_t>(span), kSpan);
        if (part.first > part.last) continue;
        const bool begins = part.first == queries[i].first, ends = part.last == queries[i].last;
        if (!begins) part.out = more + size_t{n} * d;
        if (!begins || !ends) part.state = begins ? state[i] : more_state[n];
        of[n] = i;
        parts[n++] = part;
      }
      if (!attend_part(layer, kv_head, cache, {parts, n}, thread)) return;
      for (uint32_t j = 0; j < n; ++j) {
        const kernels::AttendQuery& query = queries[of[j]];
        if (parts[j].first == query.first) continue;
        join(query.out, state[of[j]], parts[j].out, parts[j].state, d);
        if (parts[j].last == query.last) divide(query.out, state[of[j]][1], d);
      }
    }
  }
}

// One token: its kv heads' spans are what threads share.
void CpuBackend::attend_spans(uint32_t layer, const Activations& q, const Activations& out) {
  const Config& c = w_.config;
  const uint32_t d = c.head_dim, group = c.n_heads / c.n_kv_heads, last = rows_[0].position;
  const uint32_t first = first_attended(c, last);
  const uint32_t first_span = first / kSpan, spans = last / kSpan - first_span + 1;
  const uint64_t work = (uint64_t{last} - first + 1) * d * 4 * c.n_heads;
  split(uint64_t{c.n_kv_heads} * spans, work, [&](uint64_t begin, uint64_t end, uint32_t thread) {
    for (; begin < end; ++begin) {
      const auto kv_head = static_cast<uint32_t>(begin / spans), span = static_cast<uint32_t>(begin % spans);
      for (uint32_t g = 0; g < group; g += kAttendQueries) {
        kernels::AttendQuery parts[kAttendQueries];
        const uint32_t n = std::min(kAttendQueries, group - g);
        for (uint32_t i = 0; i < n; ++i) {
          const size_t h = size_t{kv_head} * group + g + i, at = h * spans + span;
          parts[i] = part_of({.q = q.data + h * d,
                              .out = span == 0 ? out.data + h * d : span_out_ + at * d,
                              .first = first,
                              .last = last,
                              .state = span_state_ + at * 2},
                             (first_span + span) * kSpan, kSpan);
        }
        if (!attend_part(layer, kv_head, *rows_[0].cache, {parts, n}, thread)) return;
      }
    }
  });
  split(c.n_heads, uint64_t{c.n_heads} * spans * d * 4, [&](uint64_t begin, uint64_t end, uint32_t) {
    for (uint64_t h = begin; h < end; ++h) {
      float *to = out.data + h * d, *state = span_state_ + h * spans * 2;
      for (uint64_t s = 1; s < spans; ++s) join(to, state, span_out_ + (h * spans + s) * d, state + 2 * s, d);
      divide(to, state[1], d);
    }
  });
}

void CpuBackend::silu_mul(Buffer gate, Buffer up) { silu_ = {true, gate, up}; }

void CpuBackend::add(Buffer x, Buffer y) { sum_ = {true, x, y}; }

CpuBackend::Inputs CpuBackend::inputs(Buffer xb, const Norm& norm, uint32_t first) {
  const Activations& x = buffer(xb);
  const auto of_first = [&](Buffer b) { return buffer(b).data + size_t{first} * x.width; };
  Inputs in{of_first(xb), x.width, n_ - first, norm};
  if (sum_.set && sum_.into == xb) {
    in.sum = of_first(sum_.from);
    sum_.set = false;
  }
  if (silu_.set && silu_.into == xb) {
    in.up = of_first(silu_.from);
    silu_.set = false;
  }
  return in;
}

void CpuBackend::project(Buffer x, const Norm& norm, std::span<const Projection> group) {
  Target targets[kMaxGroup] = {};
  for (size_t i = 0; i < group.size(); ++i) {
    const Activations& out = buffer(group[i].out);
    targets[i] = {&group[i].linear, out.data, out.width};
  }
  run_group(inputs(x, norm), {targets, group.size()});
}

void CpuBackend::head(Buffer x, const Norm& norm, const Linear& head, uint32_t first, float* logits) {
  const Target target{&head, logits, head.rows, logits == nullptr ? rows_ + first : nullptr};
  run_group(inputs(x, norm, first), {&target, 1});
}

}  // namespace svq::rt
