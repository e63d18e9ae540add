// The shapes of tiny models that every backend is tried on.
#pragma once
#include <ostream>
#include <vector>

#include "tests/runtime/tiny_model.h"

namespace svq::test {

struct Variant {
  const char* name;
  TinyOptions options;
};
inline void PrintTo(const Variant& v, std::ostream* out) { *out << v.name; }

inline std::vector<Variant> variants() {
  std::vector<Variant> out;
  const auto add = [&](const char* name, auto change) {
    TinyOptions o;
    change(o);
    out.push_back({name, o});
  };
  add("Bits2", [](TinyOptions& o) { o.bits = 2; });
  add("Bits3", [](TinyOptions& o) { o.bits = 3; });
  add("Bits4Scalar", [](TinyOptions& o) { o.bits = 4, o.scalar_maps = true; });
  add("Bits8Biases", [](TinyOptions& o) { o.bits = 8, o.biases = true, o.embedding_bits = 8; });
  add("Bits16", [](TinyOptions& o) { o.bits = 16, o.embedding_bits = 16; });
  add("Bits16Untied",
      [](TinyOptions& o) { o.bits = 16, o.embedding_bits = 16, o.tied = false, o.biases = true, o.side_paths = true; });
  add("MixedWidths", [](TinyOptions& o) { o.bits = 0, o.biases = true, o.qk_norms = true; });
  add("Odd96", [](TinyOptions& o) {
    o.hidden = 96, o.intermediate = 160, o.n_heads = 6, o.n_kv_heads = 3, o.fold_norms = true;
  });
  add("Blocks",
      [](TinyOptions& o) { o.hidden = 96, o.n_heads = 6, o.n_kv_heads = 1, o.rotation = fb::RotationKind::Blocks; });
  add("NoRotation", [](TinyOptions& o) { o.rotation = fb::RotationKind::None, o.tied = false; });
  add("NarrowTails",
      [](TinyOptions& o) { o.hidden = 40, o.intermediate = 72, o.n_heads = 5, o.n_kv_heads = 5, o.head_dim = 8; });
  add("Groups8", [](TinyOptions& o) { o.group = 8, o.columns_per_map = 32, o.separate_inputs = true; });
  add("MapsPer12", [](TinyOptions& o) { o.columns_per_map = 12, o.qk_norms = true; });
  add("SlidingWindow", [](TinyOptions& o) { o.sliding_window = 5; });
  add("SidePaths", [](TinyOptions& o) { o.side_paths = true, o.biases = true, o.bits = 0; });
  return out;
}

}  // namespace svq::test
