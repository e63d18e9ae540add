// Where a generation stands in its grammar: a set of stacks, advanced token by token. All memory is taken when it is
// made.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/grammar/grammar.h"

namespace svq::rt {

class Matcher {
 public:
  explicit Matcher(std::shared_ptr<const Grammar> grammar);

  const Grammar& grammar() const { return *grammar_; }
  void reset();
  // The tokens that may follow, end tokens among them where the text may end. (words()) valid until the next call.
  const uint64_t* mask();
  // The tokens of mask() each of whose bytes is a step on a shortest way to the end.
  const uint64_t* closing_mask();
  void exclude(int32_t token) { mask_[static_cast<uint32_t>(token) / 64] &= ~(uint64_t{1} << (token % 64)); }
  // Reads a token. False: it may not follow; nothing has changed. End tokens are read where the text may end.
  bool accept(int32_t token);
  // Bytes to the end, at least, if `token` were read next; UINT32_MAX: it may not follow.
  uint32_t least_after(int32_t token);
  uint32_t least() const { return least_of(tops_); }            // … from here
  bool complete() const { return complete_; }                   // the text may end here
  bool finished() const { return complete_ && open_.empty(); }  // … and has to

 private:
  struct Frame {
    uint32_t state, parent;
    uint32_t below;  // bytes that the frames below need, at least
  };
  using Stacks = std::vector<uint32_t>;

  static constexpr uint32_t kBottom = UINT32_MAX;
  static constexpr size_t kMaxFrames = 1 << 16, kMaxStacks = 512;
  static constexpr size_t kWalkFrames = 1 << 13;  // left for masks and trials

  uint32_t push(uint32_t state, uint32_t parent, size_t since);
  void close(Stacks& tops, Stacks& open, bool& complete, size_t since);
  bool advance(const Stacks& open, uint8_t byte, Stacks& tops, Stacks& next_open, bool& complete);
  bool read(std::string_view bytes);  // into trial_; frames above mark_ are its own
  void walk(uint32_t node, const Stacks& from, uint32_t least, bool closing);
  void compact();
  void admit_ends();
  uint32_t least_of(const Stacks& tops) const;
  static void add(Stacks& set, uint32_t frame);

  const std::shared_ptr<const Grammar> grammar_;
  std::vector<Frame> frames_, moved_;
  // tops_: stacks as reading left them, with what stands below a rule that may have ended: what masks are looked up by.
  // open_: those and what they call, as far as they have edges: what a byte is tried on.
  Stacks tops_, open_;
  bool complete_ = false;
  size_t compact_at_ = 0;  // frames that call for it
  struct Level {           // of a walk or a reading
    Stacks tops, open;
    bool complete = false;
  };
  std::vector<Level> levels_;
  Stacks exit_tops_, exit_open_;
  uint32_t trial_ = 0;  // level that read() ended at
  std::vector<uint64_t> mask_;
};

}  // namespace svq::rt
