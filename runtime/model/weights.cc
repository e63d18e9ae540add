#include "runtime/model/weights.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "runtime/file/tensors.h"
#include "schema/packing.h"

namespace svq::rt {

struct Weights::Loader {
  Weights& w;
  const ModelFile& file;
  const bool with_values;

  template <class T>
  const T* data(const fb::Tensor* tensor) const {
    return tensor == nullptr ? nullptr : reinterpret_cast<const T*>(file.data().data() + tensor->offset());
  }

  kernels::Rotation rotation(const fb::Rotation* r) {
    kernels::Rotation out;
    if (r == nullptr || r->kind() == fb::RotationKind::None) return out;
    out.kind =
        r->kind() == fb::RotationKind::Mixed && r->factor() > 1 ? 2 : 1;  // with one block the kinds are the same
    out.block = r->block();
    out.factor = r->factor();
    if (out.kind == 2) {
      std::vector<float>& mix = w.mixes_[out.factor];
      if (mix.empty()) {
        mix.resize(size_t{out.factor} * out.factor);
        if (with_values) kernels::make_mix(out.factor, mix.data());
        w.heap_bytes_ += mix.size() * sizeof(float);
      }
      out.mix = mix.data();
    }
    return out;
  }

  kernels::Affine affine(const fb::AffineMaps& m) {
    const uint32_t d = m.dim();
    kernels::Affine out;
    out.dim = d;
    out.columns_per_map = m.columns_per_map();
    out.n_maps = static_cast<uint32_t>(dimension(*m.a(), 0));
    const size_t n_a = size_t{out.n_maps} * d * d, n_b = size_t{out.n_maps} * d;
    std::vector<float>& values = w.affine_values_.emplace_back(n_a + n_b);
    w.heap_bytes_ += values.size() * sizeof(float);
    if (with_values) {
      const uint16_t* a = data<uint16_t>(m.a());
      const uint16_t* b = data<uint16_t>(m.b());
      for (size_t i = 0; i < n_a; ++i) values[i] = kernels::f16_to_f32(a[i]);
      for (size_t i = 0; i < n_b; ++i) values[n_a + i] = kernels::f16_to_f32(b[i]);
    }
    out.a = values.data();
    out.b = values.data() + n_a;
    out.scalar = out.n_maps == 1;
    for (uint32_t i = 0; i < d && out.scalar; ++i) {
      for (uint32_t j = 0; j < d; ++j) out.scalar = out.scalar && out.a[i * d + j] == (i == j ? out.a[0] : 0.0f);
      out.scalar = out.scalar && out.b[i] == out.b[0];
    }
    return out;
  }

