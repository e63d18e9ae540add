// The forward pass once more, written naively from schema/FORMAT.md in double precision on dense dequantised matrices:
// no kernels, no chunks, no cache. Shares only the codes' unpacking and the f16 conversion with the code under test.
#pragma once
#include <cstdint>
#include <vector>

#include "tests/runtime/tiny_model.h"

namespace svq::test {

class ReferenceModel {
 public:
  explicit ReferenceModel(const TinyModel& model);
  // Logits [tokens, vocab] of the whole sequence.
  std::vector<std::vector<double>> logits(const std::vector<int32_t>& tokens) const;

 private:
  using Vector = std::vector<double>;
  struct Dense {  // (rows, columns) row-major, side path included
    uint32_t rows = 0, columns = 0;
    Vector w, bias;
    Vector times(const Vector& x) const;
  };
  struct Layer {
    Dense q, k, v, o, gate, up, down;
    Vector attn_norm, ffn_norm, q_norm, k_norm;
  };

  Dense dense(const fb::LinearT& l) const;
  Vector values(const fb::TensorT* t) const;                  // of an f16 or f32 tensor; empty for null
  static Vector rotation(const fb::Rotation* r, uint32_t n);  // (n, n)
  Vector norm(const Vector& x, const Vector& weight) const;
  void rope(double* head, uint32_t position) const;

  const fb::ModelT& meta_;
  const std::vector<uint8_t>& data_;
  Dense embedding_, head_;
  std::vector<Layer> layers_;
  Vector final_norm_;
};

}  // namespace svq::test
