#include "converter/train/transforms.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "converter/train/tile_kernels.h"

namespace svq::convert {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int64_t W = kTileTokens;

TileRotation tile_rotation(const fb::Rotation& r, int64_t n) {
  if (r.kind() == fb::RotationKind::None) return TileRotation(1, n, false);
  return TileRotation(r.block(), r.factor(), r.kind() == fb::RotationKind::Mixed);
}

// visit(tile number, first token, tokens in it) in parallel; scratch buffers are the visitor's own.
template <class Visit>
void for_tiles(int64_t tokens, const Visit& visit) {
  const int64_t tiles = (tokens + W - 1) / W;
  at::parallel_for(0, tiles, 1, [&](int64_t begin, int64_t end) { visit(begin, end); });
}

int64_t tokens_in(int64_t tile, int64_t tokens) { return std::min(W, tokens - tile * W); }

// Tile `t` of a tensor [tokens, columns] in f32 or bf16.
void load(const at::Tensor& x, int64_t t, float* tile) {
  const int64_t tokens = tokens_in(t, x.size(0)), columns = x.size(1), at = t * W * columns;
  if (x.scalar_type() == at::kBFloat16) {
    load_tile(static_cast<const uint16_t*>(x.data_ptr()) + at, tokens, columns, tile);
  } else {
    load_tile(x.data_ptr<float>() + at, tokens, columns, tile);
  }
}
void store(const float* tile, int64_t t, at::Tensor& x) {
  const int64_t tokens = tokens_in(t, x.size(0)), columns = x.size(1), at = t * W * columns;
  if (x.scalar_type() == at::kBFloat16) {
    store_tile(tile, tokens, columns, static_cast<uint16_t*>(x.data_ptr()) + at);
  } else {
    store_tile(tile, tokens, columns, x.data_ptr<float>() + at);
  }
}

// fb::Rotation as what an AutogradContext can keep.
void save_rotation(AutogradContext* ctx, const fb::Rotation& r) {
  ctx->saved_data["kind"] = static_cast<int64_t>(r.kind());
  ctx->saved_data["block"] = static_cast<int64_t>(r.block());
  ctx->saved_data["factor"] = static_cast<int64_t>(r.factor());
}
fb::Rotation saved_rotation(AutogradContext* ctx) {
  return fb::Rotation(static_cast<fb::RotationKind>(ctx->saved_data["kind"].toInt()),
                      static_cast<uint32_t>(ctx->saved_data["block"].toInt()),
                      static_cast<uint32_t>(ctx->saved_data["factor"].toInt()));
}

struct RotateBack : Function<RotateBack> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& u_in, const at::Tensor& scale, int64_t kind,
                            int64_t block, int64_t factor) {
    const fb::Rotation rotation(static_cast<fb::RotationKind>(kind), static_cast<uint32_t>(block),
                                static_cast<uint32_t>(factor));
    const at::Tensor u = u_in.contiguous();
    ctx->save_for_backward({u, scale});
    save_rotation(ctx, rotation);
    const int64_t columns = u.size(1);
    const TileRotation rotate = tile_rotation(rotation, columns);
    at::Tensor out = at::empty_like(u);
    for_tiles(u.size(0), [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), scratch(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load(u, t, tile.data());
        rotate.apply(tile.data(), scratch.data(), true);
        scale_tile(tile.data(), scale.data_ptr<float>(), columns);
        store(tile.data(), t, out);
      }
    });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &u = saved[0], &scale = saved[1];
    const at::Tensor g = grads[0].contiguous();
    const int64_t tokens = u.size(0), columns = u.size(1), tiles = (tokens + W - 1) / W;
    const TileRotation rotate = tile_rotation(saved_rotation(ctx), columns);
    at::Tensor du = at::empty_like(u), partial = at::empty({tiles, columns}, at::kFloat);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), other(columns * W), scratch(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load(g, t, tile.data());
        load(u, t, other.data());
        rotate.apply(other.data(), scratch.data(), true);
        dot_tiles(tile.data(), other.data(), columns, partial.data_ptr<float>() + t * columns);
        scale_tile(tile.data(), scale.data_ptr<float>(), columns);
        rotate.apply(tile.data(), scratch.data(), false);
        store(tile.data(), t, du);
      }
    });
    return {du, partial.sum(0), {}, {}, {}};
  }
};

// visit(map's number g, first column, groups) of maps over `columns` columns.
template <class Visit>
void for_maps(int64_t columns, int64_t d, int64_t columns_per_map, const Visit& visit) {
  const int64_t per_map = columns_per_map > 0 ? columns_per_map : columns;
  for (int64_t first = 0, g = 0; first < columns; first += per_map, ++g)
    visit(g, first, std::min(per_map, columns - first) / d);
}

