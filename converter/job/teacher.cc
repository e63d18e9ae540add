#include "converter/job/teacher.h"

#include <string>

#include "converter/job/cancel.h"
#include "converter/job/clock.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "converter/models/float/startup.h"
#include "converter/models/float/vocabulary.h"

namespace svq::convert {

Teacher make_teacher(const Model& model, const FloatPass& pass, const at::Tensor& tokens, WorkDirectory& work,
                     Reporter& reporter, double start, double cost) {
  const ForwardOptions& forward = pass.forward_options();
  const int64_t layers = model.architecture().n_layers, count = tokens.size(0), length = tokens.size(1);
  Teacher teacher;
  teacher.tokens = tokens;
  teacher.head = read_tensor(model, head_slot(model), -1, false);
  if (bf16_is_faster(c10::kCPU)) teacher.head = teacher.head.to(at::kBFloat16);
  at::Tensor hidden = at::empty({count, length, static_cast<int64_t>(model.architecture().hidden)}, at::kFloat);
  teacher.hidden = hidden;
  if (work.load("teacher", bytes_of(hidden))) return teacher;

  const auto tag = [](int64_t layer) { return "teacher." + std::to_string(layer); };
  int64_t first = layers;
  while (first > 0 && !(work.contains(tag(first)) && work.load(tag(first), bytes_of(hidden)))) --first;
  if (first == 0) hidden.copy_(pass.embed(tokens));
  int64_t saved = first;
  const auto started = Clock::now();
  auto last_save = started;
  const double per_layer = cost / static_cast<double>(layers);
  for (int64_t layer = first; layer < layers; ++layer) {
    pass.block(static_cast<int>(layer), hidden, {}, [&](double fraction) {
      reporter.progress("float model", start + (static_cast<double>(layer) + fraction) * per_layer);
    });
    const bool stop = stop_requested() && layer + 1 < layers;
    if (stop || seconds_since(last_save) > kSecondsBetweenSaves) {
      work.save(tag(layer + 1), bytes_of(hidden));
      if (saved > 0) work.remove(tag(saved));
      saved = layer + 1;
      last_save = Clock::now();
    }
    if (stop) throw Interrupted{};
  }
  for (int64_t i = 0; i < count; ++i) hidden[i].copy_(final_norm(model, hidden[i].to(forward.device), forward));
  work.save("teacher", bytes_of(hidden));
  if (saved > 0) work.remove(tag(saved));
  reporter.group_done("float model", 0, seconds_since(started), start + cost);
  return teacher;
}

}  // namespace svq::convert
