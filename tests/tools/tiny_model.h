// A .svq file small enough to be made in every test run: two layers of random 2-bit weights, a vocabulary of bytes.
#pragma once
#include <string>

namespace svq::test {

inline constexpr unsigned kTinyVocab = 259;  // 256 bytes, <|bos|>, <|im_start|>, <|im_end|>

struct TinyOptions {
  bool chat = true;      // ChatML; otherwise no chat format
  bool add_bos = false;  // texts begin with <|bos|>
};

// The logits are small, so that the model is nearly uniform; those of <|im_end|>, which ends an answer, are 0.
void write_tiny_model(const std::string& path, const TinyOptions& options = {});

}  // namespace svq::test
