// Byte-pair merging of one piece.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

namespace svq::rt {

// (left id, right id) -> (rank, merged id). Open addressing.
class MergeTable {
 public:
  struct Merge {
    uint32_t left, right, rank, result;
  };
  // Of a pair listed twice the lower rank counts. Throws std::runtime_error if the pairs are such as to make look-ups
  // slow.
  explicit MergeTable(const std::vector<Merge>& merges);
  // nullptr: the pair does not merge.
  const Merge* find(uint32_t left, uint32_t right) const {
    if (slots_.empty()) return nullptr;
    for (size_t i = hash(left, right);; i = (i + 1) & mask_) {
      const Merge& m = slots_[i];
      if (m.rank == kEmpty) return nullptr;
      if (m.left == left && m.right == right) return &m;
    }
  }

 private:
  static constexpr uint32_t kEmpty = UINT32_MAX;
  size_t hash(uint32_t left, uint32_t right) const {
    uint64_t h = (static_cast<uint64_t>(left) << 32 | right) * 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
    return (h * 0xD6E8FEB86659FD93u >> 24) & mask_;
  }
  std::vector<Merge> slots_;
  size_t mask_ = 0;
};

// Working memory of merge_pairs, reused from piece to piece.
struct MergeScratch {
  struct Node {
    uint32_t id, next, prev;
  };
  struct Candidate {
    uint64_t order;  // rank << 32 | position: lowest rank first, then leftmost
    uint32_t left, right, result;
  };
  std::vector<uint32_t> ids, ranks, results;
  std::vector<Node> nodes;
  std::vector<Candidate> heap;
};

// Replaces scratch.ids by what remains after merging, always the pair of lowest rank, of those the leftmost.
// O(n log n) in the number of ids, which is below 2^32 - 1.
void merge_pairs(const MergeTable& merges, MergeScratch& scratch);

}  // namespace svq::rt