// Tensors: a and b of each map in turn. u is computed again in the backward pass rather than kept.
struct TransformInput : Function<TransformInput> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& scale,
                               at::TensorList maps, const std::vector<int64_t>& columns_per_map, int64_t kind,
                               int64_t block, int64_t factor, bool bf16) {
    const fb::Rotation rotation(static_cast<fb::RotationKind>(kind), static_cast<uint32_t>(block),
                                static_cast<uint32_t>(factor));
    const at::Tensor x = x_in.contiguous();
    variable_list saved{x, scale}, outputs;
    for (const at::Tensor& m : maps) saved.push_back(m.contiguous());
    ctx->save_for_backward(saved);
    ctx->saved_data["per_map"] = columns_per_map;
    save_rotation(ctx, rotation);
    const int64_t tokens = x.size(0), columns = x.size(1), n = static_cast<int64_t>(columns_per_map.size());
    for (int64_t i = 0; i < n; ++i) {
      outputs.push_back(at::empty({tokens, columns}, bf16 ? at::kBFloat16 : at::kFloat));
      outputs.push_back(at::empty({tokens}, at::kFloat));
    }
    const TileRotation rotate = tile_rotation(rotation, columns);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), out(columns * W), scratch(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load(x, t, tile.data());
        scale_tile(tile.data(), scale.data_ptr<float>(), columns);
        rotate.apply(tile.data(), scratch.data(), false);
        for (int64_t i = 0; i < n; ++i) {
          const at::Tensor &a = saved[2 + 2 * i], &b = saved[3 + 2 * i];
          const int64_t d = a.size(1);
          float sums[W] = {};
          for_maps(columns, d, columns_per_map[i], [&](int64_t g, int64_t first, int64_t groups) {
            affine_tile(tile.data() + first * W, a.data_ptr<float>() + g * d * d, b.data_ptr<float>() + g * d, d,
                        groups, out.data() + first * W, sums);
          });
          store(out.data(), t, outputs[2 * i]);
          std::copy_n(sums, tokens_in(t, tokens), outputs[2 * i + 1].data_ptr<float>() + t * W);
        }
      }
    });
    return outputs;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &scale = saved[1];
    const std::vector<int64_t> columns_per_map = ctx->saved_data["per_map"].toIntVector();
    const int64_t tokens = x.size(0), columns = x.size(1), tiles = (tokens + W - 1) / W,
                  n = static_cast<int64_t>(columns_per_map.size());
    const TileRotation rotate = tile_rotation(saved_rotation(ctx), columns);
    at::Tensor dx = at::empty_like(x), partial = at::empty({tiles, columns}, at::kFloat);
    variable_list dz(n), dbeta(n), da(n), db(n);
    for (int64_t i = 0; i < n; ++i) {
      if (grads[2 * i].defined()) dz[i] = grads[2 * i].contiguous();
      if (grads[2 * i + 1].defined()) dbeta[i] = grads[2 * i + 1].contiguous();
      const at::Tensor& a = saved[2 + 2 * i];
      da[i] = at::zeros({tiles, a.size(0), a.size(1), a.size(1)}, at::kFloat);
      db[i] = at::zeros({tiles, a.size(0), a.size(1)}, at::kFloat);
    }
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> in(columns * W), tile(columns * W), grad(columns * W), du(columns * W), scratch(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load(x, t, in.data());
        tile = in;
        scale_tile(tile.data(), scale.data_ptr<float>(), columns);
        rotate.apply(tile.data(), scratch.data(), false);
        std::fill(du.begin(), du.end(), 0.0f);
        for (int64_t i = 0; i < n; ++i) {
          const at::Tensor &a = saved[2 + 2 * i], &b = saved[3 + 2 * i];
          const int64_t maps = a.size(0), d = a.size(1);
          float per_token[W] = {};
          if (dz[i].defined()) {
            load(dz[i], t, grad.data());
          } else {
            std::fill(grad.begin(), grad.end(), 0.0f);
          }
          if (dbeta[i].defined()) std::copy_n(dbeta[i].data_ptr<float>() + t * W, tokens_in(t, tokens), per_token);
          for_maps(columns, d, columns_per_map[i], [&](int64_t g, int64_t first, int64_t groups) {
            affine_backward_tile(tile.data() + first * W, grad.data() + first * W, per_token,
                                 a.data_ptr<float>() + g * d * d, b.data_ptr<float>() + g * d, d, groups,
                                 du.data() + first * W, da[i].data_ptr<float>() + (t * maps + g) * d * d,
                                 db[i].data_ptr<float>() + (t * maps + g) * d);
          });
        }
        rotate.apply(du.data(), scratch.data(), true);
        dot_tiles(du.data(), in.data(), columns, partial.data_ptr<float>() + t * columns);
        scale_tile(du.data(), scale.data_ptr<float>(), columns);
        store(du.data(), t, dx);
      }
    });
    variable_list result{dx, partial.sum(0)};
    for (int64_t i = 0; i < n; ++i) {
      result.push_back(da[i].sum(0));
      result.push_back(db[i].sum(0));
    }
    result.resize(result.size() + 5);  // what is not a tensor
    return result;
  }
};

struct CodeProduct : Function<CodeProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& z, const at::Tensor& codes) {
    ctx->save_for_backward({codes});
    return at::linear(z, codes);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    return {at::mm(grads[0], ctx->get_saved_variables()[0]), {}};
  }
};

