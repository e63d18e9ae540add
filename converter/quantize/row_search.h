// Local search over the codes of one weight row, beyond what coordinate descent reaches. No libtorch here.
#pragma once
#include <cstdint>
#include <vector>

#include "converter/quantize/random.h"

namespace svq::convert {

// Lowers x H xᵀ, where x is the row's error w − c plus a constant, by moves of single codes by one that may also raise
// it on the way. Coordinate descent ends where no single code can move; errors spread over directions that H hardly
// sees need several codes to move together. Two searches in turn:
//   tabu (Glover 1989; as for binary quadratic programs, Kochenberger et al. 2014): always the cheapest move, but none
//     that takes back one of the last few; the best codes met are kept;
//   kicks: from the best codes, a random move and the cheapest ones that follow it, kept if they end lower.
// Tabu search finds more where H has a few large directions, kicks where it is flat.
class RowSearch {
 public:
  // hessian [columns, columns] f32, symmetric, positive diagonal; it outlives this.
  RowSearch(const float* hessian, int64_t columns, int max_code);

  // At most about `moves` moves, each one pass over a row of H, a fifth of them by tabu search. gradient: g = x H, kept
  // up to date; codes [columns]. Returns what was added to x H xᵀ, at most 0. The same on every instruction set.
  double run(int64_t moves, NamedRandom& random, float* gradient, uint8_t* codes);

 private:
  struct Move {
    float cost;  // what it adds to x H xᵀ; beyond all costs: there is none
    int64_t column;
  };
  void keep_gradient();
  void restore_gradient();
  void bar(int64_t column);      // its code does not move
  void release(int64_t column);  // it may again
  // Moves a code by `step`, 1 or −1, and bars it; the cheapest move after that.
  Move apply(int64_t column, float step);
  // The gradient after such a move, and the cheapest one.
  Move scan(int64_t column, float step);
  double tabu(int64_t moves, NamedRandom& random);
  double kick(int64_t moves, NamedRandom& random);

  const float* hessian_;
  int64_t columns_;
  int max_code_;
  std::vector<float> diagonal_;
  // What a step of a code costs beside −2 |g|: its diagonal, or kNever where it must not be taken.
  std::vector<float> up_, down_;
  std::vector<float> best_gradient_;
  float* gradient_ = nullptr;
  uint8_t* codes_ = nullptr;
};

}  // namespace svq::convert
