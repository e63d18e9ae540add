// XXH3-128 over several named byte ranges.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace svq::convert {

class Hasher {
 public:
  Hasher();
  ~Hasher();
  // A part's name and length are hashed with its bytes, so that moving bytes between parts changes the result.
  void add(std::string_view name, std::span<const std::byte> bytes);
  std::string hex() const;  // 32 lower-case hexadecimal digits, canonical (big-endian) order

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace svq::convert
