// Ctrl-C and termination: the first asks the conversion to stop after the current group and to write what is done, the
// second kills.
#pragma once

namespace svq::convert {

struct Interrupted {};  // thrown where the work stops

void install_signal_handlers();
bool stop_requested();

}  // namespace svq::convert
