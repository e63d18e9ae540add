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

// Whether `bytes` hold what autograd keeps of one sequence in every block. Otherwise the blocks are computed twice.
bool keeps_activations(const fb::ArchitectureT& a, int64_t length, uint64_t bytes);

// What the float model says: its head's input on every sequence, and its head.
struct Teacher {
  at::Tensor tokens;  // [S, T] i64
  at::Tensor hidden;  // [S, T, hidden] f32 after the final norm
  at::Tensor head;    // [vocab, hidden] f32 or bf16
};

class Distillation {
 public:
  // bytes_for_activations: what the activations of one step may take; above it they are computed twice instead of kept.
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
  bool keep_activations_;
};

// Forward and backward through a student. tokens [1, T]. of_logits(begin, logits) gets the logits
// of positions begin … and returns the loss's gradient of them. keep_activations: of every block, instead of computing
// them twice.
void backward_through(const Student& student, const at::Tensor& tokens, bool keep_activations,
                      const std::function<at::Tensor(int64_t begin, const at::Tensor& logits)>& of_logits);

// The order in which sequences are visited: a permutation for every epoch, fixed by the seed.
std::vector<int64_t> sequences_of_step(int64_t step, int64_t per_step, const std::vector<int64_t>& sequences,
                                       uint64_t seed);

}  // namespace svq::convert
