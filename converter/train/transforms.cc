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

struct ScaleRotate : Function<ScaleRotate> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x_in, const at::Tensor& scale, int64_t kind,
                            int64_t block, int64_t factor, bool inverse) {
    const fb::Rotation rotation(static_cast<fb::RotationKind>(kind), static_cast<uint32_t>(block),
                                static_cast<uint32_t>(factor));
    const at::Tensor x = x_in.contiguous();
    ctx->save_for_backward({x, scale});
    save_rotation(ctx, rotation);
    ctx->saved_data["inverse"] = inverse;
    const int64_t tokens = x.size(0), columns = x.size(1);
    const TileRotation rotate = tile_rotation(rotation, columns);
    at::Tensor out = at::empty_like(x);
    const float* s = scale.data_ptr<float>();
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), scratch(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load_tile(x.data_ptr<float>() + t * W * columns, columns, tokens_in(t, tokens), columns, tile.data());
        if (!inverse) scale_tile(tile.data(), s, columns);
        rotate.apply(tile.data(), scratch.data(), inverse);
        if (inverse) scale_tile(tile.data(), s, columns);
        store_tile(tile.data(), tokens_in(t, tokens), columns, out.data_ptr<float>() + t * W * columns, columns);
      }
    });
    return out;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& scale = saved[1];
    const at::Tensor g = grads[0].contiguous();
    const bool inverse = ctx->saved_data["inverse"].toBool();
    const int64_t tokens = x.size(0), columns = x.size(1), tiles = (tokens + W - 1) / W;
    const TileRotation rotate = tile_rotation(saved_rotation(ctx), columns);
    at::Tensor dx = at::empty_like(x), partial = at::empty({tiles, columns}, at::kFloat);
    const float* s = scale.data_ptr<float>();
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), other(columns * W), scratch(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load_tile(g.data_ptr<float>() + t * W * columns, columns, tokens_in(t, tokens), columns, tile.data());
        load_tile(x.data_ptr<float>() + t * W * columns, columns, tokens_in(t, tokens), columns, other.data());
        float* sums = partial.data_ptr<float>() + t * columns;
        if (inverse) {  // y = s ⊙ Hᵀ x
          rotate.apply(other.data(), scratch.data(), true);
          dot_tiles(tile.data(), other.data(), columns, sums);
          scale_tile(tile.data(), s, columns);
          rotate.apply(tile.data(), scratch.data(), false);
        } else {  // y = H (s ⊙ x)
          rotate.apply(tile.data(), scratch.data(), true);
          dot_tiles(tile.data(), other.data(), columns, sums);
          scale_tile(tile.data(), s, columns);
        }
        store_tile(tile.data(), tokens_in(t, tokens), columns, dx.data_ptr<float>() + t * W * columns, columns);
      }
    });
    return {dx, partial.sum(0), {}, {}, {}, {}};
  }
};

struct ApplyMaps : Function<ApplyMaps> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& u_in, const at::Tensor& a_in,
                               const at::Tensor& b_in, int64_t columns_per_map) {
    const at::Tensor u = u_in.contiguous(), a = a_in.contiguous(), b = b_in.contiguous();
    ctx->save_for_backward({u, a, b});
    ctx->saved_data["per_map"] = columns_per_map;
    const int64_t tokens = u.size(0), columns = u.size(1), d = a.size(1);
    const int64_t per_map = columns_per_map > 0 ? columns_per_map : columns;
    at::Tensor z = at::empty_like(u), beta = at::empty({tokens}, at::kFloat);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), out(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load_tile(u.data_ptr<float>() + t * W * columns, columns, tokens_in(t, tokens), columns, tile.data());
        float sums[W] = {};
        for (int64_t first = 0, g = 0; first < columns; first += per_map, ++g) {
          affine_tile(tile.data() + first * W, a.data_ptr<float>() + g * d * d, b.data_ptr<float>() + g * d, d,
                      std::min(per_map, columns - first) / d, out.data() + first * W, sums);
        }
        store_tile(out.data(), tokens_in(t, tokens), columns, z.data_ptr<float>() + t * W * columns, columns);
        std::copy(sums, sums + tokens_in(t, tokens), beta.data_ptr<float>() + t * W);
      }
    });
    return {z, beta};
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &u = saved[0], &a = saved[1], &b = saved[2];
    const int64_t tokens = u.size(0), columns = u.size(1), maps = a.size(0), d = a.size(1);
    const int64_t tiles = (tokens + W - 1) / W, columns_per_map = ctx->saved_data["per_map"].toInt();
    const int64_t per_map = columns_per_map > 0 ? columns_per_map : columns;
    const at::Tensor dz = grads[0].defined() ? grads[0].contiguous() : at::zeros_like(u);
    const at::Tensor dbeta = grads[1].defined() ? grads[1].contiguous() : at::zeros({tokens}, at::kFloat);
    at::Tensor du = at::empty_like(u), da = at::zeros({tiles, maps, d, d}, at::kFloat),
               db = at::zeros({tiles, maps, d}, at::kFloat);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(columns * W), grad(columns * W), out(columns * W);
      for (int64_t t = begin; t < end; ++t) {
        load_tile(u.data_ptr<float>() + t * W * columns, columns, tokens_in(t, tokens), columns, tile.data());
        load_tile(dz.data_ptr<float>() + t * W * columns, columns, tokens_in(t, tokens), columns, grad.data());
        float per_token[W] = {};
        std::copy_n(dbeta.data_ptr<float>() + t * W, tokens_in(t, tokens), per_token);
        for (int64_t first = 0, g = 0; first < columns; first += per_map, ++g) {
          affine_backward_tile(
              tile.data() + first * W, grad.data() + first * W, per_token, a.data_ptr<float>() + g * d * d,
              b.data_ptr<float>() + g * d, d, std::min(per_map, columns - first) / d, out.data() + first * W,
              da.data_ptr<float>() + (t * maps + g) * d * d, db.data_ptr<float>() + (t * maps + g) * d);
        }
        store_tile(out.data(), tokens_in(t, tokens), columns, du.data_ptr<float>() + t * W * columns, columns);
      }
    });
    return {du, da.sum(0), db.sum(0), {}};
  }
};