struct FloatProduct : Function<FloatProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor&, const at::Tensor& rounded,
                            const at::Tensor& weight) {
    ctx->save_for_backward({rounded, weight});
    return at::linear(rounded, weight.to(rounded.scalar_type())).to(at::kFloat);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &rounded = saved[0], &weight = saved[1], g = grads[0].to(rounded.scalar_type());
    const at::Tensor dx = at::mm(g, weight.to(rounded.scalar_type())).to(at::kFloat);
    return {dx, {}, weight.requires_grad() ? at::mm(g.t(), rounded).to(at::kFloat) : at::Tensor()};
  }
};

struct RotateOutput : Function<RotateOutput> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& acc_in, const at::Tensor& beta,
                            const at::Tensor& out_scale, int64_t kind, int64_t block, int64_t factor) {
    const fb::Rotation rotation(static_cast<fb::RotationKind>(kind), static_cast<uint32_t>(block),
                                static_cast<uint32_t>(factor));
    const at::Tensor acc = acc_in.contiguous();
    const int64_t tokens = acc.size(0), rows = acc.size(1);
    const TileRotation rotate = tile_rotation(rotation, rows);
    // H_outᵀ (acc + beta 1), kept as exactly as acc is known.
    at::Tensor plain = at::empty_like(acc), out = at::empty({tokens, rows}, at::kFloat);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(rows * W), scratch(rows * W);
      for (int64_t t = begin; t < end; ++t) {
        float per_token[W] = {};
        std::copy_n(beta.data_ptr<float>() + t * W, tokens_in(t, tokens), per_token);
        load(acc, t, tile.data());
        add_tokens(tile.data(), per_token, rows);
        rotate.apply(tile.data(), scratch.data(), true);
        store(tile.data(), t, plain);
        scale_tile(tile.data(), out_scale.data_ptr<float>(), rows);
        store(tile.data(), t, out);
      }
    });
    ctx->save_for_backward({plain, out_scale});
    save_rotation(ctx, rotation);
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &plain = saved[0], &out_scale = saved[1];
    const at::Tensor g = grads[0].contiguous();
    const int64_t tokens = plain.size(0), rows = plain.size(1), tiles = (tokens + W - 1) / W;
    const TileRotation rotate = tile_rotation(saved_rotation(ctx), rows);
    at::Tensor dacc = at::empty_like(plain), dbeta = at::empty({tokens}, at::kFloat),
               partial = at::empty({tiles, rows}, at::kFloat);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(rows * W), other(rows * W), scratch(rows * W);
      for (int64_t t = begin; t < end; ++t) {
        load(g, t, tile.data());
        load(plain, t, other.data());
        dot_tiles(tile.data(), other.data(), rows, partial.data_ptr<float>() + t * rows);
        scale_tile(tile.data(), out_scale.data_ptr<float>(), rows);
        rotate.apply(tile.data(), scratch.data(), false);
        float per_token[W];
        sum_columns(tile.data(), rows, per_token);
        store(tile.data(), t, dacc);
        std::copy_n(per_token, tokens_in(t, tokens), dbeta.data_ptr<float>() + t * W);
      }
    });
    return {dacc, dbeta, partial.sum(0), {}, {}, {}};
  }
};

}  // namespace

at::Tensor rotate_back(const at::Tensor& u, const at::Tensor& scale, const fb::Rotation& r) {
  return RotateBack::apply(u, scale, static_cast<int64_t>(r.kind()), static_cast<int64_t>(r.block()),
                           static_cast<int64_t>(r.factor()));
}

std::vector<Affine> transform_input(const at::Tensor& x, const at::Tensor& scale, const fb::Rotation& r,
                                    const std::vector<AffineMaps>& maps, at::ScalarType type) {
  variable_list tensors;
  std::vector<int64_t> columns_per_map;
  for (const AffineMaps& m : maps) {
    tensors.insert(tensors.end(), {m.a, m.b});
    columns_per_map.push_back(m.columns_per_map);
  }
  const auto out =
      TransformInput::apply(x, scale, at::TensorList(tensors), columns_per_map, static_cast<int64_t>(r.kind()),
                            static_cast<int64_t>(r.block()), static_cast<int64_t>(r.factor()), type == at::kBFloat16);
  std::vector<Affine> result;
  for (size_t i = 0; i < maps.size(); ++i) result.push_back({out[2 * i], out[2 * i + 1]});
  return result;
}

at::Tensor code_product(const at::Tensor& z, const at::Tensor& codes) { return CodeProduct::apply(z, codes); }

at::Tensor float_product(const at::Tensor& x, const at::Tensor& rounded, const at::Tensor& weight) {
  return FloatProduct::apply(x, rounded, weight);
}

at::Tensor rotate_output(const at::Tensor& acc, const at::Tensor& beta, const at::Tensor& out_scale,
                         const fb::Rotation& r) {
  return RotateOutput::apply(acc, beta, out_scale, static_cast<int64_t>(r.kind()), static_cast<int64_t>(r.block()),
                             static_cast<int64_t>(r.factor()));
}

}  // namespace svq::convert
