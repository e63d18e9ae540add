#include "runtime/file/check.h"

#include <bit>
#include <cmath>
#include <initializer_list>
#include <set>

#include "runtime/base/error.h"
#include "runtime/file/tensors.h"
#include "schema/container.h"
#include "schema/packing.h"

namespace svq::rt {
namespace {

class Checker {
 public:
  Checker(const fb::Model& model, uint64_t data_size, const std::string& file)
      : model_(model), arch_(*model.architecture()), data_size_(data_size), file_(file) {}

  void run() {
    architecture();
    transforms();
    affine_maps();
    linear("embedding", *model_.embedding(), arch_.vocab(), arch_.hidden());
    if (model_.embedding()->output_rotation() != nullptr &&
        model_.embedding()->output_rotation()->kind() != fb::RotationKind::None) {
      bad("embedding.output_rotation", "is not None: a row could not be looked up");
    }
    if (model_.embedding()->bias() != nullptr || model_.embedding()->side_u() != nullptr) {
      bad("embedding", "has a bias or a side path: an embedding has neither");
    }
    blocks();
    if (model_.final_norm() != nullptr) f32("final_norm", model_.final_norm(), arch_.hidden());
    if (model_.head() != nullptr) linear("head", *model_.head(), arch_.vocab(), arch_.hidden());
    if (mix_bytes_ > ModelLimits::kMixBytes) bad("output_rotation", "mixed rotations of too many different factors");
    chat();
  }

 private:
  template <class... Parts>
  [[noreturn]] void bad(const std::string& field, const Parts&... parts) const {
    fail(SVQ_ERROR_FORMAT, file_, ": ", field, " ", parts...);
  }

  void range(const std::string& field, uint64_t value, uint64_t low, uint64_t high) const {
    if (value < low || value > high) bad(field, "is ", value, ", expected ", low, " to ", high);
  }

  void architecture() const {
    range("architecture.hidden", arch_.hidden(), 1, ModelLimits::kWidth);
    range("architecture.intermediate", arch_.intermediate(), 1, ModelLimits::kWidth);
    range("architecture.n_layers", arch_.n_layers(), 1, ModelLimits::kLayers);
    range("architecture.n_heads", arch_.n_heads(), 1, ModelLimits::kHeads);
    range("architecture.n_kv_heads", arch_.n_kv_heads(), 1, arch_.n_heads());
    range("architecture.head_dim", arch_.head_dim(), 2, ModelLimits::kHeadDim);
    range("architecture.vocab", arch_.vocab(), 1, ModelLimits::kVocab);
    range("architecture.context_length", arch_.context_length(), 1, ModelLimits::kContext);
    if (arch_.n_heads() % arch_.n_kv_heads() != 0) {
      bad("architecture.n_kv_heads", "is ", arch_.n_kv_heads(), ", expected a divisor of n_heads = ", arch_.n_heads());
    }
    if (arch_.head_dim() % 2 != 0) bad("architecture.head_dim", "is ", arch_.head_dim(), ", expected an even number");
    range("n_heads * head_dim", uint64_t{arch_.n_heads()} * arch_.head_dim(), 1, ModelLimits::kWidth);
    if (!std::isfinite(arch_.norm_eps()) || arch_.norm_eps() < 0 || arch_.norm_eps() > 1) {
      bad("architecture.norm_eps", "is ", arch_.norm_eps(), ", expected a number from 0 to 1");
    }
    if (arch_.activation() != fb::Activation::Silu) {
      fail(SVQ_ERROR_UNSUPPORTED, file_, ": architecture.activation is ", unsigned(arch_.activation()),
           ", this version knows Silu (0) only");
    }
    if (arch_.rope_inv_freq()->size() != arch_.head_dim() / 2) {
      bad("architecture.rope_inv_freq", "has ", arch_.rope_inv_freq()->size(),
          " values, expected head_dim / 2 = ", arch_.head_dim() / 2);
    }
    for (uint32_t i = 0; i < arch_.rope_inv_freq()->size(); ++i) {
      const float f = arch_.rope_inv_freq()->Get(i);
      if (!std::isfinite(f) || std::fabs(f) > 1e6f)
        bad("architecture.rope_inv_freq", "holds a value that is no frequency: ", f);
    }
    if (!std::isfinite(arch_.rope_attention_factor()))
      bad("architecture.rope_attention_factor", "is not a finite number");
    if (length(model_.blocks()) != arch_.n_layers()) {
      bad("blocks", "has ", length(model_.blocks()), " entries, expected architecture.n_layers = ", arch_.n_layers());
    }
  }

