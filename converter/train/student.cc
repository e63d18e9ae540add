#include "converter/train/student.h"

#include <algorithm>
#include <cmath>

#include "converter/quantize/grid.h"
#include "converter/train/attention.h"
#include "converter/train/pointwise.h"
#include "schema/packing.h"

namespace svq::convert {
namespace {

at::Tensor leaf(const at::Tensor& value) { return value.detach().to(at::kFloat).clone().requires_grad_(true); }

}  // namespace

std::vector<at::Tensor> StudentGroup::forward(const at::Tensor& x) const {
  std::vector<Affine> inputs;
  if (!maps.empty()) {
    std::vector<AffineMaps> all;
    for (const Map& m : maps) all.push_back({m.a, m.centre, m.columns_per_map});
    const auto packed = std::find_if(linears.begin(), linears.end(), [](auto& l) { return l.codes.defined(); });
    inputs = transform_input(x, in_scale, rotation, all, packed->codes.scalar_type());
  }
  std::vector<at::Tensor> outputs;
  at::Tensor rounded;  // x as linears in floats multiply it
  for (const StudentLinear& l : linears) {
    at::Tensor y;
    if (l.codes.defined()) {
      const Affine& in = inputs[static_cast<size_t>(l.map)];
      y = rotate_output(code_product(in.z, l.codes), in.beta, l.out_scale, l.output_rotation);
    } else {
      if (!rounded.defined() || rounded.scalar_type() != l.product_type) rounded = x.detach().to(l.product_type);
      y = float_product(x, rounded, l.weight);
    }
    if (on_output_gradient && y.requires_grad())
      y.register_hook([hook = on_output_gradient, i = outputs.size()](const at::Tensor& g) { hook(i, g); });
    outputs.push_back(l.bias.defined() ? y + l.bias : y);
  }
  return outputs;
}

at::Tensor mix_heads(const std::vector<at::Tensor>& qkv, int64_t length, const fb::ArchitectureT& a,
                     const RopeTables& rope, const at::Tensor& q_norm, const at::Tensor& k_norm) {
  const int64_t tokens = qkv[0].size(0), head_dim = a.head_dim;
  const auto by_heads = [&](const at::Tensor& y, const at::Tensor& norm) {
    at::Tensor heads = y.view({tokens / length, length, -1, head_dim});
    if (norm.defined()) heads = normalise(heads, norm, a.norm_eps);
    return heads.transpose(1, 2);
  };
  const at::Tensor q = apply_rope(by_heads(qkv[0], q_norm), rope), k = apply_rope(by_heads(qkv[1], k_norm), rope);
  return attend(q, k, by_heads(qkv[2], {}), a.sliding_window).transpose(1, 2).reshape({tokens, -1});
}

at::Tensor StudentBlock::forward(const at::Tensor& hidden, const fb::ArchitectureT& a, const RopeTables& rope) const {
  const int64_t length = hidden.size(1);
  const at::Tensor x = hidden.view({-1, hidden.size(2)});
  const auto qkv = attn_in.forward(normalise(x, attn_in.norm, a.norm_eps));
  const at::Tensor x1 = x + o_in.forward(mix_heads(qkv, length, a, rope, q_norm, k_norm))[0];
  const auto inner = ffn_in.forward(normalise(x1, ffn_in.norm, a.norm_eps));
  const at::Tensor x2 = x1 + down_in.forward(silu_product(inner[0], inner[1]))[0];
  return x2.view(hidden.sizes());
}

std::vector<StudentGroup*> Student::groups() {
  std::vector<StudentGroup*> all{&embedding};
  for (StudentBlock& b : blocks) {
    for (StudentGroup* g : {&b.attn_in, &b.o_in, &b.ffn_in, &b.down_in}) all.push_back(g);
  }
  if (!tied) all.push_back(&head);
  return all;
}

template <class Visit>
void Student::for_parameters(const Visit& visit) {
  const auto add = [&](const std::string& name, at::Tensor& value, const StudentGroup::Map* map = nullptr) {
    if (value.defined()) visit(name, value, map);
  };
  if (first_trained_block > 0) {
    for (StudentGroup* g : groups()) {
      for (StudentLinear& l : g->linears)
        if (l.weight.defined() && l.weight.requires_grad()) add(l.name + ".weight", l.weight);
    }
    return;
  }
  for (StudentGroup* g : groups()) {
    add(g->name + ".norm", g->norm);
    add(g->name + ".scale", g->in_scale);
    for (size_t i = 0; i < g->maps.size(); ++i) {
      StudentGroup::Map& m = g->maps[i];
      add(g->name + ".a" + std::to_string(i), m.a, &m);
      add(g->name + ".b" + std::to_string(i), m.centre, &m);
    }
    for (StudentLinear& l : g->linears) {
      add(l.name + ".out_scale", l.out_scale);
      add(l.name + ".bias", l.bias);
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    add("blocks." + std::to_string(i) + ".q_norm", blocks[i].q_norm);
    add("blocks." + std::to_string(i) + ".k_norm", blocks[i].k_norm);
  }
  add("final_norm", final_norm);
}

std::vector<Parameter> Student::parameters() {
  std::vector<Parameter> all;
  for_parameters([&](const std::string& name, at::Tensor& value, const StudentGroup::Map* map) {
    if (!value.requires_grad()) value = leaf(value);
    // The size of A as a whole, root mean square of its singular values, is the unit of both A and B.
    const double unit = map ? map->a.detach().square().sum({1, 2}).mean().div(map->dim).sqrt().item<double>()
                            : value.detach().abs().mean().item<double>();
    all.push_back({name, value, unit > 0 ? unit : 1.0, map != nullptr});
  });
  return all;
}

Student Student::replica() const {
  Student copy = *this;
  copy.for_parameters([](const std::string&, at::Tensor& value, const StudentGroup::Map*) {
    value = value.detach().requires_grad_(true);
  });
  return copy;
}

at::Tensor Student::embed(const at::Tensor& tokens) const {
  const StudentLinear& l = embedding.linears[0];
  const at::Tensor ids = tokens.reshape({-1});
  at::Tensor rows;
  if (l.codes.defined()) {
    const StudentGroup::Map& m = embedding.maps[static_cast<size_t>(l.map)];
    const at::Tensor codes = l.codes.index_select(0, ids).to(at::kFloat);
    // Q = A c + B by groups: the transpose of apply_maps with one offset a column.
    const int64_t d = m.dim, n = codes.size(0), columns = codes.size(1), groups = columns / d;
    at::Tensor q;
    if (m.a.size(0) == 1) {
      q = (at::matmul(codes.view({n * groups, d}), m.a[0].t()) + m.centre[0]).view({n, columns});
    } else {
      const int64_t per_map = m.columns_per_map / d;
      const at::Tensor map_of = at::arange(groups, at::kLong).div(per_map, "floor");
      q = (at::bmm(codes.view({n, groups, d}).transpose(0, 1), m.a.index_select(0, map_of).transpose(1, 2)) +
           m.centre.index_select(0, map_of).unsqueeze(1))
              .transpose(0, 1)
              .reshape({n, columns});
    }
    rows = rotate_back(q, embedding.in_scale, embedding.rotation) * l.out_scale.index_select(0, ids).unsqueeze(1);
  } else {
    rows = l.weight.index_select(0, ids).to(at::kFloat);
  }
  return rows.view({tokens.size(0), tokens.size(1), rows.size(1)});
}

at::Tensor Student::head_input(const at::Tensor& hidden) const {
  return normalise(hidden, final_norm, architecture_->norm_eps);
}

at::Tensor Student::logits(const at::Tensor& normalised) const { return head_group().forward(normalised)[0]; }

at::Tensor Student::hidden(const at::Tensor& tokens) const {
  const at::NoGradGuard no_grad;
  const RopeTables tables = rope(tokens.size(1));
  at::Tensor h = embed(tokens);
  for (const StudentBlock& block : blocks) h = block.forward(h, *architecture_, tables);
  return h;
}

StudentGroup make_group(const QuantizedGroup& q, bool bf16) {
  StudentGroup group;
  group.name = q.name;
  group.columns = q.columns;
  group.rotation = q.rotation;
  if (!q.maps.empty()) group.in_scale = q.in_scale.defined() ? q.in_scale : at::ones({q.columns}, at::kFloat);
  std::vector<int> bits(q.maps.size(), 2);
  for (const QuantizedLinear& l : q.linears) bits[static_cast<size_t>(l.affine)] = l.bits;
  for (size_t i = 0; i < q.maps.size(); ++i) {
    const AffineMapsData& m = q.maps[i];
    group.maps.push_back({m.dim, m.columns_per_map, m.a, m.b + m.a.sum(2) * format::middle_code(bits[i]), bits[i]});
  }
  for (const QuantizedLinear& l : q.linears) {
    StudentLinear s;
    s.name = l.name;
    s.bits = l.bits;
    s.rows = l.rows;
    s.codes = l.codes.to(at::kFloat).sub_(format::middle_code(l.bits)).to(bf16 ? at::kBFloat16 : at::kFloat);
    s.out_scale = l.out_scale;
    s.output_rotation = l.output_rotation;
    s.map = l.affine;
    group.linears.push_back(std::move(s));
  }
  return group;
}

void round_group(StudentGroup& group) {
  const at::NoGradGuard no_grad;
  const auto round = [](const at::Tensor& t) {
    if (t.defined()) t.detach().copy_(round_to_f16(t.detach()));
  };
  round(group.in_scale);
  for (StudentGroup::Map& m : group.maps) {
    round(m.a);
    // What is stored is the offset of unsigned codes, B.
    const at::Tensor shift = m.a.detach().sum(2) * format::middle_code(m.bits);
    m.centre.detach().copy_(round_to_f16(m.centre.detach() - shift) + shift);
  }
  for (StudentLinear& l : group.linears) round(l.out_scale);
}

void store_group(const StudentGroup& group, QuantizedGroup& q) {
  const at::NoGradGuard no_grad;
  if (group.in_scale.defined()) q.in_scale = round_to_f16(group.in_scale.detach());
  for (size_t i = 0; i < q.maps.size(); ++i) {
    const StudentGroup::Map& m = group.maps[i];
    q.maps[i].a = round_to_f16(m.a.detach());
    // The offset that belongs to A as it is stored.
    q.maps[i].b = round_to_f16(m.centre.detach() - q.maps[i].a.sum(2) * format::middle_code(m.bits));
  }
  size_t next = 0;
  for (const StudentLinear& l : group.linears) {
    if (!l.codes.defined()) continue;
    QuantizedLinear& out = q.linears.at(next++);
    out.out_scale = round_to_f16(l.out_scale.detach());
    out.codes = (l.codes.to(at::kFloat) + format::middle_code(l.bits)).to(at::kByte);
  }
}

}  // namespace svq::convert
