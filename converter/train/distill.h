// End-to-end distillation: the student's float parameters follow the float model's own predictions on whole sequences.
// Loss: mean over positions of KL(teacher ‖ student) over the full vocabulary.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "converter/train/adam.h"
#include "converter/train/agreement.h"
#include "converter/train/replicas.h"
#include "converter/train/student.h"

namespace svq::convert {

// Bytes that autograd keeps of one sequence in one block, counted from student.cc. product: type of its linears'
// products; head_norms: q and k have norms.
uint64_t activation_bytes(const fb::ArchitectureT& a, int64_t length, at::ScalarType product, bool head_norms);
// Of how many blocks `bytes` hold that, all if of all. The other blocks are computed twice.
int64_t blocks_to_keep(const Student& student, int64_t length, uint64_t bytes);

// What the float model says: its head's input on every sequence, and its head.
struct Teacher {
  at::Tensor tokens;  // [S, T] i64
  at::Tensor hidden;  // [S, T, hidden] f32 after the final norm
  at::Tensor head;    // [vocab, hidden] f32 or bf16
};

class Distillation {
 public:
  // bytes_for_activations: what the activations of one sequence may take; what is above it is computed twice instead.
  // side_by_side: as many sequences at a time as there are threads, each with gradients of its own; otherwise one after
  // another, with all threads and one set of gradients.
  Distillation(Student& student, const Teacher& teacher, uint64_t bytes_for_activations, bool side_by_side = true);

  // Sets the gradients of the parameters to those of the mean loss over the given sequences; returns the mean loss.
  // The result does not depend on the number of threads.
  double accumulate(const std::vector<int64_t>& sequences);
  Agreement measure(const std::vector<int64_t>& sequences) const;

 private:
  double accumulate_one(const Student& student, int64_t sequence, double weight) const;
  Student& student_;
  const Teacher& teacher_;
  Replicas replicas_;
  int64_t kept_blocks_;
};

// Forward and backward through a student. tokens [1, T]. of_logits(begin, logits) gets the logits
// of positions begin … and returns the loss's gradient of them. kept_blocks: of so many blocks, the last ones, the
// activations are kept; the others are computed twice. The gradients do not depend on it.
void backward_through(const Student& student, const at::Tensor& tokens, int64_t kept_blocks,
                      const std::function<at::Tensor(int64_t begin, const at::Tensor& logits)>& of_logits);

// The order in which sequences are visited: a permutation for every epoch, fixed by the seed.
std::vector<int64_t> sequences_of_step(int64_t step, int64_t per_step, const std::vector<int64_t>& sequences,
                                       uint64_t seed);

}  // namespace svq::convert
