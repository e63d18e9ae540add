#include <cstdio>
#include <exception>
#include <new>

#include "converter/base/error.h"
#include "converter/base/standard_files.h"
#include "converter/job/cancel.h"
#include "converter/job/convert.h"
#include "converter/job/preflight.h"
#include "converter/models/float/startup.h"

namespace {

// libtorch's messages carry a C++ stack trace behind the first line.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

int run(const svq::convert::Options& options) {
  svq::convert::Reporter reporter(options);
  try {
    svq::convert::convert(options, reporter);
    const std::string lost = svq::convert::output_failure();
    if (lost.empty()) return 0;
    reporter.error(lost);
  } catch (const svq::convert::Interrupted&) {
    const auto work = svq::convert::work_path(options);
    reporter.error(std::filesystem::exists(work) ? "interrupted; the same command goes on from " + work.string()
                                                 : "interrupted before anything was finished");
    return 130;
  } catch (const svq::convert::Error& error) {
    reporter.error(error.what());
  } catch (const std::bad_alloc&) {
    reporter.error(options.source.string() +
                   ": not enough memory for this conversion; the plan (--plan) estimates what it takes");
  } catch (const std::exception& error) {
    reporter.error(options.source.string() + ": " + first_line(error.what()));
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  svq::convert::open_standard_files();
  svq::convert::Options options;
  if (const auto status = svq::convert::parse_command_line(argc, argv, options)) return *status;
  // Starts the program again where it helps: not for a wrong command line or a plan.
  if (!options.plan_only) svq::convert::choose_blas_kernels(argv);
  svq::convert::install_signal_handlers();
  return run(options);
}
