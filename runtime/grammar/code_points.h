// Sets of code points, as ranges with both ends.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace svq::rt {

using CodePoints = std::vector<std::pair<uint32_t, uint32_t>>;

// What is not among them, up to `last`: ascending, disjoint.
inline CodePoints complement(CodePoints ranges, uint32_t last) {
  std::sort(ranges.begin(), ranges.end());
  CodePoints out;
  uint32_t from = 0;
  for (const auto& [low, high] : ranges) {
    if (low > from) out.emplace_back(from, low - 1);
    from = std::max(from, high + 1);
  }
  if (from <= last) out.emplace_back(from, last);
  return out;
}

}  // namespace svq::rt
