// Splits text into the pieces inside which byte pairs are merged.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "svq_generated.h"

namespace svq::rt {

class PreTokenizer {
 public:
  // Throws std::runtime_error if `kind` is unknown.
  explicit PreTokenizer(fb::PreTokenizer kind);
  ~PreTokenizer();
  PreTokenizer(const PreTokenizer&) = delete;
  PreTokenizer& operator=(const PreTokenizer&) = delete;

  // `text` is well-formed UTF-8. Writes the end of every piece; the pieces cover the text. Thread-safe.
  void split(std::string_view text, std::vector<size_t>& ends) const;

 private:
  struct Code;
  std::unique_ptr<Code> code_;
};

}  // namespace svq::rt
