// Groups of linears on a GPU.
#include <algorithm>
#include <utility>

#include "runtime/cuda/layout.h"
#include "schema/packing.h"

namespace svq::rt {
namespace {

constexpr uint32_t kPrefetchBlocks = 4;

bool same_input(const Linear& a, const Linear& b) {
  return a.is_packed() == b.is_packed() && a.input_transform == b.input_transform && a.affine == b.affine;
}
uint32_t padded_rows(const Linear& l) { return static_cast<uint32_t>(format::padded_rows(l.rows)); }

}  // namespace

// The output transform of what a buffer waits for.
void CudaBackend::materialise(Buffer b) {
  Activations& a = buffer(b);
  if (a.product.acc == nullptr) return;
  cuda::Output out;
  out.n = n_;
  out.count = 1;
  out.product[0] = std::exchange(a.product, {});
  out.out[0] = a.data;
  out.scratch = at_->scratch;
  out.max_shared = max_shared_;
  k_.output(stream_, out);
}

void CudaBackend::settle() {
  for (uint32_t i = 0; i < buffers_.size(); ++i) materialise(static_cast<Buffer>(i));
  if (sum_.set) {
    Activations &x = buffer(sum_.into), &y = buffer(sum_.from);
    k_.add(stream_, x.data, y.data, uint64_t{n_} * x.width);
    sum_.set = false;
  }
  if (silu_.set) {
    Activations &gate = buffer(silu_.into), &up = buffer(silu_.from);
    k_.silu_mul(stream_, gate.data, up.data, uint64_t{n_} * gate.width);
    silu_.set = false;
  }
}

// Of the codes that a product of one token will read, the bytes [from, from + bytes): read while the kernels before it
// compute, which leave memory idle.
cuda::Prefetch CudaBackend::prefetch_of(const Linear* const* members, size_t count, uint64_t from,
                                        uint64_t bytes) const {
  cuda::Prefetch out;
  if (n_ > cuda::kGemvTokens) return out;
  uint32_t range = 0;
  uint64_t at = 0, end = from + bytes;  // in all planes, one behind the other
  for (size_t i = 0; i < count; ++i) {
    if (!members[i]->is_packed()) continue;
    const kernels::Packed& w = members[i]->packed;
    for (uint32_t plane = 0; plane < w.n_planes && range < cuda::kPrefetchRanges; ++plane) {
      const uint64_t size = format::plane_size(w.rows, w.columns, w.plane_bits[plane]);
      const uint64_t first = std::max(at, from), last = std::min(at + size, end);
      if (first < last) {
        const uint64_t skipped = (first - at) / cuda::kLine * cuda::kLine;
        out.at[range] = model_->at(w.plane[plane]) + skipped;
        out.lines[range++] = static_cast<uint32_t>((last - at - skipped + cuda::kLine - 1) / cuda::kLine);
        out.blocks = kPrefetchBlocks;
      }
      at += size;
    }
  }
  return out;
}

cuda::Input CudaBackend::input_of(Buffer x, const Norm& norm, uint32_t columns, uint32_t n, uint32_t first) const {
  cuda::Input in;
  in.columns = columns;
  in.n = n;
  in.first = first;
  in.x = buffers_[static_cast<uint32_t>(x)].data;
  in.norm = norm.apply;
  in.weight = model_->at(norm.weight);
  in.eps = w_.config.norm_eps;
  in.scratch = at_->scratch;
  in.max_shared = max_shared_;
  return in;
}

void CudaBackend::set_transform(cuda::Input* in, const Linear& l, uint32_t slot) const {
  if (l.input_transform >= 0) {
    const InputTransform& t = w_.input_transforms[static_cast<uint32_t>(l.input_transform)];
    in->scale = model_->at(t.scale);
    in->rotation = model_->rotation(t.rotation);
  }
  in->affine = model_->affine(l.affine);
  in->codes = at_->codes[slot];
  in->codes_stride = static_cast<uint32_t>(format::padded_columns(l.columns));
  in->scales = at_->scales[slot];
}

cuda::Product CudaBackend::product_of(const Linear& l, uint32_t slot, int32_t* acc) const {
  cuda::Product p;
  p.rows = l.rows;
  p.rotation = model_->rotation(l.output_rotation);
  p.scale = model_->at(l.out_scale);
  p.bias = model_->at(l.bias);
  p.acc = acc;
  p.acc_stride = padded_rows(l);
  p.scales = at_->scales[slot];
  p.middle = format::middle_code(l.bits);
  return p;
}

void CudaBackend::multiply(const Linear* const* members, int32_t* const* acc, size_t count, uint32_t slot, uint32_t n) {
  cuda::PackedProduct p;
  p.n = n;
  p.count = static_cast<uint32_t>(count);
  p.codes = at_->codes[slot];
  p.multiprocessors = multiprocessors_;
  p.max_shared = max_shared_;
  for (size_t i = 0; i < count; ++i) {
    p.w[i] = model_->packed(members[i]->packed);
    p.acc[i] = acc[i];
    p.acc_stride[i] = padded_rows(*members[i]);
  }
  k_.packed_product(stream_, p, cuda::ProductKernel::kAuto);
}

void CudaBackend::f16(const uint16_t* w, uint32_t rows, uint32_t columns, const float* x, const float* bias, float* y,
                      uint32_t n, bool add) {
  cuda::F16Product p;
  p.n = n;
  p.rows = rows;
  p.columns = columns;
  p.w = model_->at(w);
  p.x = x;
  p.bias = model_->at(bias);
  p.y = y;
  p.add = add;
  k_.f16_product(stream_, p);
}

// y += side_u (side_v x)
void CudaBackend::side_path(const Linear& l, const float* x, float* y, uint32_t n) {
  if (l.side_rank == 0) return;
  f16(l.side_v, l.side_rank, l.columns, x, nullptr, at_->side, n, false);
  f16(l.side_u, l.rows, l.side_rank, at_->side, nullptr, y, n, true);
}

void CudaBackend::project(Buffer xb, const Norm& norm, std::span<const Projection> group) {
  if (!recording()) return;
  const uint32_t columns = group[0].linear.columns;
  bool plain = false, one_input = true;
  for (const Projection& p : group) {
    plain = plain || !p.linear.is_packed() || p.linear.side_rank != 0;
    one_input = one_input && same_input(p.linear, group[0].linear);
  }

  // What waits and can be fused with this group's first kernel; everything else is brought up to date.
  cuda::Input in = input_of(xb, norm, columns, n_, 0);
  cuda::Output gate_up;
  if (sum_.set && sum_.into == xb && buffer(sum_.from).product.acc != nullptr) {
    in.y = std::exchange(buffer(sum_.from).product, {});
    sum_.set = false;
  } else if (silu_.set && silu_.into == xb && !norm.apply && !plain && one_input) {
    Activations &gate = buffer(silu_.into), &up = buffer(silu_.from);
    in.gate = gate.data;
    in.up = up.data;
    if (gate.product.acc != nullptr && up.product.acc != nullptr) {
      gate_up.n = n_;
      gate_up.count = 2;
      gate_up.product[0] = std::exchange(gate.product, {});
      gate_up.product[1] = std::exchange(up.product, {});
      gate_up.out[0] = gate.data;
      gate_up.out[1] = up.data;
      gate_up.scratch = at_->scratch;
      gate_up.max_shared = max_shared_;
    }
    silu_.set = false;
  }
  settle();
  if (plain) in.normed = at_->normed;
  // Linears that are not packed read x itself where there is no norm.
  const float* x = norm.apply ? at_->normed : buffer(xb).data;
  if (!norm.apply) in.normed = nullptr;

  bool done[cuda::kMaxGroup] = {};
  int32_t* acc_free = at_->acc;
  uint32_t slot = 0;
  // Packed members first: the first of them brings the norm along.
  bool normed = false;
  for (size_t i = 0; i < group.size(); ++i) {
    const Linear& leader = group[i].linear;
    if (done[i] || !leader.is_packed()) continue;
    const Linear* members[cuda::kMaxGroup];
    int32_t* acc[cuda::kMaxGroup];
    size_t count = 0;
    for (size_t j = i; j < group.size(); ++j) {
      const Linear& l = group[j].linear;
      if (done[j] || !same_input(l, leader)) continue;
      done[j] = true;
      members[count] = &l;
      acc[count++] = acc_free;
      buffer(group[j].out).product = product_of(l, slot, acc_free);
      acc_free += uint64_t{n_} * padded_rows(l);
    }
    set_transform(&in, leader, slot);
    // o's codes are on their way since qkv and attention.
    if (members[0] != &w_.blocks[layer_].o) in.prefetch = prefetch_of(members, count, 0, prefetch_bytes_);
    if (gate_up.count != 0) {
      k_.gate_up(stream_, gate_up, in, at_->counters);
      gate_up.count = 0;
    } else {
      k_.input(stream_, in);
    }
    in = input_of(xb, norm, columns, n_, 0);  // of the next distinct input: nothing is fused any more
    normed = true;
    multiply(members, acc, count, slot, n_);
    ++slot;
  }
  if (!normed && (norm.apply || in.y.acc != nullptr)) {
    if (norm.apply) in.normed = at_->normed;
    k_.input(stream_, in);
  }
  for (const Projection& p : group) {
    const Linear& l = p.linear;
    Activations& out = buffer(p.out);
    if (!l.is_packed()) {
      f16(l.weight, l.rows, l.columns, x, l.bias, out.data, n_, false);
    } else if (l.side_rank != 0) {
      materialise(p.out);
    }
    side_path(l, x, out.data, n_);
  }
}

// Logits of tokens first … first + n − 1 to rows 0 … of at_->logits.
void CudaBackend::run_head(const Linear& l, const Norm& norm, Buffer xb, uint32_t first, uint32_t n) {
  cuda::Input in = input_of(xb, norm, l.columns, n, first);
  const bool plain = !l.is_packed() || l.side_rank != 0;
  if (sum_.set && sum_.into == xb && buffer(sum_.from).product.acc != nullptr && first + n == n_) {
    in.y = std::exchange(buffer(sum_.from).product, {});
    sum_.set = false;
  }
  settle();
  const float* x = buffer(xb).data + uint64_t{first} * l.columns;
  if (plain && norm.apply) {
    in.normed = at_->normed;
    x = at_->normed;
  }
  if (!l.is_packed()) {
    if (norm.apply || in.y.acc != nullptr) k_.input(stream_, in);
    f16(l.weight, l.rows, l.columns, x, l.bias, at_->logits, n, false);
  } else {
    set_transform(&in, l, 0);
    const Linear* members[] = {&l};
    if (n_ == 1) in.prefetch = prefetch_of(members, 1, 0, prefetch_bytes_);
    k_.input(stream_, in);
    int32_t* acc[] = {at_->acc};
    multiply(members, acc, 1, 0, n);
    const cuda::Product p = product_of(l, 0, at_->acc);
    if (l.output_rotation.kind == 0) {
      k_.logits(stream_, p, n, at_->logits);
    } else {
      cuda::Output out;
      out.n = n;
      out.count = 1;
      out.product[0] = p;
      out.out[0] = at_->logits;
      out.scratch = at_->scratch;
      out.max_shared = max_shared_;
      k_.output(stream_, out);
    }
  }
  side_path(l, x, at_->logits, n);
}

}  // namespace svq::rt
