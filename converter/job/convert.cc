#include "converter/job/convert.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "converter/base/error.h"
#include "converter/job/allocate.h"
#include "converter/job/cancel.h"
#include "converter/job/clock.h"
#include "converter/job/completions.h"
#include "converter/job/export.h"
#include "converter/job/finetune.h"
#include "converter/job/import.h"
#include "converter/job/preflight.h"
#include "converter/job/quality.h"
#include "converter/job/quantization.h"
#include "converter/job/report.h"
#include "converter/job/sensitivity.h"
#include "converter/job/tensor_bytes.h"
#include "converter/job/versions.h"
#include "converter/job/work_directory.h"
#include "converter/models/float/startup.h"
#include "converter/write/atomic_file.h"
#include "converter/write/svq_file.h"

namespace svq::convert {

namespace {

// Everything that the bytes of the result and of the intermediate state depend on.
nlohmann::ordered_json make_fingerprint(const Options& options, const std::string& source_hash,
                                        const std::string& calibration_hash) {
  nlohmann::ordered_json j;
  j["source_hash"] = source_hash;
  j["calibration_hash"] = options.calibration.empty() ? "sampled" : calibration_hash;
  j["calibration_name"] = options.calibration.filename().string();
  j["calibration_fields"] = options.calibration_fields;
  const auto all = recipe(options);
  for (const auto& [key, value] : all.items()) j[key] = value;
  j["threads"] = options.threads;
  j["device"] = options.device;
  j["converter"] = converter_version();
  j["libraries"] = library_versions();
  j["cpu"] = cpu_name();
  return j;
}

constexpr size_t kSensitivitySequences = 8;     // that Hessians are measured on when widths are chosen
constexpr const char* kLossesState = "losses";  // f64 of every level of every choice

constexpr int64_t kCheckedSequences = 4;  // that the runtime is compared on
constexpr int64_t kCheckedLength = 128;   // of those drawn from the file, where there are no others
// What share of that is over with the converter's own evaluation, and with the runtime's on float activations.
constexpr double kOwnEnd = 0.35, kFloatEnd = 0.9;

// Measures what the linears lose, or reads it from the work directory, and adds the chosen widths to `options`.
Allocation allocate(const Model& model, Options& options, const Plan& least, WorkDirectory& work, Reporter& reporter) {
  Allocation allocation{open_choices(options, least), {}};
  size_t levels = 0;
  for (const Choice& c : allocation.choices) levels += c.levels.size();
  at::Tensor losses = at::empty({static_cast<int64_t>(levels)}, at::kDouble);
  if (!work.load(kLossesState, bytes_of(losses))) {
    Quantization source(model, options, least, work, reporter);
    const double drawing = source.drawing_cost(), measuring = std::max(1.0, drawing / 2);
    reporter.start_work(drawing + measuring * 1.01, 0);
    const at::Tensor all = source.tokens();
    std::vector<int64_t> some = source.sequences().calibration;
    some.resize(std::min(some.size(), kSensitivitySequences));
    const at::Tensor tokens = select(all, some);
    measure_losses(model, options, least, source.pass(), tokens, allocation.choices, [&](double fraction) {
      reporter.progress("what each linear loses", drawing + fraction * measuring);
      if (stop_requested()) throw Interrupted{};
    });
    double* out = losses.data_ptr<double>();
    for (const Choice& c : allocation.choices)
      for (const Level& l : c.levels) *out++ = l.loss;
    work.save(kLossesState, bytes_of(losses));
  }
  const double* in = losses.data_ptr<double>();
  for (Choice& c : allocation.choices)
    for (Level& l : c.levels) l.loss = *in++;
  options = apply_budget(model, options, least, allocation);
  return allocation;
}

// All the work but the file. Interrupted only where there is nothing to write.
Content quantize(Quantization& quantization, const Model& model, const Options& options, const Plan& plan,
                 WorkDirectory& work, Reporter& reporter) {
  Content content{options, plan, {}, {}, {}, {}};
  try {
    content.parts = quantization.run();
  } catch (const Interrupted&) {
    auto rest = quantization.rest_in_floats();
    if (!rest) throw;
    return std::move(*rest);
  }
  for (const PlannedGroup& group : plan.groups) content.files.push_back(work.part_path(group.name));
  if (!options.trains()) return content;
  const double left = options.time_limit > 0 ? std::max(0.0, options.time_limit - work.seconds_spent()) : INFINITY;
  const at::Tensor& tokens = quantization.tokens();
  Finetune finetune(model, options, plan, work, reporter, quantization.pass(), tokens, quantization.sequences(),
                    quantization.steps_while_quantizing());
  try {
    content.tuning = finetune.run(content.parts, left);
  } catch (const Interrupted&) {  // before its first step
    content.stopped = "before fine-tuning";
    return content;
  }
  for (size_t i = 0; i < content.files.size(); ++i)
    content.files[i] = Finetune::tuned_path(work.path(), plan.groups[i].name);
  if (finetune.stopped()) content.stopped = "during fine-tuning: the file holds what was reached";
  return content;
}

// Lists the linears with their errors. Returns what the file's metadata keeps of the conversion's quality, in the order
// of describe_model().
std::vector<double> measure_linears(const Content& content, std::vector<LinearResult>& linears) {
  std::map<std::string, std::vector<double>> errors;
  for (size_t i = 0; i < content.parts.size(); ++i) {
    const PlannedGroup& group = content.plan.groups[i];
    for (size_t j = 0; j < group.linears.size(); ++j) {
      const PlannedLinear& l = group.linears[j];
      const double error = content.parts[i]->relative_errors[j];
      linears.push_back({l.name, slot_name(l.slot), l.rows, l.columns, l.bits, error});
      errors[slot_name(l.slot)].push_back(error);
      if (group.layer >= 0) errors["blocks"].push_back(error);
    }
  }
  std::vector<double> measures;
  for (const std::string& name : measured_parts(content.plan)) measures.push_back(geometric_mean(errors[name]));
  if (content.tuning) {
    for (const double value : tuning_measures(*content.tuning)) measures.push_back(value);
  }
  return measures;
}

// Runs the file, and beside it what it was made of, on held-out sequences. Throws Error if they differ; Interrupted.
void check_file(const std::filesystem::path& file, const Model& model, const Options& options, const Content& content,
                const std::vector<const fb::PartT*>& parts, Quantization& quantization, Reporter& reporter,
                Summary& summary) {
  const auto begun = Clock::now();
  RuntimeCheck result;
  result.held_out = content.plan.needs_calibration;
  const at::Tensor tokens =
      result.held_out ? select(quantization.tokens(), spread(quantization.sequences().held_out, kCheckedSequences))
                      : runtime_tokens(file, kCheckedSequences, kCheckedLength, options.seed, options.threads);
  result.tokens = tokens.numel();
  const auto progress = [&](double begin, double end) {
    return [&reporter, begin, end](double fraction) {
      reporter.closing("running the file", begin + (end - begin) * fraction);
      if (stop_requested()) throw Interrupted{};
    };
  };
  const Agreement quality =
      measure_parts(model, content.plan, parts, content.files, quantization.pass(), tokens, progress(0, kOwnEnd));
  if (result.held_out) summary.quality = quality;
  result.converter = quality.perplexity;
  result.runtime_float = runtime_perplexity(file, tokens, 32, options.threads, progress(kOwnEnd, kFloatEnd));
  result.runtime = runtime_perplexity(file, tokens, 8, options.threads, progress(kFloatEnd, 1));
  result.seconds = seconds_since(begun);
  require_agreement(result, options.output);
  summary.runtime = result;
}

}  // namespace

void convert(const Options& options, Reporter& reporter) {
  check_output(options);  // before the source is read
  init_threads(options.threads);
  init_allocator();
  convert(*open_model(options.source), options, reporter);
}

void convert(const Model& model, const Options& asked, Reporter& reporter) {
  Options options = asked;  // widths are added where a budget chooses them
  if (imports_codes(model)) import_options(options);
  const auto started = Clock::now();
  check_output(options);
  check_resources(options);
  Plan plan = options.has_budget() ? make_budget_plan(model, options) : make_plan(model, options);
  if (options.trains() && options.follows_prefix()) {
    options.progressive_by_time = options.time_limit > 0 && !options.progressive_tokens;
    options.progressive_tokens = progressive_tokens(options, plan);
  }
  const auto disk = disk_use(plan, options);
  reporter.plan(model, plan, options, disk);
  for (const std::string& warning : model.warnings()) reporter.warning(warning);
  check_disk(disk);
  if (const uint64_t free = available_memory(); free != 0 && free < plan.memory_bytes) {
    reporter.warning("about " + format_bytes(plan.memory_bytes) + " of memory are needed, and " + format_bytes(free) +
                     " are available");
  }
  if (options.plan_only) return;
  check_export(options);

  if (model.source_bytes() > (uint64_t{4} << 30)) reporter.note("reading the source to compute its checksum");
  const std::string source_hash = model.source_hash();
  const std::string calibration_hash = options.calibration.empty() ? "" : file_hash(options.calibration);
  WorkDirectory work(work_path(options), make_fingerprint(options, source_hash, calibration_hash), options.force);
  if (options.time_limit > 0) reporter.limit(options.time_limit, work.seconds_spent());
  Report report;
  if (options.has_budget()) {
    report.allocation = allocate(model, options, plan, work, reporter);
    plan = make_plan(model, options);
    reporter.allocation(*report.allocation, plan);
  }
  Quantization quantization(model, options, plan, work, reporter);
  Content content = quantize(quantization, model, options, plan, work, reporter);
  plan = content.plan;
  std::vector<const fb::PartT*> parts;
  for (const auto& part : content.parts) parts.push_back(part.get());
  Summary summary;
  const std::vector<double> measures = measure_linears(content, summary.linears);
  fb::ModelT metadata = describe_model(model, plan, content.options, source_hash, calibration_hash, measures);
  assemble(metadata, parts);
  const auto allow_overwriting = [&] {  // by the same command, once it goes on
    const char partial = 1;
    work.save(kPartialState, std::as_bytes(std::span(&partial, 1)));
  };
  const auto check = [&](const std::filesystem::path& file) {
    try {
      check_file(file, model, options, content, parts, quantization, reporter, summary);
    } catch (const Interrupted&) {
      content.stopped = "while the runtime ran the file, which is complete otherwise";
      allow_overwriting();
    }
  };
  if (!content.stopped.empty()) allow_overwriting();
  const bool checked = options.check && content.stopped.empty();  // who stops it wants the file soon
  summary.file_bytes = write_svq(options.output, metadata, content.files, parts, {},
                                 checked ? std::function<void(const std::filesystem::path&)>(check) : nullptr);
  for (const auto& file : content.files)
    if (file.filename().string().starts_with(kRestPrefix)) std::filesystem::remove(file);
  const bool stopped = !content.stopped.empty();
  if (!options.export_directory.empty() && !stopped) {
    export_dequantized(model, plan, parts, content.files, options,
                       [&](double fraction) { reporter.closing("dequantized export", fraction); });
    reporter.note("written in 16-bit floats to " + options.export_directory.string());
  }
  summary.bits_per_weight =
      8.0 * static_cast<double>(plan.block_bytes) / static_cast<double>(std::max<uint64_t>(1, plan.block_weights));
  summary.seconds = seconds_since(started);
  summary.total_seconds = summary.seconds + work.earlier_seconds();
  summary.tuning = content.tuning;
  summary.stopped = content.stopped;
  if (options.report) {
    report.source_hash = source_hash;
    report.calibration = describe_calibration(plan, options, calibration_hash);
    report.summary = summary;
    if (!stopped) {
      report.completions = complete(model, options.output, quantization.pass().forward_options(), options.threads,
                                    [&](double fraction) { reporter.closing("completions", fraction); });
    }
    write_atomically(report_path(options), html_report(model, plan, options, report));
    reporter.note("report: " + report_path(options).string());
  }
  if (!stopped) {
    work.remove(kPartialState);
    if (options.work.empty() && !options.keep_work) work.remove_all();
  }
  reporter.summary(plan, summary);
  if (stopped) {
    reporter.note("stopped " + content.stopped);
    throw Interrupted{};
  }
}

}  // namespace svq::convert
