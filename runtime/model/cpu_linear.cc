// Groups of linears on the CPU: steps 1 to 5 of schema/FORMAT.md, "Linears", for packed weights; a plain product for
// f16.
#include <algorithm>

#include "runtime/model/cpu_backend.h"
#include "schema/packing.h"

namespace svq::rt {

namespace {
// Linears with equal keys share the norm, the input transform and the rounding.
struct InputKey {
  bool packed;
  int32_t transform, affine;
  bool operator==(const InputKey&) const = default;
};
InputKey input_key(const Linear& l) { return {l.is_packed(), l.input_transform, l.affine}; }

// From this many tokens on, codes are multiplied for all of them at once.
constexpr uint32_t kGemmTokens = 2;

uint64_t row_blocks(const Linear& l) { return format::padded_rows(l.rows) / format::kRowTile; }
}  // namespace

void CpuBackend::run_group(const Inputs& in, std::span<const Target> targets) {
  bool done[kMaxGroup] = {};
  bool normed = !in.norm.apply;
  int32_t rotated = -2;  // input transform that rotated_ holds; -2: none yet
  for (size_t i = 0; i < targets.size(); ++i) {
    if (done[i]) continue;
    const Linear& leader = *targets[i].linear;
    Target same[kMaxGroup];
    size_t n_same = 0;
    uint64_t blocks = 0, bytes = 0;
    for (size_t j = i; j < targets.size(); ++j) {
      const Linear& l = *targets[j].linear;
      if (done[j] || !(input_key(l) == input_key(leader))) continue;
      done[j] = true;
      same[n_same++] = targets[j];
      blocks += row_blocks(l);
      bytes += uint64_t{l.rows} * l.columns * l.bits / 8;
    }
    const std::span<const Target> members(same, n_same);

    // 1 … 3: what was deferred, norm, input transform, int8; the narrow half of side paths.
    const bool rotate = leader.is_packed() && leader.input_transform != rotated;
    each_token(in.n, [&](uint32_t t, uint32_t thread) {
      if (i == 0) finish_input(in, t, leader.columns);
      prepare_token(in, t, leader, !normed, rotate, thread);
      side_inputs(in, t, members);
    });
    normed = true;
    if (leader.is_packed()) rotated = leader.input_transform;

    if (in.n >= kGemmTokens && leader.is_packed() && !options_.float_activations) {
      const uint64_t columns = format::padded_columns(leader.columns);
      split(columns / 64, columns * in.n, [&](uint64_t begin, uint64_t end, uint32_t) {
        k_.gemm_pack(codes_, k_pad_, in.n, leader.columns, static_cast<uint32_t>(begin * 64),
                     static_cast<uint32_t>(end * 64), panel_);
      });
    }

    // 4: the rows of all members as one range of 16-row blocks.
    const auto multiply_blocks = [&](uint64_t begin, uint64_t end, uint32_t thread) {
      uint64_t first = 0;  // block number of the member's first row
      for (const Target& m : members) {
        const uint64_t count = row_blocks(*m.linear);
        const uint64_t from = std::clamp(begin, first, first + count), to = std::clamp(end, first, first + count);
        if (from < to) multiply(in, m, static_cast<uint32_t>(from - first), static_cast<uint32_t>(to - first), thread);
        first += count;
      }
      if (in.n == 1) note_ahead(leader.id, thread);
    };
    if (bytes * in.n < kParallelBytes) {
      multiply_blocks(0, blocks, 0);
    } else {
      // Pieces that take some hundred nanoseconds; whole tiles where several tokens share them.
      const uint64_t block_bytes = bytes / blocks + 1;
      const uint64_t piece = in.n == 1 ? (kPieceBytes / block_bytes + 3) / 4 * 4 : kTileRows / format::kRowTile;
      pool_->share(static_cast<uint32_t>(blocks), static_cast<uint32_t>(std::max<uint64_t>(piece, 4)), multiply_blocks);
    }

    // 5: output rotations and the wide half of side paths, per token and member.
    const bool finish = std::any_of(members.begin(), members.end(), [](const Target& m) {
      return m.linear->output_rotation.kind != 0 || m.linear->side_rank != 0;
    });
    if (finish) {
      uint64_t values = 0;
      for (const Target& m : members) values += m.linear->rows;
      split(uint64_t{in.n} * n_same, values * in.n * sizeof(float), [&](uint64_t begin, uint64_t end, uint32_t thread) {
        for (uint64_t u = begin; u < end; ++u) {
          if (stopped(thread, kPollWork / 4)) return;
          const auto index = static_cast<uint32_t>(u % n_same);
          finish_token(members[index], index, static_cast<uint32_t>(u / n_same), thread);
        }
      });
    }
  }
}

// The order in which a token reads the linears, in groups that are read together.
void CpuBackend::list_groups() {
  group_of_.resize(w_.n_linears);
  const auto add = [this](std::initializer_list<const Linear*> linears) {
    for (const Linear* l : linears) group_of_[l->id] = static_cast<uint32_t>(groups_.size());
    groups_.emplace_back(linears);
  };
  for (const Block& b : w_.blocks) {
    add({&b.q, &b.k, &b.v});
    add({&b.o});
    add({&b.gate, &b.up});
    add({&b.down});
  }
  add({&w_.head});
}

// Notes for the pool what the calling thread will read of the next two groups.
void CpuBackend::note_ahead(uint32_t linear, uint32_t part) {
  Ahead* ahead = pool_->ahead(part);
  if (ahead == nullptr || !ahead->start(linear, ahead_bytes_)) return;
  const uint64_t threads = pool_->threads();
  for (size_t next = 1; next <= 2; ++next) {
    const std::vector<const Linear*>& group = groups_[(group_of_[linear] + next) % groups_.size()];
    uint64_t blocks = 0, first = 0;
    for (const Linear* l : group) blocks += row_blocks(*l);
    const uint64_t begin = blocks * part / threads, end = blocks * (part + 1) / threads;
    for (const Linear* l : group) {
      const uint64_t count = row_blocks(*l);
      const uint64_t from = std::clamp(begin, first, first + count) - first;
      const uint64_t to = std::clamp(end, first, first + count) - first;
      first += count;
      if (!l->is_packed()) {
        ahead->add(l->weight + from * format::kRowTile * l->columns,
                   (to - from) * format::kRowTile * l->columns * sizeof(uint16_t));
        continue;
      }
      for (uint32_t p = 0; p < l->packed.n_planes; ++p) {
        const uint64_t stride = format::plane_size(format::kRowTile, l->columns, l->packed.plane_bits[p]);
        ahead->add(l->packed.plane[p] + from * stride, (to - from) * stride);
      }
    }
  }
}

void CpuBackend::finish_input(const Inputs& in, uint32_t token, uint32_t columns) {
  const size_t at = size_t{token} * in.stride;
  if (in.sum != nullptr) k_.add(in.x + at, in.sum + at, columns);
  if (in.up != nullptr) k_.silu_mul(in.x + at, in.up + at, columns, in.x + at);
}

void CpuBackend::prepare_token(const Inputs& in, uint32_t token, const Linear& l, bool norm, bool rotate,
                               uint32_t thread) {
  const size_t at = size_t{token} * k_pad_;
  const float* x = in.x + token * in.stride;
  if (norm) k_.rmsnorm(x, in.norm.weight, w_.config.norm_eps, l.columns, normed_ + at);
  if (!l.is_packed()) return;
  if (in.norm.apply) x = normed_ + at;
  const float* u = x;
  if (l.input_transform >= 0) {
    const InputTransform& transform = w_.input_transforms[static_cast<uint32_t>(l.input_transform)];
    if (rotate)
      k_.scale_rotate(x, transform.scale, transform.rotation, l.columns, rotated_ + at, scratch_[thread].rotate);
    u = rotated_ + at;
  }
  kernels::Quantized& q = quantized_[token];
  q.z = codes_ + at;
  k_.affine_quantize(u, w_.affine_maps[static_cast<uint32_t>(l.affine)], l.columns, z_ + at, &q);
}

void CpuBackend::side_inputs(const Inputs& in, uint32_t token, std::span<const Target> targets) {
  const float* x = in.norm.apply ? normed_ + size_t{token} * k_pad_ : in.x + token * in.stride;
  for (size_t i = 0; i < targets.size(); ++i) {
    const Linear& l = *targets[i].linear;
    if (l.side_rank == 0) continue;
    k_.matmul_f16(l.side_v, l.columns, 0, l.side_rank, x, 0, 1, side_ + (token * kMaxGroup + i) * w_.max_side_rank, 0);
  }
}

void CpuBackend::multiply(const Inputs& in, const Target& target, uint32_t block_begin, uint32_t block_end,
                          uint32_t thread) {
  if (target.linear->is_packed()) {
    multiply_packed(in.n, target, block_begin, block_end, thread);
  } else {
    multiply_f16(in, target, block_begin, block_end, thread);
  }
}

void CpuBackend::multiply_f16(const Inputs& in, const Target& target, uint32_t block_begin, uint32_t block_end,
                              uint32_t thread) {
  const Linear& l = *target.linear;
  const float* x = in.norm.apply ? normed_ : in.x;
  const uint32_t tile = tile_blocks(l.columns);
  for (uint32_t block = block_begin; block < block_end; block += tile) {
    const uint32_t begin = block * format::kRowTile;
    const uint32_t end = std::min(std::min(block + tile, block_end) * format::kRowTile, l.rows);
    if (stopped(thread, uint64_t{end - begin} * l.columns * 2 * in.n)) return;
    const size_t stride = in.norm.apply ? k_pad_ : in.stride;
    if (target.rows == nullptr) {
      k_.matmul_f16(l.weight, l.columns, begin, end, x, stride, in.n, target.out, target.stride);
    } else {
      for (uint32_t t = 0; t < in.n; ++t)
        k_.matmul_f16(l.weight, l.columns, begin, end, x + t * stride, 0, 1, target.row(t), 0);
    }
    if (l.bias == nullptr) continue;
    for (uint32_t t = 0; t < in.n; ++t) k_.add(target.row(t) + begin, l.bias + begin, end - begin);
  }
}

// 16-row blocks of a linear that are multiplied between two polls: about a million weights.
uint32_t CpuBackend::tile_blocks(uint32_t columns) {
  return std::clamp((1u << 20) / (columns * format::kRowTile), 1u, kAccValues / format::kRowTile);
}

void CpuBackend::multiply_packed(uint32_t n, const Target& target, uint32_t block_begin, uint32_t block_end,
                                 uint32_t thread) {
  const Linear& l = *target.linear;
  Scratch& s = scratch_[thread];
  const bool token_by_token = n < kGemmTokens;
  const uint32_t tile = options_.float_activations ? 1
                        : token_by_token           ? tile_blocks(l.columns)
                                                   : kTileRows / format::kRowTile;
  // Scales and bias act on rows alone unless a rotation comes first.
  const bool scale_here = l.output_rotation.kind == 0;
  const float middle = format::middle_code(l.bits);

  for (uint32_t block = block_begin; block < block_end; block += tile) {
    const uint32_t tile_end = std::min(block + tile, block_end);
    const uint32_t row = block * format::kRowTile, rows = std::min(tile_end * format::kRowTile, l.rows) - row;
    if (stopped(thread, uint64_t{rows} * l.columns * l.bits / 8 * n)) return;
    auto* const sums = reinterpret_cast<float*>(s.acc);
    if (options_.float_activations) {
      k_.decode_block(l.packed, block, s.block);
      k_.matmul_f16(s.block, l.columns, 0, format::kRowTile, z_, k_pad_, n, sums, kTileRows);
    } else if (!token_by_token) {
      k_.gemm(l.packed, panel_, n, block, tile_end, s.acc, kTileRows);
    }
    for (uint32_t t = 0; t < n; ++t) {
      const kernels::Quantized& q = quantized_[t];
      float* out = target.row(t) + row;
      const float offset = q.beta + middle * q.lost;
      if (options_.float_activations) {
        for (uint32_t r = 0; r < rows; ++r) out[r] = sums[size_t{t} * kTileRows + r] / kernels::kCodeUnit + q.beta;
      } else if (token_by_token) {
        k_.gemv(l.packed, q.z, block, tile_end, s.acc);
        k_.dequantize(s.acc, q.delta, offset, rows, out);
      } else {
        k_.dequantize(s.acc + size_t{t} * kTileRows, q.delta, offset, rows, out);
      }
      if (scale_here && (l.out_scale != nullptr || l.bias != nullptr)) {
        k_.rotate_scale(out, {}, l.out_scale == nullptr ? nullptr : l.out_scale + row,
                        l.bias == nullptr ? nullptr : l.bias + row, rows, s.rotate);
      }
    }
  }
}

void CpuBackend::finish_token(const Target& target, uint32_t index, uint32_t token, uint32_t thread) {
  const Linear& l = *target.linear;
  Scratch& s = scratch_[thread];
  float* out = target.row(token);
  if (l.output_rotation.kind != 0) k_.rotate_scale(out, l.output_rotation, l.out_scale, l.bias, l.rows, s.rotate);
  if (l.side_rank == 0) return;
  const float* narrow = side_ + (token * kMaxGroup + index) * w_.max_side_rank;
  for (uint32_t row = 0; row < l.rows; row += kTileRows) {
    const uint32_t rows = std::min(kTileRows, l.rows - row);
    k_.matmul_f16(l.side_u + uint64_t{row} * l.side_rank, l.side_rank, 0, rows, narrow, 0, 1, s.row, 0);
    k_.add(out + row, s.row, rows);
  }
}

}  // namespace svq::rt