struct CodeProduct : Function<CodeProduct> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& z, const at::Tensor& codes) {
    ctx->save_for_backward({codes});
    return at::linear(z.to(codes.scalar_type()), codes).to(at::kFloat);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const at::Tensor codes = ctx->get_saved_variables()[0];
    return {at::mm(grads[0].to(codes.scalar_type()), codes).to(at::kFloat), {}};
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
    at::Tensor plain = at::empty_like(acc);  // H_outᵀ (acc + beta 1)
    at::Tensor out = at::empty_like(acc);
    for_tiles(tokens, [&](int64_t begin, int64_t end) {
      std::vector<float> tile(rows * W), scratch(rows * W);
      for (int64_t t = begin; t < end; ++t) {
        float per_token[W] = {};
        std::copy_n(beta.data_ptr<float>() + t * W, tokens_in(t, tokens), per_token);
        load_tile(acc.data_ptr<float>() + t * W * rows, rows, tokens_in(t, tokens), rows, tile.data());
        add_tokens(tile.data(), per_token, rows);
        rotate.apply(tile.data(), scratch.data(), true);
        store_tile(tile.data(), tokens_in(t, tokens), rows, plain.data_ptr<float>() + t * W * rows, rows);
        scale_tile(tile.data(), out_scale.data_ptr<float>(), rows);
        store_tile(tile.data(), tokens_in(t, tokens), rows, out.data_ptr<float>() + t * W * rows, rows);
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
        load_tile(g.data_ptr<float>() + t * W * rows, rows, tokens_in(t, tokens), rows, tile.data());
        load_tile(plain.data_ptr<float>() + t * W * rows, rows, tokens_in(t, tokens), rows, other.data());
        dot_tiles(tile.data(), other.data(), rows, partial.data_ptr<float>() + t * rows);
        scale_tile(tile.data(), out_scale.data_ptr<float>(), rows);
        rotate.apply(tile.data(), scratch.data(), false);
        float per_token[W];
        sum_columns(tile.data(), rows, per_token);
        store_tile(tile.data(), tokens_in(t, tokens), rows, dacc.data_ptr<float>() + t * W * rows, rows);
        std::copy_n(per_token, tokens_in(t, tokens), dbeta.data_ptr<float>() + t * W);
      }
    });
    return {dacc, dbeta, partial.sum(0), {}, {}, {}};
  }
};

}  // namespace

at::Tensor scale_and_rotate(const at::Tensor& x, const at::Tensor& scale, const fb::Rotation& r, bool inverse) {
  return ScaleRotate::apply(x, scale, static_cast<int64_t>(r.kind()), static_cast<int64_t>(r.block()),
                            static_cast<int64_t>(r.factor()), inverse);
}

Affine apply_maps(const at::Tensor& u, const at::Tensor& a, const at::Tensor& b, int64_t columns_per_map) {
  const auto out = ApplyMaps::apply(u, a, b, columns_per_map);
  return {out[0], out[1]};
}

at::Tensor code_product(const at::Tensor& z, const at::Tensor& codes) { return CodeProduct::apply(z, codes); }

at::Tensor rotate_output(const at::Tensor& acc, const at::Tensor& beta, const at::Tensor& out_scale,
                         const fb::Rotation& r) {
  return RotateOutput::apply(acc, beta, out_scale, static_cast<int64_t>(r.kind()), static_cast<int64_t>(r.block()),
                             static_cast<int64_t>(r.factor()));
}

}  // namespace svq::convert