  // Place, type and shape of a tensor; `bytes` is what the shape and type come to.
  void tensor(const std::string& field, const fb::Tensor* t, fb::DType dtype, const char* dtype_name,
              std::initializer_list<uint64_t> shape, uint64_t bytes) const {
    if (t->dtype() != dtype) bad(field, "has dtype ", unsigned(t->dtype()), ", expected ", dtype_name);
    bool same = t->shape()->size() == shape.size();
    uint32_t i = 0;
    for (const uint64_t n : shape) {
      same = same && dimension(*t, i) == n;
      ++i;
    }
    if (!same) {
      std::string is, expected;
      for (uint32_t d = 0; d < t->shape()->size() && d < 8; ++d)
        is += (d ? ", " : "") + std::to_string(dimension(*t, d));
      for (const uint64_t n : shape) expected += (expected.empty() ? "" : ", ") + std::to_string(n);
      bad(field, "has shape [", is, "], expected [", expected, "]");
    }
    if (t->size() != bytes) bad(field, "has size ", t->size(), ", expected ", bytes, " bytes");
    if (t->offset() % format::kTensorAlignment != 0)
      bad(field, "has offset ", t->offset(), ", expected a multiple of 64");
    if (t->offset() > data_size_ || bytes > data_size_ - t->offset()) {
      bad(field, "lies at offset ", t->offset(), " with ", bytes, " bytes, beyond the data section's ", data_size_);
    }
  }
  void f16(const std::string& field, const fb::Tensor* t, uint64_t n) const {
    tensor(field, t, fb::DType::F16, "F16", {n}, 2 * n);
  }
  void f32(const std::string& field, const fb::Tensor* t, uint64_t n) const {
    tensor(field, t, fb::DType::F32, "F32", {n}, 4 * n);
  }

  // A rotation of n values; absent is None.
  void rotation(const std::string& field, const fb::Rotation* r, uint64_t n) {
    if (r == nullptr || r->kind() == fb::RotationKind::None) return;
    if (r->kind() != fb::RotationKind::Blocks && r->kind() != fb::RotationKind::Mixed) {
      bad(field, "is of unknown kind ", unsigned(r->kind()), ", expected None, Blocks or Mixed");
    }
    if (!std::has_single_bit(r->block())) bad(field, "has block ", r->block(), ", expected a power of two");
    if (uint64_t{r->block()} * r->factor() != n) {
      bad(field, "has block ", r->block(), " and factor ", r->factor(), ", expected a product of ", n);
    }
    if (r->kind() == fb::RotationKind::Mixed) {
      if (r->factor() > ModelLimits::kMixFactor)
        bad(field, "mixes ", r->factor(), " blocks, expected at most ", ModelLimits::kMixFactor);
      if (factors_.insert(r->factor()).second) mix_bytes_ += uint64_t{4} * r->factor() * r->factor();
    }
  }

  void transforms() {
    for (uint32_t i = 0; i < length(model_.input_transforms()); ++i) {
      const fb::InputTransform& t = *model_.input_transforms()->Get(i);
      const std::string at = cat("input_transforms.", i);
      range(at + ".columns", t.columns(), 1, ModelLimits::kWidth);
      if (t.scale() != nullptr) f16(at + ".scale", t.scale(), t.columns());
      rotation(at + ".rotation", t.rotation(), t.columns());
    }
  }

  // The number of maps depends on the linears' columns, so it is checked where a linear names the maps; here the
  // tensors' own consistency, which bounds the memory of their f32 copies.
  void affine_maps() const {
    uint64_t total = 0;
    for (uint32_t i = 0; i < length(model_.affine_maps()); ++i) {
      const fb::AffineMaps& m = *model_.affine_maps()->Get(i);
      const std::string at = cat("affine_maps.", i);
      const uint64_t d = m.dim();
      if (d != 4 && d != 8) bad(at + ".dim", "is ", d, ", expected 4 or 8");
      if (m.columns_per_map() % d != 0) {
        bad(at + ".columns_per_map", "is ", m.columns_per_map(), ", expected a multiple of dim = ", d);
      }
      if (m.a() == nullptr || m.b() == nullptr) bad(at, "lacks its tensor a or b");
      if (m.a()->shape()->size() != 3) bad(at + ".a", "has ", m.a()->shape()->size(), " dimensions, expected 3");
      const uint64_t maps = dimension(*m.a(), 0);
      range(at + ".a's first dimension", maps, 1, ModelLimits::kWidth);
      if (m.columns_per_map() == 0 && maps != 1)
        bad(at + ".a", "holds ", maps, " maps, expected 1 as columns_per_map is 0");
      tensor(at + ".a", m.a(), fb::DType::F16, "F16", {maps, d, d}, 2 * maps * d * d);
      tensor(at + ".b", m.b(), fb::DType::F16, "F16", {maps, d}, 2 * maps * d);
      total += m.a()->size() + m.b()->size();
    }
    if (total > data_size_ + (1u << 20)) bad("affine_maps", "share tensors: together they exceed the data section");
  }