  Linear linear(const fb::Linear& l) {
    Linear out;
    out.id = w.n_linears++;
    out.rows = l.rows();
    out.columns = l.columns();
    out.bits = l.bits();
    out.bias = data<float>(l.bias());
    out.side_u = data<uint16_t>(l.side_u());
    out.side_v = data<uint16_t>(l.side_v());
    if (l.side_v() != nullptr) out.side_rank = static_cast<uint32_t>(dimension(*l.side_v(), 0));
    w.max_columns = std::max(w.max_columns, out.columns);
    w.max_side_rank = std::max(w.max_side_rank, out.side_rank);
    if (out.bits == 16) {
      out.weight = data<uint16_t>(l.weight());
      return out;
    }
    out.input_transform = l.input_transform();
    out.affine = l.affine();
    out.output_rotation = rotation(l.output_rotation());
    if (out.output_rotation.kind != 0) w.max_rotation = std::max(w.max_rotation, out.rows);
    out.out_scale = data<uint16_t>(l.out_scale());
    out.packed.rows = out.rows;
    out.packed.columns = out.columns;
    const format::PlaneList planes = format::planes_of(out.bits);
    out.packed.n_planes = planes.count;
    const uint8_t* at = data<uint8_t>(l.weight());
    for (uint32_t p = 0; p < planes.count; ++p) {
      out.packed.plane[p] = at;
      out.packed.plane_bits[p] = static_cast<uint8_t>(planes.plane[p].bits);
      out.packed.plane_weight[p] = static_cast<int32_t>(planes.plane[p].weight);
      at += format::plane_size(out.rows, out.columns, planes.plane[p].bits);
    }
    return out;
  }
};

void rotary_turn(const Config& c, double position, double factor, float* cos, float* sin) {
  for (uint32_t i = 0; i < c.head_dim / 2; ++i) {
    const double angle = position * static_cast<double>(c.rope_inv_freq[i]);
    cos[i] = static_cast<float>(std::cos(angle) * factor);
    sin[i] = static_cast<float>(std::sin(angle) * factor);
  }
}

Weights::Weights(const ModelFile& file, bool with_values) {
  const fb::Model& m = file.model();
  const fb::Architecture& a = *m.architecture();
  config = {.hidden = a.hidden(),
            .intermediate = a.intermediate(),
            .n_layers = a.n_layers(),
            .n_heads = a.n_heads(),
            .n_kv_heads = a.n_kv_heads(),
            .head_dim = a.head_dim(),
            .vocab = a.vocab(),
            .context_length = a.context_length(),
            .sliding_window = a.sliding_window(),
            .norm_eps = a.norm_eps(),
            .rope_inv_freq = {},
            .rope_attention_factor = a.rope_attention_factor()};
  for (uint32_t i = 0; i < a.rope_inv_freq()->size(); ++i) config.rope_inv_freq.push_back(a.rope_inv_freq()->Get(i));

  Loader load{*this, file, with_values};
  for (uint32_t i = 0; i < length(m.input_transforms()); ++i) {
    const fb::InputTransform& t = *m.input_transforms()->Get(i);
    input_transforms.push_back({t.columns(), load.data<uint16_t>(t.scale()), load.rotation(t.rotation())});
  }
  affine_values_.reserve(length(m.affine_maps()));
  for (uint32_t i = 0; i < length(m.affine_maps()); ++i) affine_maps.push_back(load.affine(*m.affine_maps()->Get(i)));

  embedding = load.linear(*m.embedding());
  blocks.reserve(m.blocks()->size());
  for (uint32_t i = 0; i < m.blocks()->size(); ++i) {
    const fb::Block& b = *m.blocks()->Get(i);
    Block& out = blocks.emplace_back();
    out.attn_norm = load.data<float>(b.attn_norm());
    out.q = load.linear(*b.q());
    out.k = load.linear(*b.k());
    out.v = load.linear(*b.v());
    out.q_norm = load.data<float>(b.q_norm());
    out.k_norm = load.data<float>(b.k_norm());
    out.o = load.linear(*b.attn_out());
    out.ffn_norm = load.data<float>(b.ffn_norm());
    out.gate = load.linear(*b.gate());
    out.up = load.linear(*b.up());
    out.down = load.linear(*b.down());
  }
  final_norm = load.data<float>(m.final_norm());
  head = m.head() == nullptr ? embedding : load.linear(*m.head());
  heap_bytes_ += sizeof *this + blocks.capacity() * sizeof(Block) +
                 input_transforms.capacity() * sizeof(InputTransform) +
                 affine_maps.capacity() * sizeof(kernels::Affine);
}

WeightSizes measure(const fb::Model& m) {
  WeightSizes out;
  const auto size = [](const fb::Tensor* t) -> uint64_t { return t == nullptr ? 0 : t->size(); };
  std::set<int32_t> transforms, maps;
  // Scales and affine maps that `l` uses and nothing before it did.
  const auto shared = [&](const fb::Linear& l) {
    uint64_t bytes = 0;
    if (l.input_transform() >= 0 && transforms.insert(l.input_transform()).second) {
      bytes += size(m.input_transforms()->Get(static_cast<uint32_t>(l.input_transform()))->scale());
    }
    if (l.affine() >= 0 && maps.insert(l.affine()).second) {
      const fb::AffineMaps& a = *m.affine_maps()->Get(static_cast<uint32_t>(l.affine()));
      bytes += size(a.a()) + size(a.b());
    }
    return bytes;
  };
  const auto weights = [](const fb::Linear& l) { return uint64_t{l.rows()} * l.columns(); };

  uint64_t block_weights = 0, block_bytes = 0;
  for_each_linear(m, [&](const std::string& path, const fb::Linear& l) {
    out.n_parameters += weights(l);
    if (path.compare(0, 7, "blocks.") != 0) return;
    const uint64_t bytes = size(l.weight()) + size(l.out_scale()) + shared(l);
    block_weights += weights(l);
    block_bytes += bytes;
    out.decode_bytes += bytes + size(l.bias()) + size(l.side_u()) + size(l.side_v());
  });
  out.bits_per_weight =
      block_weights == 0 ? 0 : 8.0 * static_cast<double>(block_bytes) / static_cast<double>(block_weights);
  for (uint32_t i = 0; i < length(m.blocks()); ++i) {
    const fb::Block& b = *m.blocks()->Get(i);
    out.decode_bytes += size(b.attn_norm()) + size(b.q_norm()) + size(b.k_norm()) + size(b.ffn_norm());
  }
  const fb::Linear& head = m.head() == nullptr ? *m.embedding() : *m.head();
  out.decode_bytes += size(head.weight()) + size(head.out_scale()) + size(head.bias()) + size(head.side_u()) +
                      size(head.side_v()) + shared(head) + size(m.final_norm());
  out.decode_bytes += size(m.embedding()->weight()) / m.embedding()->rows();
  return out;
}

}  // namespace svq::rt
