#include "runtime/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

namespace svq::rt {
namespace {

constexpr uint32_t kNone = UINT32_MAX;

// For a word: few ids, so that scanning all ranks beats a heap.
void merge_short(const MergeTable& merges, MergeScratch& s) {
  std::vector<uint32_t>&ids = s.ids, &ranks = s.ranks, &results = s.results;
  const auto look = [&](size_t i) {
    const MergeTable::Merge* m = merges.find(ids[i], ids[i + 1]);
    ranks[i] = m ? m->rank : kNone;
    results[i] = m ? m->result : 0;
  };
  size_t n = ids.size();
  ranks.resize(n);
  results.resize(n);
  for (size_t i = 0; i + 1 < n; ++i) look(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (ranks[i] < ranks[best]) best = i;
    if (ranks[best] == kNone) break;
    ids[best] = results[best];
    for (size_t i = best + 1; i + 1 < n; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    --n;
    if (best + 1 < n) look(best);
    if (best > 0) look(best - 1);
  }
  ids.resize(n);
}

// For anything long: a linked list of ids and a heap of candidate pairs. A candidate whose pair has changed since is
// dropped when it comes up.
void merge_long(const MergeTable& merges, MergeScratch& s) {
  using Candidate = MergeScratch::Candidate;
  const auto later = [](const Candidate& a, const Candidate& b) { return a.order > b.order; };
  auto& nodes = s.nodes;
  auto& heap = s.heap;
  const auto n = static_cast<uint32_t>(s.ids.size());
  nodes.resize(n);
  heap.clear();
  const auto candidate = [&](uint32_t at, Candidate& c) {
    const uint32_t next = nodes[at].next;
    if (next == kNone) return false;
    const MergeTable::Merge* m = merges.find(nodes[at].id, nodes[next].id);
    if (!m) return false;
    c = {static_cast<uint64_t>(m->rank) << 32 | at, m->left, m->right, m->result};
    return true;
  };
  Candidate c;
  for (uint32_t i = 0; i < n; ++i) nodes[i] = {s.ids[i], i + 1 < n ? i + 1 : kNone, i > 0 ? i - 1 : kNone};
  for (uint32_t i = 0; i < n; ++i)
    if (candidate(i, c)) heap.push_back(c);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate top = heap.back();
    heap.pop_back();
    const auto at = static_cast<uint32_t>(top.order);
    auto& node = nodes[at];
    if (node.id != top.left || node.next == kNone || nodes[node.next].id != top.right) continue;
    auto& gone = nodes[node.next];
    node.id = top.result;
    node.next = gone.next;
    gone.id = kNone;
    if (node.next != kNone) nodes[node.next].prev = at;
    for (const uint32_t i : {at, node.prev}) {
      if (i == kNone || !candidate(i, c)) continue;
      heap.push_back(c);
      std::push_heap(heap.begin(), heap.end(), later);
    }
  }
  s.ids.clear();
  for (uint32_t i = 0; i != kNone; i = nodes[i].next) s.ids.push_back(nodes[i].id);
}

}  // namespace

MergeTable::MergeTable(const std::vector<Merge>& merges) {
  constexpr size_t kMaxProbes = 4096;  // an honest table needs some dozens
  if (merges.empty()) return;
  slots_.assign(std::bit_ceil(merges.size() * 2), Merge{0, 0, kEmpty, 0});
  mask_ = slots_.size() - 1;
  for (const Merge& merge : merges) {
    size_t i = hash(merge.left, merge.right), probes = 0;
    for (; slots_[i].rank != kEmpty; i = (i + 1) & mask_) {
      Merge& slot = slots_[i];
      if (slot.left == merge.left && slot.right == merge.right) break;
      if (++probes > kMaxProbes) throw std::runtime_error("tokenizer.merges: the pairs are not those of a vocabulary");
    }
    if (slots_[i].rank == kEmpty || merge.rank < slots_[i].rank) slots_[i] = merge;
  }
}

void merge_pairs(const MergeTable& merges, MergeScratch& scratch) {
  constexpr size_t kShort = 32;
  if (scratch.ids.size() < 2) return;
  if (scratch.ids.size() <= kShort) {
    merge_short(merges, scratch);
  } else {
    merge_long(merges, scratch);
  }
}

}  // namespace svq::rt