  void linear(const std::string& at, const fb::Linear& l, uint64_t rows, uint64_t columns) {
    if (l.rows() != rows || l.columns() != columns) {
      bad(at, "is ", l.rows(), " x ", l.columns(), ", expected ", rows, " x ", columns, " by the architecture");
    }
    if (l.bits() == 16) {
      tensor(at + ".weight", l.weight(), fb::DType::F16, "F16", {rows, columns}, 2 * rows * columns);
      const bool rotated = l.output_rotation() != nullptr && l.output_rotation()->kind() != fb::RotationKind::None;
      if (l.input_transform() != -1 || l.affine() != -1 || l.out_scale() != nullptr || rotated) {
        bad(at,
            "is a 16-bit linear with an input transform, affine maps, output scale or rotation, expected none of them");
      }
    } else {
      packed(at, l, rows, columns);
    }
    if (l.bias() != nullptr) f32(at + ".bias", l.bias(), rows);
    if ((l.side_u() == nullptr) != (l.side_v() == nullptr)) bad(at, "has only one of side_u and side_v");
    if (l.side_u() != nullptr) {
      if (l.side_v()->shape()->size() != 2)
        bad(at + ".side_v", "has ", l.side_v()->shape()->size(), " dimensions, expected 2");
      const uint64_t rank = dimension(*l.side_v(), 0);
      range(at + ".side_v's first dimension", rank, 1, ModelLimits::kSideRank);
      tensor(at + ".side_v", l.side_v(), fb::DType::F16, "F16", {rank, columns}, 2 * rank * columns);
      tensor(at + ".side_u", l.side_u(), fb::DType::F16, "F16", {rows, rank}, 2 * rows * rank);
    }
  }

  void packed(const std::string& at, const fb::Linear& l, uint64_t rows, uint64_t columns) {
    if (!format::is_packed_width(l.bits())) bad(at + ".bits", "is ", unsigned(l.bits()), ", expected 2 to 8, or 16");
    tensor(at + ".weight", l.weight(), fb::DType::Codes, "Codes", {rows, columns},
           format::packed_size(rows, columns, l.bits()));
    const int64_t n_transforms = length(model_.input_transforms()), n_maps = length(model_.affine_maps());
    if (l.input_transform() < -1 || l.input_transform() >= n_transforms) {
      bad(at + ".input_transform", "is ", l.input_transform(), ", expected -1 or an index below ", n_transforms);
    }
    if (l.input_transform() >= 0) {
      const uint32_t n = model_.input_transforms()->Get(static_cast<uint32_t>(l.input_transform()))->columns();
      if (n != columns) bad(at + ".input_transform", "is for ", n, " columns, expected ", columns);
    }
    if (l.affine() < 0 || l.affine() >= n_maps)
      bad(at + ".affine", "is ", l.affine(), ", expected an index below ", n_maps);
    const fb::AffineMaps& m = *model_.affine_maps()->Get(static_cast<uint32_t>(l.affine()));
    if (columns % m.dim() != 0)
      bad(at + ".affine", "has groups of ", unsigned(m.dim()), ", expected a divisor of ", columns, " columns");
    const uint64_t per_map = m.columns_per_map();
    const uint64_t maps = per_map == 0 ? 1 : (columns + per_map - 1) / per_map;
    if (dimension(*m.a(), 0) != maps) {
      bad(at + ".affine", "has ", dimension(*m.a(), 0), " maps, expected ", maps, " for ", columns, " columns");
    }
    rotation(at + ".output_rotation", l.output_rotation(), rows);
    if (l.out_scale() != nullptr) f16(at + ".out_scale", l.out_scale(), rows);
  }

  void blocks() {
    const uint64_t hidden = arch_.hidden(), ffn = arch_.intermediate(), d = arch_.head_dim();
    const uint64_t q = arch_.n_heads() * d, kv = arch_.n_kv_heads() * d;
    for (uint32_t i = 0; i < model_.blocks()->size(); ++i) {
      const fb::Block& b = *model_.blocks()->Get(i);
      const std::string at = cat("blocks.", i, ".");
      if (b.attn_norm() != nullptr) f32(at + "attn_norm", b.attn_norm(), hidden);
      if (b.q_norm() != nullptr) f32(at + "q_norm", b.q_norm(), d);
      if (b.k_norm() != nullptr) f32(at + "k_norm", b.k_norm(), d);
      if (b.ffn_norm() != nullptr) f32(at + "ffn_norm", b.ffn_norm(), hidden);
      linear(at + "q", *b.q(), q, hidden);
      linear(at + "k", *b.k(), kv, hidden);
      linear(at + "v", *b.v(), kv, hidden);
      linear(at + "o", *b.attn_out(), hidden, q);
      linear(at + "gate", *b.gate(), ffn, hidden);
      linear(at + "up", *b.up(), ffn, hidden);
      linear(at + "down", *b.down(), hidden, ffn);
    }
  }

  void chat() const {
    if (model_.chat() != nullptr && model_.chat()->format() > fb::ChatFormat::MAX) {
      fail(SVQ_ERROR_UNSUPPORTED, file_, ": chat.format is ", unsigned(model_.chat()->format()),
           ", which this version does not know");
    }
  }

  const fb::Model& model_;
  const fb::Architecture& arch_;
  const uint64_t data_size_;
  const std::string& file_;
  std::set<uint32_t> factors_;
  uint64_t mix_bytes_ = 0;
};

}  // namespace

void check_model(const fb::Model& model, uint64_t data_size, const std::string& file) {
  Checker(model, data_size, file).run();
}

}  // namespace svq::rt
