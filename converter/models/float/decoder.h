// The float model generating: many sequences in step, one token of each at a time, with a KV cache.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "converter/models/float/block.h"
#include "converter/models/float/options.h"
#include "converter/models/model.h"

namespace svq::convert {

class Decoder {
 public:
  // batch sequences of at most `length` tokens. keep_weights: all weights stay in memory, else every step reads them
  // from the source again (slow, for models that do not fit).
  Decoder(const Model& model, int64_t batch, int64_t length, bool keep_weights, const ForwardOptions& options);

  // tokens [batch] int64 on the CPU at the next position → logits [batch, vocab] f32 on the device; undefined unless
  // want_logits.
  at::Tensor step(const at::Tensor& tokens, bool want_logits = true);
  // Starts `batch` new sequences, at most as many as the decoder was made for. Weights and cache stay.
  void restart(int64_t batch);
  // Goes on with the first `batch` sequences alone.
  void keep(int64_t batch);

  // Bytes of the weights when kept, and of the cache of one sequence.
  static uint64_t weight_bytes(const Model& model, const ForwardOptions& options);
  static uint64_t cache_bytes(const Model& model, int64_t length, const ForwardOptions& options);

 private:
  const Model& model_;
  ForwardOptions options_;
  int64_t batch_, length_, position_ = 0;
  bool keep_weights_;
  RopeTables rope_;                 // of all positions
  std::vector<FloatBlock> blocks_;  // empty if read at every step
  at::Tensor embedding_;            // [vocab, hidden] f32 or bf16; undefined if read at every step
  FloatLinear head_;
  at::Tensor final_norm_;       // [hidden]
  std::vector<KvCache> cache_;  // one per block
};

}  // namespace svq::convert
