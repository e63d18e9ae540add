// Runs the programs as a user does: arguments in; exit code, standard output and error out.
#pragma once
#include <string>
#include <vector>

namespace svq::test {

struct Outcome {
  int exit_code = -1;  // 128 + n when ended by signal n
  std::string out, err;
};

struct RunOptions {
  std::string input;       // for standard input
  bool interrupt = false;  // send SIGINT once, when standard output has brought something
  bool terminal = false;   // standard input, output and error are one terminal; all output is in `out`
  // terminal only: [text to wait for in the output, what is typed then]; "\x03" is Ctrl-C
  std::vector<std::pair<std::string, std::string>> dialogue;
};

// In a dialogue, instead of a text: whatever comes.
inline constexpr const char* kAnything = "";

// program: "svqrun", … from the build. Killed after two minutes (exit code 137).
Outcome run(const std::string& program, const std::vector<std::string>& arguments, const RunOptions& options = {});

}  // namespace svq::test
